# Functions for the recovery playbooks, for any /bin/sh on Linux, with the few programs that a rented pod has.
# A line that the playbooks read begins with "gpu-mesh: "; whatever else a host prints is ignored.
# shellcheck shell=sh

# asking_tool: what this host can ask over HTTP with; nothing when it has none.
asking_tool() {
  for tool in curl wget python3 bash; do
    command -v "$tool" >/dev/null 2>&1 || continue
    [ "$tool" = wget ] && ! command -v timeout >/dev/null 2>&1 && continue
    echo "$tool"
    return
  done
}

# answer TOOL ADDRESS SECONDS PATH: print the answer to GET PATH, if its status is 200. An ADDRESS is HOST:PORT, here and
# below, or HOST:PORT/PREFIX: a proxy there gives Ollama out below that path.
answer() {
  url="http://$2$4"
  case $1 in
    curl) curl -sf --noproxy '*' -m "$3" "$url" ;;
    wget) http_proxy='' timeout "$3" wget -q -T "$3" -O - "$url" ;;
    python3) python3 -c 'import sys, urllib.request as r
answer = r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=float(sys.argv[2]))
sys.stdout.buffer.write(answer.read(65536))' "$url" "$3" ;;
    bash)
      server=${2%%/*} prefix=${2#"${2%%/*}"}
      host=${server%:*} host=${host#\[} host=${host%\]}
      bash -c 'exec 3<>"/dev/tcp/$1/$2" || exit
printf "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" "$4" >&3
IFS= read -r -t "$3" line <&3 && [[ $line == HTTP/1.?" 200"* ]] || exit
while IFS= read -r -t "$3" line <&3 || [[ $line ]]; do
  ((SECONDS <= $3)) || exit
  printf "%.65536s\n" "$line"
done' bash "$host" "${server##*:}" "$3" "$prefix$4"
      ;;
  esac
}

# ollama_answers ADDRESS SECONDS: does an Ollama list its models there?
# It asks what the checker asks. /api/version is a constant, which even a server whose model store hangs returns.
ollama_answers() {
  body=$(answer "$(asking_tool)" "$1" "$2" /api/tags 2>/dev/null | head -c 65536 | tr -d '\000')
  case $body in *'"models"'*) return 0 ;; esac
  return 1
}

# any_ollama_answers SECONDS ADDRESS...
any_ollama_answers() {
  seconds=$1
  shift
  for address in "$@"; do
    ollama_answers "$address" "$seconds" && return 0
  done
  return 1
}

# look SECONDS ADDRESS...: say where an Ollama answers, all addresses asked at once.
look() {
  seconds=$1
  shift
  [ -n "$(asking_tool)" ] || return 0
  for address in "$@"; do
    (ollama_answers "$address" "$seconds" && echo "gpu-mesh: answers $address") &
  done
  wait
  echo "gpu-mesh: looked"
}

# loaded_models ADDRESS...: how many models Ollama has loaded; nothing when it does not say so within two seconds. All
# addresses are one server's.
loaded_models() {
  for address in "$@"; do
    (
      body=$(answer "$(asking_tool)" "$address" 2 /api/ps 2>/dev/null | head -c 65536 | tr -d '\000')
      case $body in *'"models"'*) printf '%s\n' "$body" | grep -o '"size_vram"' | wc -l ;; esac
    ) &
  done | sort -n | tail -n 1
  wait
}

# unit_processes SCOPE UNIT: the numbers of the processes in the unit's control group, its main process first; nothing
# when there is no such unit, or none of it runs.
unit_processes() {
  XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}" systemctl "--$1" show -p MainPID -p ControlGroup -- "$2" \
    2>/dev/null | sort -r | while IFS='=' read -r fact value; do
    case $fact=$value in
      MainPID=[1-9]*) echo "$value" ;;
      ControlGroup=/?*)
        for folder in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
          [ -r "$folder$value/cgroup.procs" ] || continue
          cat "$folder$value/cgroup.procs" "$folder$value"/*/cgroup.procs 2>/dev/null
          break
        done
        ;;
    esac
  done
}

# ollama_runners [NUMBER...]: a line for each process here that runs a model: its number, and the processor time that it
# has used, in clock ticks. With the numbers of a unit's processes, the main one first, only that unit's are looked at.
# A runner is found as a descendant of Ollama's server or of the unit's main process, because its own name changes with
# Ollama's versions: ollama_llama_server, then ollama with the word runner, since Ollama 0.30 llama-server. A runner whose
# server has ended is found by these names; so is one below the first process of a container, which adopts everybody's
# orphans. The shell itself reads /proc, because a host may have a thousand processes.
# This text is in the command line of the shell that runs it, and the owner's command may end Ollama by such lines (pkill
# -f): so nothing here is what Ollama's own lines are, and a pattern has brackets where it would be.
ollama_runners() {
  processes='' servers=" ${1:-} " runners=' ' unit=" $* "
  for process in /proc/[0-9]*; do
    number=${process#/proc/}
    case $unit in '  ' | *" $number "*) ;; *) continue ;; esac
    read -r stat 2>/dev/null <"$process/stat" || continue
    name=${stat#*(}
    # The name in brackets may contain anything: the fields follow the last bracket.
    name=${name%)*}
    # shellcheck disable=SC2086 # to be split: numbers and one letter
    set -- ${stat##*) }
    [ $# -ge 13 ] && [ "$1" != Z ] || continue # what has ended stays as Z until its parent takes note of it
    processes="$processes $number:$2:$((${12} + ${13}))"
    case $name in
      ollama_llama_se) runners="$runners$number " ;; # the kernel keeps 15 letters of a name
      llama-server | ollama | .ollama-wrapped)
        # shellcheck disable=SC2046 # to be split: program and arguments
        set -- $(tr '\000' ' ' <"$process/cmdline" 2>/dev/null)
        case $name:$1:$2 in
          llama-server:*/ollama/[l]lama-server:* | *ollama*:*:runner) runners="$runners$number " ;;
          *ollama*:*:serve | *ollama*:*:start) [ "$number" = 1 ] || servers="$servers$number " ;;
        esac
        ;;
    esac
  done
  grew=yes
  while [ -n "$grew" ]; do
    grew=''
    for process in $processes; do
      number=${process%%:*} parent=${process#*:} parent=${parent%%:*}
      case $servers$runners in *" $parent "*) ;; *) continue ;; esac
      case $servers$runners in *" $number "*) continue ;; esac
      runners="$runners$number " grew=yes
    done
  done
  for process in $processes; do
    number=${process%%:*}
    case $runners in *" $number "*) echo "$number ${process##*:}" ;; esac
  done
}

# runner_ticks [NUMBER...]: how many of Ollama's runners are seen here, the processor time of all, in clock ticks, and then
# their numbers.
runner_ticks() {
  ollama_runners "$@" | {
    seen=0 total=0 numbers=''
    while read -r number ticks; do seen=$((seen + 1)) total=$((total + ticks)) numbers="$numbers $number"; done
    echo "$seen $total$numbers "
  }
}

# ticks_of ANSWER: the processor time in an answer of runner_ticks.
ticks_of() {
  time=${1#* }
  echo "${time%% *}"
}

# has_ended BEFORE AFTER: has a runner of the first answer of runner_ticks ended before the second?
has_ended() {
  for number in ${1#* * }; do
    case " ${2#* * }" in *" $number "*) ;; *) return 0 ;; esac
  done
  return 1
}

# runners_at_work SCOPE UNIT ADDRESS...: does a model generate here? SCOPE and UNIT are empty without systemd: then the
# runners of every Ollama of this host count. A runner that waits for work uses almost no processor time; one that
# generates uses much of a core, even with a GPU. If a runner ends meanwhile, its time is gone from the sum, which may hide
# what another has used: then nothing is known, and that counts as work.
# Nor is it when Ollama does not say which models it has loaded, or has more of them than runners are seen here: this
# login may not see them (hidepid), or their programs have another name.
runners_at_work() {
  unit=''
  [ -n "$1" ] && unit=$(unit_processes "$1" "$2")
  shift 2
  loaded=$(loaded_models "$@")
  # shellcheck disable=SC2086 # to be split: numbers
  before=$(runner_ticks $unit)
  if [ -n "$unit" ] && [ "${before%% *}" -lt "${loaded:-0}" ]; then
    unit='' before=$(runner_ticks) # the unit may be the client of a container
  fi
  sleep 1
  # shellcheck disable=SC2086 # as above
  after=$(runner_ticks $unit)
  used=$(($(ticks_of "$after") - $(ticks_of "$before")))
  if has_ended "$before" "$after" || [ "$used" -ge "$(($(getconf CLK_TCK 2>/dev/null || echo 100) / 10))" ]; then
    echo "gpu-mesh: at work"
  elif [ -z "$loaded" ] || [ "${before%% *}" -lt "$loaded" ]; then
    echo "gpu-mesh: at work unseen"
  fi
}

# orphaned_runners: say which runners here have lost their server, and what memory they hold. A server that crashes leaves
# its runners behind, unless systemd or a container ends them with it. They are known by name: their server is no longer
# their parent. Nothing is said of a runner whose parent cannot be seen.
orphaned_runners() {
  ollama_runners | {
    runners=' ' orphans='' more=0
    while read -r number _; do runners="$runners$number "; done
    for number in $runners; do
      parent='' memory='' name=''
      while read -r fact value _; do
        case $fact in PPid:) parent=$value ;; VmRSS:) memory=$value ;; esac
      done 2>/dev/null <"/proc/$number/status"
      read -r name 2>/dev/null <"/proc/$parent/comm" || continue
      case $runners:$name in *" $parent "* | *:*ollama*) continue ;; esac
      if [ "${#orphans}" -lt 60 ]; then
        orphans="$orphans, $number ($(binary_size "${memory:-0}"))"
      else
        more=$((more + 1))
      fi
    done
    [ "$more" = 0 ] || orphans="$orphans and $more more"
    [ -z "$orphans" ] || echo "gpu-mesh: left runners without a server hold memory: ${orphans#, }"
  }
}

# binary_size KIBIBYTES: in words.
binary_size() {
  if [ "$1" -ge 1048576 ]; then
    echo "$(($1 / 1048576)).$(($1 % 1048576 * 10 / 1048576)) GiB"
  else
    echo "$(($1 / 1024)) MiB"
  fi
}

# unit_state SCOPE UNIT: say what systemd knows of the unit; nothing when there is no systemd.
unit_state() {
  echo "gpu-mesh: uid $(id -u)"
  export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
  facts=$(TZ=UTC LC_ALL=C systemctl "--$1" show -p LoadState -p UnitFileState -p ActiveState -p NRestarts \
    -p StateChangeTimestamp -p InvocationID -- "$2" 2>/dev/null) || return 0
  printf '%s\n' "$facts" | sed 's/^/gpu-mesh: unit /'
  printf '%s\n' "$facts" | unit_in_words "$2"
}

# unit_in_words UNIT: say what `systemctl show` said of it, as one sentence for people.
unit_in_words() {
  active='' since='' restarts=''
  while IFS='=' read -r fact value; do
    case $fact=$value in
      LoadState=not-found) return ;;
      ActiveState=?*) active=$value ;;
      StateChangeTimestamp=?*) since=$(date -u -d "$value" +%s 2>/dev/null) ;;
      NRestarts=0) restarts=", never restarted by systemd" ;;
      NRestarts=1) restarts=", restarted once by systemd" ;;
      NRestarts=?*) restarts=", restarted $value times by systemd" ;;
    esac
  done
  [ -n "$active" ] || return 0
  [ -n "$since" ] && active="$active since $(span $(($(date +%s) - since)))"
  echo "gpu-mesh: known $1 $active$restarts"
}

# lift_start_limit SCOPE UNIT: let systemd start a unit again that it has given up because it ended too often: until then
# it refuses every start, a restart by hand, too. To any other unit this does nothing.
lift_start_limit() {
  export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
  systemctl "--$1" --no-ask-password reset-failed -- "$2" >/dev/null 2>&1 || echo "gpu-mesh: start limit kept"
}

# was_started_since INVOCATION SCOPE UNIT: has systemd begun to start the unit since it had this number?
was_started_since() {
  ! systemctl "--$2" show -p InvocationID -- "$3" 2>/dev/null | grep -qx "InvocationID=$1"
}

# span SECONDS: a duration in words, in the largest unit of which there are two.
span() {
  if [ "$1" -ge 172800 ]; then
    echo "$(($1 / 86400)) d"
  elif [ "$1" -ge 7200 ]; then
    echo "$(($1 / 3600)) h"
  elif [ "$1" -ge 120 ]; then
    echo "$(($1 / 60)) min"
  else
    echo "$1 s"
  fi
}

# port_listens PORT: does anything listen there on loopback? Read from the kernel, because a connection would go
# through the tunnel to its other end.
port_listens() {
  port=$(printf '%04X' "$1")
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    grep -Eq ": (0100007F|7F000001|0{8}|0{32}):$port 0+:0000 0A "
}

# plain: what a program printed last, as one short line.
plain() {
  tail -c 300 | tr -c '[:print:]' ' ' | tr -s ' '
}

pause() {
  sleep 0.5 2>/dev/null || sleep 1
}

# await SECONDS CHECK...: 0 as soon as the check holds, 1 when it does not within that time.
await() {
  until=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [ "$(date +%s)" -ge "$until" ] && return 1
    pause
  done
}

# run_detached COMMAND SECONDS GRACE CHECK...: run the owner's command so that it outlives this connection, and wait
# until the check holds. The command may end, or be the server itself: then the check counts after GRACE seconds. A
# command that fails is reported at once. One that neither ends nor helps in time is ended, even if this connection
# has broken: a process of its own watches it.
run_detached() {
  command=$1 patience=$(($2 + 5)) since=$(date +%s) until=$(($(date +%s) + $2)) grace=$3
  shift 3
  folder=$(mktemp -d "${TMPDIR:-/tmp}/gpu-mesh.XXXXXX") || return 1
  detach='nohup'
  command -v setsid >/dev/null 2>&1 && detach=setsid
  (
    unset GPU_MESH_RUN # the checker ends the processes that have it; this one must stay
    # shellcheck disable=SC2016 # for the inner shell to expand
    exec "$detach" /bin/sh -c '
      (
        while [ "$3" -gt 0 ]; do
          sleep 1
          [ -d "$2" ] && [ ! -e "$2/kept" ] || exit
          set -- "$1" "$2" $(($3 - 1))
        done
        [ -e "$2/ended" ] && rm -rf "$2" && exit
        rm -rf "$2"
        kill -9 "-$$" || kill -9 "$$"
      ) >/dev/null 2>&1 &
      /bin/sh -c "$1"
      echo "$?" >"$2/ended"
      [ -e "$2/kept" ] && rm -rf "$2"' sh "$command" "$folder" "$patience"
  ) </dev/null >"$folder/output" 2>&1 &
  started=$!
  while :; do
    pause
    now=$(date +%s)
    if [ -s "$folder/ended" ]; then
      status=$(cat "$folder/ended")
      if [ "$status" != 0 ]; then
        echo "gpu-mesh: failed the command ended with status $status: $(plain <"$folder/output")"
        rm -rf "$folder"
        return 1
      fi
      "$@" && rm -rf "$folder" && return 0
    elif [ $((now - since)) -ge "$grace" ] && "$@"; then
      : >"$folder/kept"
      echo "gpu-mesh: done it is still running; what it prints is in $folder/output"
      return 0
    fi
    [ "$now" -ge "$until" ] && break
  done
  if [ -s "$folder/ended" ]; then
    echo "gpu-mesh: failed the command ended well, but nothing answers"
  else
    kill -9 "-$started" 2>/dev/null || kill -9 "$started" 2>/dev/null
    echo "gpu-mesh: failed the command neither ended nor helped in time: $(plain <"$folder/output")"
  fi
  rm -rf "$folder"
  return 1
}

# restart_container NAME: without sudo where this user is allowed to, else by the one line in sudoers.
restart_container() {
  if ! command -v docker >/dev/null; then
    echo "docker is not installed here" >&2
    return 1
  elif docker version >/dev/null 2>&1; then
    docker restart "$1"
  else
    sudo -n docker restart "$1"
  fi
}

# repair_gpu VERB NODE: ask root's program on this host for a repair of the GPUs. It says why it refuses one. Tests have a
# program of their own; sudo permits no other than the one that is named here.
repair_gpu() {
  program=${GPU_MESH_GPU_REPAIR:-/usr/local/lib/gpu-mesh/gpu-repair}
  if [ ! -x "$program" ]; then
    echo "gpu-mesh: repair refused it has no $program; site.yml installs it"
  elif [ "$(id -u)" = 0 ]; then
    "$program" "$1" "$2" </dev/null
  else
    sudo -n "$program" "$1" "$2" </dev/null 2>/dev/null || echo "gpu-mesh: repair refused sudo does not permit it; run site.yml again"
  fi
}
