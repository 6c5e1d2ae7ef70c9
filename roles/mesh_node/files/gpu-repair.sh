#!/bin/sh
# gpu-repair VERB NODE: what a GPU of that node needs: reload (of the module nvidia_uvm), reset (of the cards for which the
# driver asks it) or reboot (of this host). Only root runs it; recovery's login may by a line of sudoers. Whoever has that
# login may ask for it at any time. So this program itself decides whether it may be, by what root has noted and what the
# kernel shows, and takes nothing from its caller but the two words.
# It prints one line: "gpu-mesh: repair begins" (a reboot) or "done", or "refused" or "failed" and why.
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

rights=/usr/local/lib/gpu-mesh/gpu-repair.d # one file a node: what is allowed, and how its Ollama runs
notes=/var/lib/gpu-mesh-gpu
a_day=86400
patience=240 # seconds until a host that does not go down in order is made to
ends_in=45   # seconds in which Ollama must end

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

# ollama VERB...: have systemd or Docker stop or start the node's own Ollama, or say how it is.
ollama() {
  case $kind in
    systemd) timeout -k 5 "$ends_in" systemctl "$@" -- "$name" ;;
    systemd-user)
      timeout -k 5 "$ends_in" runuser -u "$(id -nu "$owner")" -- \
        env XDG_RUNTIME_DIR="/run/user/$owner" systemctl --user "$@" -- "$name"
      ;;
    docker) timeout -k 5 "$ends_in" docker "$@" "$name" ;;
    *) return 1 ;;
  esac </dev/null >"${said:-/dev/null}" 2>&1
}

# within SECONDS COMMAND...: run it; 124 when it has not ended by then. timeout waits for what it kills, and a process that
# waits in the driver (state D) cannot be killed: it is left behind.
within() {
  left=$1
  shift
  "$@" 9>&- &
  waited=$!
  while [ "$left" -gt 0 ] && kill -0 "$waited" 2>/dev/null; do sleep 1 && left=$((left - 1)); done
  if kill -KILL "$waited" 2>/dev/null; then return 124; fi
  wait "$waited"
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

# note FILE WORDS: remember a repair where the next boot finds it, or refuse: a clock that was set back never allows one more.
note() {
  now=$(date +%s) last=''
  read -r last 2>/dev/null <"$notes/$1"
  case $last in
    '') ;;
    *[!0-9]*) refuse "$notes/$1 is no time" ;;
    *)
      [ $((now - last)) -ge "$a_day" ] ||
        refuse "$2 at $(date -u -d "@$last" '+%Y-%m-%d %H:%M:%S UTC'), and that is done once in 24 hours"
      ;;
  esac
  { echo "$now" >"$notes/new" && sync "$notes/new" && mv -f "$notes/new" "$notes/$1" && sync "$notes"; } 2>/dev/null ||
    refuse "it cannot be noted in $notes"
}

# cards_to_reset: the cards for which the driver itself asks a reset, with commas between them. An older driver, which knows
# no such field, says it in the place of other values. Root's nvidia-smi may hang as well as anybody's: it is left then.
cards_to_reset() {
  for field in gpu_recovery_action utilization.gpu; do
    within 20 nvidia-smi "--query-gpu=pci.bus_id,$field" --format=csv,noheader </dev/null >"$notes/asked" 2>/dev/null
    cards=$(sed -n 's/^\([0-9A-Fa-f:.]*\), .*[Rr]eset.*/\1/p' "$notes/asked" | tr '\n' ',')
    [ -z "$cards" ] || break
  done
  echo "${cards%,}"
}

# without_ollama COMMAND...: run it while the node's own Ollama is stopped, and start that again whatever comes of it; then
# say how that went. Nothing is printed before: whoever asked may be gone by then, and that must not end this program.
without_ollama() {
  trap '' HUP INT PIPE TERM
  failed=''
  if ! ollama stop; then
    failed='Ollama does not stop'
  else
    for number in $(holders); do
      [ -n "$failed" ] || is_of_driver "$number" || failed="process $number ($(name_of "$number")) still uses a GPU"
    done
  fi
  [ -n "$failed" ] || "$@" || failed=${failed:-the $verb failed}
  [ "$kind" = docker ] || ollama reset-failed
  ollama start || failed="${failed:+$failed; }Ollama does not start"
  if [ -n "$failed" ]; then echo "gpu-mesh: repair failed $failed"; else echo "gpu-mesh: repair done"; fi
}

# reload: unload the module, if it is loaded, and load it.
reload() {
  if [ -d /sys/module/nvidia_uvm ] && ! within 30 rmmod nvidia_uvm </dev/null >/dev/null 2>&1; then
    failed='nvidia_uvm cannot be unloaded'
    return 1
  fi
  within 30 modprobe nvidia_uvm </dev/null >/dev/null 2>&1 || { failed='nvidia_uvm cannot be loaded' && return 1; }
}

# reset CARDS: have the driver reset them. The daemon that keeps cards awake has them open.
reset() {
  keeper=''
  ! systemctl is-active --quiet nvidia-persistenced.service || keeper=nvidia-persistenced.service
  [ -z "$keeper" ] || timeout -k 5 20 systemctl stop "$keeper" </dev/null >/dev/null 2>&1
  within 60 nvidia-smi --gpu-reset -i "$1" </dev/null >"$notes/asked" 2>&1
  status=$?
  [ -z "$keeper" ] || timeout -k 5 20 systemctl start "$keeper" </dev/null >/dev/null 2>&1
  [ "$status" = 0 ] && return
  failed="nvidia-smi ended with $status: $(tr -cs '[:print:]' ' ' <"$notes/asked" | cut -c 1-100)"
  return 1
}

[ "$(id -u)" = 0 ] || refuse "only root may"
case $#:${1:-}:${3:-begun} in [23]:reload:begun | [23]:reset:begun | 2:reboot:begun) ;; *) refuse "usage: gpu-repair reload|reset|reboot NODE" ;; esac
case $2 in '' | .* | *[!A-Za-z0-9._-]*) refuse "that is no node" ;; esac
verb=$1 allowed='' kind='' name='' owner=''
read -r allowed kind name owner 2>/dev/null <"$rights/$2"
case $allowed:$verb in
  reload:reload | reset:reload | reboot:reload | reset:reset | reboot:reboot) ;;
  *) refuse "it is not allowed for that node" ;;
esac
[ -d /run/systemd/system ] || refuse "systemd does not run here"
container=''
[ "$kind" != docker ] || container=$(timeout -k 1 5 docker inspect -f '{{.Id}}' "$name" 2>/dev/null </dev/null)

[ -d "$notes" ] || mkdir -m 0755 "$notes" 2>/dev/null || refuse "$notes cannot be made"
if [ "$verb" != reboot ] && [ $# = 2 ]; then
  # In a unit of its own, which goes on when whoever asked is cut off: else Ollama might stay stopped.
  exec systemd-run --quiet --collect --wait --pipe --unit="gpu-mesh-$verb" --description="A $verb for a GPU of $2" \
    "$0" "$verb" "$2" begun </dev/null 2>/dev/null
fi
exec 9>>"$notes/lock"
flock -n 9 || refuse "another one has just been asked for"
refuse_if_busy
if [ "$verb" != reboot ]; then
  case $kind in
    docker) ;;
    systemd | systemd-user)
      said=$notes/said
      ollama is-enabled
      said=/dev/null
      case $(cat "$notes/said") in disabled* | masked*) refuse "$name is disabled or masked" ;; esac
      ;;
    *) refuse "its Ollama, which is of the kind $kind, cannot be stopped and started from here" ;;
  esac
fi
case $verb in
  reload)
    note reloaded "nvidia_uvm was reloaded"
    without_ollama reload 9>&-
    exit
    ;;
  reset)
    cards=$(cards_to_reset)
    [ -n "$cards" ] || refuse "the driver names no card that needs a reset"
    note reset "a GPU was reset"
    without_ollama reset "$cards" 9>&-
    exit
    ;;
  reboot) note rebooted "it was rebooted for a GPU" ;;
esac
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
