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
# given_up PORT: systemd starts it no more.
given_up() { give_up "/etc/systemd/system/ollama@$1.service.d" "ollama@$1.service"; }
# forbid VERB PORT: to everybody but root.
forbid() {
  echo "polkit.addRule(function (action) {
    if (action.lookup(\"unit\") === \"ollama@$2.service\" && action.lookup(\"verb\") === \"$1\") return polkit.Result.NO;
  });" >"/etc/polkit-1/rules.d/10-$2.rules"
}
# connection ADDRESS: of the tunnel to this address, as ss shows it.
connection() { ss -Htnp state established src "$1" sport = :22 | head -n 1; }
drop() { nft add rule inet fault in "$@" drop; }
