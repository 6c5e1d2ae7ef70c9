#!/bin/sh
# Stands in the place of systemctl. What it is asked it notes in systemctl.asked beside it; what it shows stands in
# systemctl.shows, and what a start or restart starts in systemctl.starts. With systemctl.given_up it refuses that, until
# the start limit is lifted; with systemctl.forbids that is refused, by what stands there.
echo "$@" >>"$0.asked"
case "$*" in
  *show*) cat "$0.shows" ;;
  *reset-failed*)
    [ -e "$0.forbids" ] && exec sh "$0.forbids"
    rm -f "$0.given_up"
    ;;
  *start*)
    if [ -e "$0.given_up" ]; then
      echo "Job for the unit failed because the control process exited with error code." >&2
      exit 1
    fi
    sh "$0.starts" </dev/null >/dev/null 2>&1 &
    ;;
esac
