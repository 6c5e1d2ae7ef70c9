#!/bin/sh
# An Ollama of its own for each port, with what /etc/standin/PORT says: serve_standin.sh PORT.
HOST=0.0.0.0 FAULT=none DELAY=0 TLS=''
# shellcheck source=/dev/null # what each port says is written by a test
. "/etc/standin/$1"
sleep "$DELAY"
# The runner of the loaded model: it waits for work, as a child of the unit's main process.
sleep infinity &
set -- --port "$1" --host "$HOST" --models a,b --loaded a --fault "$FAULT" --control
exec python3 /opt/ollama/serve_standin.py "$TLS" "$@"
