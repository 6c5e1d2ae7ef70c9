# Who holds a tunnel's local port, for the recovery playbooks: the tunnel itself, or a stranger. Read from /proc as far
# as this user may see; needs gpu_mesh.sh before it.
# shellcheck shell=sh
# shellcheck disable=SC3067 # dash, busybox ash and bash have [ -O ], though POSIX does not

# listeners PORT: uid and inode of each socket that listens there on loopback.
listeners() {
  port=$(printf '%04X' "$1")
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    grep -E ": (0100007F|7F000001|0{8}|0{32}|0{16}FFFF00000100007F|0{20}FFFF7F000001):$port 0+:0000 0A " |
    while read -r _ _ _ _ _ _ _ uid _ inode _; do echo "$uid $inode"; done
}

# holders INODE: the processes that have this socket open.
holders() {
  # shellcheck disable=SC2010 # one ls for all of them: a process for each link takes seconds
  LC_ALL=C ls -l /proc/[0-9]*/fd 2>/dev/null |
    grep -e '^/proc/[0-9]*/fd:$' -e "socket:\[$1\]\$" |
    while read -r line; do
      case $line in
        /proc/*) process=${line#/proc/} process=${process%%/*} ;;
        *) echo "$process" ;;
      esac
    done | uniq
}

# is_of_unit PROCESS SCOPE UNIT: does it run in the unit's control group?
is_of_unit() {
  group=$(systemctl "--$2" show -p ControlGroup -- "$3" 2>/dev/null) group=${group#ControlGroup=}
  [ -n "$group" ] || return 1
  while read -r line; do
    case ${line#*:*:} in "$group" | "$group"/*) return 0 ;; esac
  done <"/proc/$1/cgroup"
  return 1
} 2>/dev/null

# unit_has_user SCOPE UNIT UID: does the unit run a process as that user? For a process that this user may not inspect.
unit_has_user() {
  known=$(systemctl "--$1" show -p MainPID -p UID -- "$2" 2>/dev/null)
  case $known in *MainPID=0* | '') return 1 ;; esac
  printf '%s\n' "$known" | grep -qx "UID=$3" && return
  [ "$1" = user ] && [ "$3" = "$(id -u)" ]
}

# forwards PROCESS SPEC...: is it an ssh whose command line has one of these -L forwards (PORT:HOST:PORT)?
# Says "alone" when it does nothing else (-N).
forwards() {
  [ -r "/proc/$1/cmdline" ] || return 1
  process=$1
  shift
  tr '\000' '\n' <"/proc/$process/cmdline" | {
    read -r program
    case ${program##*/} in ssh | ssh:*) ;; *) return 1 ;; esac
    found='' alone='' before=''
    while read -r word; do
      for spec in "$@"; do
        case $word in
          "$spec" | *:"$spec") case $before in -*L) found=1 ;; esac ;;
        esac
        case $word in -*L"$spec" | -*L*:"$spec") found=1 ;; esac
      done
      case $word in
        -*[!46AaCfGgKkLMNnqsTtVvXxYy]*) ;; # more than flags
        -*N*) alone=alone ;;
      esac
      before=$word
    done
    [ -n "$found" ] && echo "$alone"
  }
}

# started_for PROCESS NODE: was it started by NODE's own mesh_tunnel_recovery_command?
started_for() {
  tr '\000' '\n' <"/proc/$1/environ" | grep -qxF "GPU_MESH_TUNNEL=$2"
} 2>/dev/null

# name_of PROCESS UID: the stranger's name, for people. Not its command line, which may contain a secret.
name_of() {
  user="uid $2"
  # In a user namespace of its own, a service sees this number for all other users.
  [ "$2" = "$(cat /proc/sys/kernel/overflowuid 2>/dev/null)" ] && user="another user"
  if [ -n "$1" ]; then
    echo "$(head -c 60 "/proc/$1/comm" 2>/dev/null | plain)(process $1, $user)"
  else
    echo "a process of $user, which only that user and root can see"
  fi
}

# look_at_port PORT NODE unit SCOPE UNIT: say "silent", "ours" or "taken STRANGER".
# look_at_port PORT NODE command SPEC...: the same where no unit keeps the tunnel.
look_at_port() {
  number=$1 node=$2 kind=$3 stranger='' listens=''
  shift 3
  [ "$kind" = unit ] && export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
  found=$(listeners "$number")
  while read -r uid inode; do
    [ -n "$inode" ] || continue
    listens=1
    processes=$(holders "$inode")
    for process in $processes; do
      if [ "$kind" = unit ]; then
        is_of_unit "$process" "$1" "$2" && echo "gpu-mesh: port ours" && return
      elif [ -O "/proc/$process" ]; then
        started_for "$process" "$node" && echo "gpu-mesh: port ours" && return
        forwards "$process" "$@" >/dev/null && echo "gpu-mesh: port ours" && return
      fi
    done
    [ -z "$processes" ] && [ "$kind" = unit ] && unit_has_user "$1" "$2" "$uid" &&
      echo "gpu-mesh: port ours" && return
    stranger=$(name_of "${processes%%[!0-9]*}" "$uid")
  done <<END
$found
END
  if [ -n "$listens" ]; then echo "gpu-mesh: port taken $stranger"; else echo "gpu-mesh: port silent"; fi
}

# is_stale PROCESS NODE SPEC...: may it be ended so that the tunnel's own command can have the port?
# Not an ssh with a shell, even if it is this user's: somebody may be working in it.
is_stale() {
  [ -O "/proc/$1" ] || return 1
  started_for "$1" "$2" && return
  process=$1
  shift 2
  [ "$(forwards "$process" "$@")" = alone ]
}

is_gone() {
  ! kill -0 "$1" 2>/dev/null
}

# end_stale PORT NODE SPEC...: end what this tunnel's own command left behind at its port.
end_stale() {
  number=$1
  shift
  listeners "$number" | while read -r _ inode; do
    for each in $(holders "$inode"); do
      is_stale "$each" "$@" || continue
      kill "$each" 2>/dev/null
      await 3 is_gone "$each" || kill -9 "$each" 2>/dev/null
    done
  done
}
