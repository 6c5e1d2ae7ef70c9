# The ssh server and its drop-in. sshd.sh judge USER KEYS: is its configuration right, and are KEYS the file in which it
# looks for that user's keys? sshd.sh reload: let the running one read its configuration anew.
# shellcheck shell=sh
set -u
sshd=/usr/sbin/sshd

case $1 in
  judge)
    # Where a socket starts it, it has no folder of its own yet.
    "$sshd" -t 2>&1 | grep -q 'separation directory: /run/sshd$' && mkdir -m 0755 /run/sshd
    "$sshd" -t || exit
    "$sshd" -T -C "user=$2,host=localhost,addr=127.0.0.1" | grep -qix "authorizedkeysfile $3" ||
      { echo "sshd does not look for the keys of $2 in $3" >&2 && exit 1; }
    ;;
  reload)
    for unit in ssh.service sshd.service; do
      systemctl is-active --quiet "$unit" 2>/dev/null && exec systemctl reload "$unit"
    done
    # Without systemd; one that a socket starts reads it anyway.
    pid=$(cat /run/sshd.pid 2>/dev/null) || exit 0
    kill -HUP "$pid"
    ;;
esac
