#!/bin/sh
# gpu-repair reboot NODE: reboot this host, since a GPU of that node needs it. Only root runs it; recovery's login may by
# one line of sudoers. Whoever has that login may ask for it at any time. So this program itself decides whether it may
# be, by what root has noted and what the kernel shows, and takes nothing from its caller but the two words.
# It prints one line: "gpu-mesh: repair begins", or "gpu-mesh: repair refused" and why.
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

rights=/usr/local/lib/gpu-mesh/gpu-repair.d # one file a node: what is allowed, and how its Ollama runs
notes=/var/lib/gpu-mesh-gpu
a_day=86400
patience=240 # seconds until a host that does not go down in order is made to

refuse() {
  echo "gpu-mesh: repair refused $*"
  exit 0
}

# is_own NUMBER: is it a process of the node's own Ollama? The control group says so, which only root gives.
is_own() {
  while IFS= read -r line; do
    case $kind:$line in
      systemd:*/user@*) ;;
      systemd:*/"$name" | systemd:*/"$name"/*) return 0 ;;
      systemd-user:*/"user@$owner.service"/*/"$name" | systemd-user:*/"user@$owner.service"/*/"$name"/*) return 0 ;;
      docker:*"${container:-none}"*) return 0 ;;
    esac
  done 2>/dev/null <"/proc/$1/cgroup"
  return 1
}

# name_of NUMBER: the process's name, which it chooses itself, as one word.
name_of() {
  comm=''
  read -r comm 2>/dev/null <"/proc/$1/comm"
  printf %s "$comm" | tr -c 'A-Za-z0-9._-' _
}

# holders: the processes that have a device of a card open.
holders() {
  find /proc/[0-9]*/fd -maxdepth 1 \( -lname '/dev/nvidia*' -o -lname '/dev/kfd' \) 2>/dev/null | cut -d / -f 3 | sort -u
}

# is_of_driver NUMBER: is it a program that comes with the driver, and only serves or asks it?
is_of_driver() {
  program=$(readlink "/proc/$1/exe")
  program=${program% (deleted)}
  case $program in
    /usr/*/nvidia-persistenced | /usr/*/nvidia-smi | /usr/*/nv-fabricmanager | /usr/*/nv-hostengine) return 0 ;;
  esac
  return 1
}

# called NAME...: the numbers of the processes of these names.
called() {
  for process in /proc/[0-9]*; do
    read -r comm 2>/dev/null <"$process/comm" || continue
    case " $* " in *" $comm "*) echo "${process#/proc/}" ;; esac
  done
}

# others_ticks: the processor time of every other Ollama of this host and of its runners, in clock ticks.
others_ticks() {
  total=0
  # The kernel keeps 15 letters of a name.
  for number in $(called ollama .ollama-wrapped llama-server ollama_llama_se); do
    is_own "$number" && continue
    read -r stat 2>/dev/null <"/proc/$number/stat" || continue
    # shellcheck disable=SC2086 # to be split: numbers and one letter
    set -- ${stat##*) } # the name in brackets may contain anything
    [ $# -lt 13 ] || total=$((total + ${12} + ${13}))
  done
  echo "$total"
}

# refuse_if_busy: leave the host alone while it does anything that a reboot would cut off.
refuse_if_busy() {
  for number in $(holders); do
    is_own "$number" || is_of_driver "$number" || refuse "process $number ($(name_of "$number")) uses a GPU"
  done
  for number in $(called dpkg apt apt-get rpm dnf yum zypper pacman dkms update-initramf mkinitramfs dracut); do
    refuse "process $number ($(name_of "$number")) installs something"
  done
  before=$(others_ticks)
  sleep 1
  after=$(others_ticks)
  [ $((after - before)) -lt $(($(getconf CLK_TCK) / 10)) ] || refuse "another Ollama of this host is generating"
}

# note_reboot: remember it where the next boot finds it, or refuse: a clock that was set back never allows one more.
note_reboot() {
  now=$(date +%s) last=''
  read -r last 2>/dev/null <"$notes/rebooted"
  case $last in
    '') ;;
    *[!0-9]*) refuse "$notes/rebooted is no time" ;;
    *)
      [ $((now - last)) -ge "$a_day" ] ||
        refuse "it was rebooted for a GPU at $(date -u -d "@$last" '+%Y-%m-%d %H:%M:%S UTC'), and that is done once in 24 hours"
      ;;
  esac
  { echo "$now" >"$notes/new" && sync "$notes/new" && mv -f "$notes/new" "$notes/rebooted" && sync "$notes"; } 2>/dev/null ||
    refuse "it cannot be noted in $notes"
}

[ "$(id -u)" = 0 ] || refuse "only root may"
[ $# = 2 ] && [ "$1" = reboot ] || refuse "usage: gpu-repair reboot NODE"
case $2 in '' | .* | *[!A-Za-z0-9._-]*) refuse "that is no node" ;; esac
allowed='' kind='' name='' owner=''
read -r allowed kind name owner 2>/dev/null <"$rights/$2"
[ "$allowed" = reboot ] || refuse "it is not allowed for that node"
[ -d /run/systemd/system ] || refuse "systemd does not run here"
container=''
[ "$kind" != docker ] || container=$(timeout -k 1 5 docker inspect -f '{{.Id}}' "$name" 2>/dev/null </dev/null)

[ -d "$notes" ] || mkdir -m 0755 "$notes" 2>/dev/null || refuse "$notes cannot be made"
exec 9>>"$notes/lock"
flock -n 9 || refuse "another one has just been asked for"
refuse_if_busy
note_reboot
# A unit that stays when the others are stopped. A process that waits in the driver cannot be ended, and may keep the
# host from going down: then it is rebooted without that order.
# shellcheck disable=SC2016 # for the inner shell to expand
if systemd-run --quiet --collect --unit=gpu-mesh-reboot --description="Reboot for a GPU of $2" \
  --property=DefaultDependencies=no /bin/sh -c 'sleep 5
    systemctl reboot --no-block
    sleep "$1"
    exec systemctl reboot --force --force' sh "$patience" >/dev/null 2>&1 9>&-; then
  echo "gpu-mesh: repair begins"
else
  rm -f "$notes/rebooted"
  refuse "systemd does not take it"
fi
