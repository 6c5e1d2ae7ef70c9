#!/bin/sh
# Runs a command in a network of its own, whose loopback has public addresses: 1.2.3.4, where a stand-in for Ollama
# answers everybody, and 1.2.3.5, where one asks for a login.
# in_public.sh PYTHON COMMAND...
set -eu
python=$1
shift
ip link set lo up
for address in 1.2.3.4 1.2.3.5; do ip addr add "$address/32" dev lo; done
"$python" -m gpu_mesh.standin --host 1.2.3.4 --port 11434 --models llama3.2:latest,qwen3:8b >&2 &
open=$!
"$python" -m gpu_mesh.standin --host 1.2.3.5 --port 11434 --fault unauthorized >&2 &
closed=$!
trap 'kill $open $closed' EXIT
for address in 1.2.3.4 1.2.3.5; do
  until curl -s -o /dev/null "http://$address:11434/"; do sleep 0.1; done
done
"$@"
