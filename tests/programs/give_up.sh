# shellcheck shell=sh
# give_up FOLDER OPTION... UNIT: let the unit crash until systemd starts it no more; FOLDER is where its drop-ins are. The
# limit is long, so that it does not pass while a test waits.
give_up() {
  mkdir -p "$1"
  printf '[Unit]\nStartLimitIntervalSec=1h\n[Service]\nRestart=always\nRestartSec=100ms\n' >"$1/give_up.conf"
  shift
  systemctl ${2:+"$1"} daemon-reload
  until [ "$(systemctl show -p ActiveState --value "$@")" = failed ]; do
    main=$(systemctl show -p MainPID --value "$@")
    [ "$main" = 0 ] || kill -KILL "$main" 2>/dev/null
    sleep 0.1
  done
}
