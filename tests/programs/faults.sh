# shellcheck shell=sh
# What the rows of the fault matrix use, on a node's machine.
nft list table inet fault >/dev/null 2>&1 || {
  nft add table inet fault
  nft 'add chain inet fault in { type filter hook input priority 0; }'
  nft 'add chain inet fault out { type filter hook output priority 0; }'
}
pid() { systemctl show -p MainPID --value "ollama@$1"; }
# fault PORT NAME: until the stand-in is restarted.
fault() { python3 /opt/ollama/set_fault.py "$@"; }
# will PORT NAME=VALUE: from its next start on.
will() { echo "$2" >>"/etc/standin/$1"; }
restart() { systemctl restart "ollama@$1"; }
# connection ADDRESS: of the tunnel to this address, as ss shows it.
connection() { ss -Htnp state established src "$1" sport = :22 | head -n 1; }
drop() { nft add rule inet fault in "$@" drop; }
