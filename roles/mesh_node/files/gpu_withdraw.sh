# Take back the right of one node to have GPUs of this host repaired: $1 is its file. The program $2 goes with the last one.
# Prints what changes. The notes of the last repairs stay: they hold for a day, whoever allows the next one.
# shellcheck shell=sh
[ ! -e "$1" ] || { rm -f "$1" && echo "$1 is gone"; }
if [ -d "${1%/*}" ] && rmdir "${1%/*}" 2>/dev/null; then
  rm -f "$2" && echo "$2 is gone"
  rmdir "${2%/*}" 2>/dev/null
fi
exit 0
