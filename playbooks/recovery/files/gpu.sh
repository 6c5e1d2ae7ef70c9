# What the GPUs of a host show, for the recovery playbooks; for any /bin/sh on Linux and any user; needs gpu_mesh.sh before
# it. Every line that it prints begins with "gpu-mesh: gpu ".
# shellcheck shell=sh
#
# A process that waits in a driver (state D) cannot be killed and keeps its pipes; so may one that only reads of it, such
# as /proc/NUMBER/cmdline. So all that may hang runs in the background and writes into a folder. The shell itself reads
# that folder, the kernel's clock, and names and states of processes, and ends in time, whatever is still running.
#
# $gpu_root stands before /sys, /proc and /dev: tests have a folder for them.
gpu_root=${GPU_MESH_GPU_ROOT:-}

# The fields that every nvidia-smi knows which Ollama can run with, and those that a healthy look also wants.
gpu_first_fields=index,pci.bus_id,uuid,name,memory.used,memory.total
gpu_more_fields=utilization.gpu,temperature.gpu,power.draw,clocks_throttle_reasons.active
gpu_more_fields=$gpu_more_fields,ecc.errors.uncorrected.volatile.total

# gpu_clock: set gpu_time to this moment, in hundredths of a second since the start of the host.
gpu_clock() {
  read -r gpu_time _ 2>/dev/null </proc/uptime || gpu_time=$(date +%s).00
  gpu_time=$((${gpu_time%.*} * 100 + 1${gpu_time#*.} - 100))
}

# gpu_sample: note in gpu_waiting which nvidia-smi, and which thread of Ollama, waits in the kernel (state D), and since
# when it has done so in every sample: NUMBER:START:NAME:THREAD:SINCE. The name is looked at first, because a host may
# have a thousand processes. A thread, because a server's first one seldom does the work.
gpu_sample() {
  gpu_clock
  gpu_sampled=$gpu_time before=$gpu_waiting gpu_waiting=' '
  [ -n "$gpu_ollama" ] || [ ! -s "$gpu_folder/runners.end" ] || gpu_ollama=" $(tr '\n' ' ' <"$gpu_folder/runners") "
  for process in "$gpu_root"/proc/[0-9]*; do
    read -r name 2>/dev/null <"$process/comm" || continue
    number=${process##*/}
    case $name in
      nvidia-smi | rocm-smi | amd-smi) ;;
      ollama | .ollama-wrapped | llama-server | ollama_llama_se) name=ollama ;; # the kernel keeps 15 letters of a name
      *) case $gpu_ollama in *" $number "*) name=ollama ;; *) continue ;; esac ;;
    esac
    for thread in "$process"/task/[0-9]*; do
      [ -d "$thread" ] || thread=$process
      read -r stat 2>/dev/null <"$thread/stat" || continue
      # The name in brackets may contain anything: the fields follow the last bracket.
      case ${stat##*) } in D*) ;; *) continue ;; esac
      read -r stat 2>/dev/null <"$process/stat" || continue
      # shellcheck disable=SC2086 # to be split: numbers and one letter
      set -- ${stat##*) }
      [ $# -ge 20 ] || continue
      key="$number:${20}:$name:${thread##*/}" since=$gpu_time
      case $before in *" $key:"*) since=${before##*" $key:"} since=${since%% *} ;; esac
      gpu_waiting="$gpu_waiting$key:$since "
    done
  done
  gpu_clock
  gpu_next=$((gpu_time + 20 + 3 * (gpu_time - gpu_sampled)))
}

# gpu_waits PATTERN LEAST [MOST]: does one that matches wait since LEAST, and fewer than MOST, hundredths of a second?
gpu_waits() {
  for waiting in $gpu_waiting; do
    # shellcheck disable=SC2254 # a pattern
    case $waiting in $1) waiting=$((gpu_sampled - ${waiting##*:})) ;; *) continue ;; esac
    [ "$waiting" -lt "$2" ] || [ "$waiting" -ge "${3:-999999999}" ] || return 0
  done
  return 1
}

# gpu_settle PATTERN: wait until it is known of those that match whether they are stuck, for little more than a second,
# since new ones may come and go all the time.
gpu_settle() {
  gpu_clock
  settled=$((gpu_time + 120))
  while gpu_waits "$1" 0 100 && [ "$gpu_time" -lt "$settled" ] && gpu_pause; do :; done
}

# gpu_pause: let a moment pass, and take samples; 1 when the time of the look is over.
gpu_pause() {
  gpu_clock
  [ "$gpu_time" -lt "$gpu_until" ] || return 1
  sleep 0.1 2>/dev/null || sleep 1
  gpu_clock
  [ "$gpu_time" -lt "$gpu_next" ] || gpu_sample
}

# gpu_await FILE: 0 as soon as something is in the file of the folder, 1 when it is not in time.
gpu_await() {
  until [ -s "$gpu_folder/$1" ]; do
    gpu_pause || return 1
  done
}

# gpu_part FILE COMMAND...: run it in the background, so that it cannot hold this shell; FILE.end says that it has ended.
gpu_part() {
  part=$gpu_folder/$1
  shift
  {
    "$@"
    echo ended >"$part.end"
  } </dev/null >"$part" 2>/dev/null &
}

# gpu_text: lines from elsewhere as printable text without the names of users, each at most 200 characters.
gpu_text() {
  LC_ALL=C tr -c '[:print:]\n' ' ' | tr -s ' ' | sed -E 's#/(home|root)/[^/" ]*#/home/-#g' | cut -c 1-200
}

# gpu_file FILE: its first line where it can be read, as one word; else "-".
gpu_file() {
  word=''
  read -r word _ 2>/dev/null <"$1"
  echo "${word:--}"
}

# gpu_place: is this a host, a container, or the Linux below Windows?
gpu_place() {
  if grep -qi microsoft "$gpu_root/proc/version"; then
    echo wsl
  elif [ -e "$gpu_root/.dockerenv" ] || [ -e "$gpu_root/run/.containerenv" ] || [ -e "$gpu_root/run/systemd/container" ] ||
    grep -Eq 'docker|kubepods|libpod|lxc|containerd' "$gpu_root/proc/1/cgroup"; then
    echo container
  else
    case $(gpu_file "$gpu_root/proc/1/comm") in
      systemd | init) echo host ;;
      *) grep -q ' / / .* - overlay ' "$gpu_root/proc/1/mountinfo" && echo container || echo host ;;
    esac
  fi
}

# gpu_vendor DEVICE: whose GPU the PCI device is; nothing when it is none: video of a mainboard or of a virtual machine,
# Intel's within the processor, or a share of a card that is there for a virtual machine.
gpu_vendor() {
  [ ! -e "$1/physfn" ] || return 0
  case $(gpu_file "$1/class"):$(gpu_file "$1/vendor"):$(gpu_file "$1/device") in
    0x03*:0x1002:0x515e | 0x03*:0x1002:0x5969 | 0x03*:0x1002:0x4752) ;; # ES1000, Rage XL
    0x03*:0x10de:*) echo nvidia ;;
    0x03*:0x1002:*) echo amd ;;
    0x03*:0x8086:*) case ${1##*/} in 0000:00:*) ;; *) set -- "$1"/drm/renderD* && [ -e "$1" ] && echo other ;; esac ;;
  esac
}

# gpu_bus: a line for each card on the PCI bus. A card that sleeps is left alone: reading its configuration wakes it.
gpu_bus() {
  for device in "$gpu_root"/sys/bus/pci/devices/*; do
    vendor=$(gpu_vendor "$device")
    [ -n "$vendor" ] || continue
    state=ok width=- widest=-
    if [ "$(gpu_file "$device/power/runtime_status")" = suspended ]; then
      state=asleep
    elif [ "$(head -c 4 "$device/config" | LC_ALL=C tr -cd '\377' | wc -c)" -eq 4 ]; then
      state=lost # whoever reads what is no longer there gets ones
    else
      width=$(gpu_file "$device/current_link_width") widest=$(gpu_file "$device/max_link_width")
    fi
    echo "gpu-mesh: gpu bus $vendor $(echo "${device##*/}" | tr A-F a-f) $state $width $widest"
  done | head -n 20
}

# gpu_driver: the version of NVIDIA's module that is loaded.
gpu_driver() {
  read -r words 2>/dev/null <"$gpu_root/proc/driver/nvidia/version" || return 0
  for word in $words; do
    case $word in [0-9]*.[0-9]*) echo "$word" && return ;; esac
  done
}

# gpu_library: the version of NVIDIA's library on disk, which new processes load.
gpu_library() {
  for folder in /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/lib; do
    library=$(readlink "$gpu_root$folder/libnvidia-ml.so.1")
    case $library in *libnvidia-ml.so.[0-9]*.*) echo "${library##*libnvidia-ml.so.}" && return ;; esac
  done
}

# gpu_find_smi: where nvidia-smi is. A login without a terminal may have a short PATH.
gpu_find_smi() {
  command -v nvidia-smi && return
  for path in /usr/lib/wsl/lib /usr/local/nvidia/bin /run/current-system/sw/bin /usr/bin; do
    [ ! -x "$gpu_root$path/nvidia-smi" ] || { echo "$gpu_root$path/nvidia-smi" && return; }
  done
}

# gpu_devices PLACE: can this login use the device files of NVIDIA's driver?
gpu_devices() {
  devices=hidden
  if [ "$1" = wsl ]; then
    [ ! -r "$gpu_root/dev/dxg" ] || devices=seen
  elif [ -r "$gpu_root/dev/nvidiactl" ]; then
    for device in "$gpu_root"/dev/nvidia[0-9]*; do [ ! -r "$device" ] || devices=seen; done
  fi
  echo "gpu-mesh: gpu devices $devices"
}

# gpu_hardware: what the kernel's files say; the file "any" says that there is a GPU, "nvidia" where nvidia-smi is.
gpu_hardware() {
  boot=$(gpu_file "$gpu_root/proc/sys/kernel/random/boot_id") up=$(gpu_file "$gpu_root/proc/uptime") place=$(gpu_place)
  echo "gpu-mesh: gpu boot $boot ${up%.*}"
  echo "gpu-mesh: gpu place $place"
  gpu_bus >"$gpu_folder/bus"
  gpu_driver >"$gpu_folder/driver"
  for module in nvidia nvidia_uvm amdgpu; do
    [ ! -d "$gpu_root/sys/module/$module" ] || echo "gpu-mesh: gpu module $module"
  done >"$gpu_folder/modules"
  [ ! -s "$gpu_folder/bus" ] && [ ! -s "$gpu_folder/modules" ] || echo yes >"$gpu_folder/any"
  cat "$gpu_folder/bus"
  sed 's/^/gpu-mesh: gpu driver /' "$gpu_folder/driver"
  gpu_library | sed 's/^/gpu-mesh: gpu library /'
  cat "$gpu_folder/modules"
  if grep -q ' nvidia' "$gpu_folder/bus" "$gpu_folder/modules" || [ -s "$gpu_folder/driver" ] ||
    [ -e "$gpu_root/dev/nvidiactl" ] || { [ "$place" = wsl ] && [ -n "$(gpu_find_smi)" ]; }; then
    gpu_devices "$place"
    gpu_find_smi >"$gpu_folder/nvidia"
    [ -s "$gpu_folder/nvidia" ] || echo missing >"$gpu_folder/nvidia"
    echo yes >"$gpu_folder/any"
  fi
}

# gpu_amd: what amdgpu says of its cards.
gpu_amd() {
  while read -r _ _ _ vendor card state _; do
    [ "$vendor:$state" = amd:ok ] || continue
    for device in "$gpu_root"/sys/bus/pci/devices/*; do
      [ "$(echo "${device##*/}" | tr A-F a-f)" = "$card" ] && [ -e "$device/mem_info_vram_total" ] || continue
      heat=- power=-
      for sensor in "$device"/hwmon/hwmon*; do
        heat=$(gpu_file "$sensor/temp1_input") power=$(gpu_file "$sensor/power1_average")
        [ "$power" != - ] || power=$(gpu_file "$sensor/power1_input")
      done
      echo "gpu-mesh: gpu amd $card $(gpu_file "$device/gpu_busy_percent") $(gpu_file "$device/mem_info_vram_used")" \
        "$(gpu_file "$device/mem_info_vram_total") $heat $power"
    done
  done <"$gpu_folder/bus"
}

# gpu_fields VERSION: what to ask nvidia-smi for, by the driver's version, because one unknown field fails the whole
# query. Where the version is unknown all is asked for. mig.mode.current was seen in 466, the others in 580 to 610.
gpu_fields() {
  fields=$gpu_first_fields,$gpu_more_fields major=${1%%.*}
  [ "${major:-999}" -lt 450 ] || fields=$fields,mig.mode.current
  [ "${major:-999}" -lt 570 ] || fields=$fields,remapped_rows.pending,remapped_rows.failure,gpu_recovery_action
  echo "$fields"
}

# gpu_ask FILE WORD...: run nvidia-smi in a session of its own, with its output in the file, and wait for it: 0 when it has
# ended well, 1 when it has failed. Else it is left, and gpu_late is "stuck" or "slow". It holds nothing of this
# connection, and what it prints is limited. A slow one is ended after a minute: the next look would not notice one that
# hangs outside the kernel, and they would pile up. Its parent does that, which knows that the number is still its own.
gpu_ask() {
  answer=$1
  shift
  set -- "$gpu_smi" "$@" --format=csv,noheader,nounits
  detach='nohup'
  command -v setsid >/dev/null 2>&1 && detach=setsid
  (
    unset GPU_MESH_RUN # the checker ends the processes that have it, and this one may not end
    ulimit -f 2000
    # shellcheck disable=SC2016 # for the inner shell to expand
    exec "$detach" /bin/sh -c 'file=$1
      shift
      "$@" >"$file" 2>&1 &
      number=$!
      trap "sleep 60; kill -9 $number; exit" TERM
      echo "$number $$" >"$file.numbers"
      wait "$number"
      echo "$?" >"$file.end"' sh "$gpu_folder/$answer" "$@"
  ) </dev/null >/dev/null 2>&1 &
  gpu_await "$answer.end" && return "$(($(cat "$gpu_folder/$answer.end") != 0))"
  gpu_sample
  gpu_late=slow number='' parent=''
  read -r number parent 2>/dev/null <"$gpu_folder/$answer.numbers"
  if gpu_waits "${number:-none}:*" 100; then
    gpu_late=stuck
  elif [ -n "$parent" ]; then
    kill "$parent" 2>/dev/null
  fi
  return 2
}

# gpu_sort FILE FIELDS: add the lines of an answer that have a value for each field to "cards", the others to "said".
gpu_sort() {
  commas=$(printf %s "$2" | tr -cd , | wc -c)
  # NVIDIA's driver for Windows ends lines with a carriage return.
  tr -d '\r' <"$gpu_folder/$1" | head -n 60 | while IFS= read -r line || [ -n "$line" ]; do
    [ -n "$line" ] || continue
    if [ "$(printf %s "$line" | tr -cd , | wc -c)" -eq "$commas" ]; then
      printf '%s\n' "$line" >>"$gpu_folder/cards"
    elif ! grep -Fxq -e "$line" "$gpu_folder/said"; then
      printf '%s\n' "$line" >>"$gpu_folder/said"
    fi
  done
}

# gpu_query FIELDS [CARD]: ask for the fields, of all cards or of one; without those that nvidia-smi does not know.
# gpu_asked is what was asked for last.
gpu_query() {
  gpu_asked=$1 card=${2:-}
  for try in one two three; do
    answer=query$card$try
    gpu_ask "$answer" ${card:+-i "$card"} "--query-gpu=$gpu_asked"
    status=$?
    [ "$status" != 2 ] || return 2
    unknown=$(sed -n 's/^Field "\([^"]*\)" is not a valid field to query.*/\1/p' "$gpu_folder/$answer" | head -n 1)
    [ -n "$unknown" ] && [ "$try" != three ] || break
    case $try,$gpu_asked, in
      one,*",$unknown,"*) gpu_asked=$(printf ,%s, "$gpu_asked" | sed "s/,$unknown,/,/; s/^,//; s/,$//") ;;
      *) gpu_asked=$gpu_first_fields ;;
    esac
  done
  gpu_sort "$answer" "$gpu_asked"
  return "$status"
}

# gpu_asleep: do all cards of NVIDIA sleep? The question would wake them.
gpu_asleep() {
  grep -q ' nvidia .* asleep ' "$gpu_folder/bus" && ! grep -q ' nvidia .* \(ok\|lost\) ' "$gpu_folder/bus"
}

# gpu_nvidia: ask nvidia-smi; the file "smi" says how that went. gpu_late is why an answer is missing.
gpu_nvidia() {
  gpu_smi=$(cat "$gpu_folder/nvidia") gpu_late='' gpu_asked=''
  : >"$gpu_folder/cards"
  : >"$gpu_folder/said"
  if [ "$gpu_smi" = missing ]; then
    echo missing >"$gpu_folder/smi"
    return
  fi
  gpu_settle '*-smi:*'
  if gpu_waits '*-smi:*' 100; then # another one would be stuck, too
    echo skipped >"$gpu_folder/smi"
    return
  fi
  gpu_query "$(gpu_fields "$(cat "$gpu_folder/driver")")"
  case $? in
    0) if [ -s "$gpu_folder/said" ] || [ ! -s "$gpu_folder/cards" ]; then smi=failed; else smi=ok; fi ;;
    1) smi=failed ;;
    *) smi=$gpu_late ;;
  esac
  if [ "$smi" = ok ]; then
    gpu_ask apps --query-compute-apps=pid,used_memory,gpu_uuid || [ "$gpu_late" != stuck ] || smi=stuck
  elif [ "$smi" = failed ] && [ ! -s "$gpu_folder/cards" ] && grep -Eq 'device handle|GPU is lost' "$gpu_folder/said"; then
    gpu_each || smi=stuck
  fi
  echo "$smi" >"$gpu_folder/smi"
}

# gpu_each: ask for each card alone, since one that is lost makes the question for all of them fail; 1 when that is stuck.
gpu_each() {
  fields=$gpu_asked
  while read -r _ _ _ vendor card state _ <&3; do
    [ "$vendor" = nvidia ] && [ "$state" != lost ] || continue
    gpu_query "$fields" "$card"
    [ $? != 2 ] || break
  done 3<"$gpu_folder/bus"
  [ "$gpu_late" != stuck ]
}

# gpu_holds: who has memory of a card.
gpu_holds() {
  gpu_text <"$gpu_folder/apps" | head -n 32 | while IFS=', ' read -r number memory card _; do
    case $number in *[!0-9]* | '') continue ;; esac
    case $memory in *[!0-9]* | '') memory=- ;; esac
    name='' runner=no
    read -r name 2>/dev/null <"$gpu_root/proc/$number/comm"
    case $gpu_ollama in *" $number "*) runner=yes ;; esac
    name=$(printf %s "${name:--}" | LC_ALL=C tr -c 'A-Za-z0-9._-' _)
    echo "gpu-mesh: gpu holds $number $memory ${card:--} $name $runner"
  done
}

# gpu_bounded COMMAND...: run it for 15 seconds at most, where there is a program for that.
gpu_bounded() {
  if command -v timeout >/dev/null 2>&1; then timeout 15 "$@"; else "$@"; fi
}

# gpu_kernel: the lines of the last hour of the kernel's log that speak of a GPU that fails. The journal has the time of
# day, for the kernel's own clock may stand still while a host sleeps.
gpu_kernel() {
  now=$(date +%s) log=$gpu_folder/kernel.log
  gpu_bounded journalctl -k -b -q --no-pager -n 5000 -o short-unix >"$log" && [ -s "$log" ] || {
    now=$(gpu_file "$gpu_root/proc/uptime")
    gpu_bounded dmesg | tail -n 5000 | sed 's/^<[0-9]*>//; s/^\[ *\([0-9.]*\)\]/\1 kernel:/' >"$log"
  }
  if [ ! -s "$log" ]; then
    echo "gpu-mesh: gpu kernel_log hidden"
    return
  fi
  grep -E 'NVRM: Xid|fallen off the bus|RmInitAdapter failed|GPU is lost|amdgpu.*(ring .*timeout|GPU reset)' "$log" |
    gpu_aged "${now%.*}" 3600 kernel | tail -n 12
  echo "gpu-mesh: gpu kernel_log read"
  grep -E 'PM: (suspend|hibernation|hibernation: hibernation) exit' "$log" | gpu_aged "${now%.*}" 999999999 resumed |
    sed -n 's/^\(gpu-mesh: gpu resumed [0-9]*\).*/\1/; $p'
}

# gpu_aged NOW MOST FACT: lines of the kernel's log that are at most so many seconds old, each with its age.
gpu_aged() {
  gpu_text | while read -r stamp text; do
    age=$(($1 - ${stamp%%.*}))
    [ "$age" -ge 0 ] || age=0
    [ "$age" -gt "$2" ] || echo "gpu-mesh: gpu $3 $age ${text#*kernel: }"
  done
}

# gpu_ollama_log SCOPE UNIT: what the unit's processes have logged since its start about the GPUs that Ollama has found.
# What systemd says of the unit is left out: it quotes command lines.
gpu_ollama_log() {
  [ -n "$1" ] || return 0
  export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
  of=_SYSTEMD_UNIT name='' since=''
  [ "$1" = system ] || of=_SYSTEMD_USER_UNIT
  TZ=UTC LC_ALL=C gpu_bounded systemctl "--$1" show -p Id -p ExecMainStartTimestamp -- "$2" >"$gpu_folder/unit"
  while IFS='=' read -r fact value; do
    case $fact in Id) name=$value ;; ExecMainStartTimestamp) since=$value ;; esac
  done <"$gpu_folder/unit"
  [ -n "$name" ] && [ -n "$since" ] || return 0
  # Lines of requests say whatever somebody asks for.
  gpu_bounded journalctl -q --no-pager -o cat --since "$since" "$of=$name" | grep -vF '[GIN]' |
    grep -iE 'no compatible GPUs were discovered|inference compute|discovery.*(fail|tim|err)|fail.*discover|NVML: Unknown' |
    gpu_text | tail -n 5 | sed 's/^/gpu-mesh: gpu ollama_log /'
}

# gpu_runners SCOPE UNIT: the numbers of the processes of Ollama and of its runners.
gpu_runners() {
  ollama_runners | cut -d ' ' -f 1
  [ -z "$1" ] || unit_processes "$1" "$2"
}

# gpu_facts: all that is known when the look ends.
gpu_facts() {
  echo "gpu-mesh: gpu look 1"
  cat "$gpu_folder/hardware"
  for waiting in $gpu_waiting; do
    [ $((gpu_sampled - ${waiting##*:})) -ge 100 ] || continue
    number=${waiting%%:*} start=${waiting#*:}
    start=${start%%:*} name=${waiting#*:*:}
    case ${name%%:*} in
      ollama) echo "gpu-mesh: gpu ollama_waits $number $start" ;;
      *) echo "gpu-mesh: gpu waits $number $start ${name%%:*}" ;;
    esac
  done | sort -u | head -n 10
  if [ -s "$gpu_folder/smi" ]; then
    echo "gpu-mesh: gpu smi $(cat "$gpu_folder/smi")"
    sed -n 's/^NVML library version: \([0-9.]*\).*/gpu-mesh: gpu library \1/p' "$gpu_folder/said"
    gpu_text <"$gpu_folder/said" | head -n 5 | sed 's/^/gpu-mesh: gpu said /'
    [ -z "$gpu_asked" ] || echo "gpu-mesh: gpu fields $gpu_asked"
    head -n 20 "$gpu_folder/cards" | cut -c 1-400 | sed 's/^/gpu-mesh: gpu card /'
    [ ! -s "$gpu_folder/apps.end" ] || gpu_holds
  fi
  if [ -s "$gpu_folder/any" ]; then
    cat "$gpu_folder/amd"
    [ -s "$gpu_folder/kernel.end" ] || echo "gpu-mesh: gpu kernel_log hidden" >"$gpu_folder/kernel"
    cat "$gpu_folder/kernel" "$gpu_folder/ollama_log"
  fi
}

# look_at_gpus SECONDS [SCOPE UNIT]: print what the GPUs of this host show, and end within that time. SCOPE and UNIT are
# those of Ollama where systemd runs it. The last line says that the look is whole.
look_at_gpus() (
  gpu_folder=$(mktemp -d "${TMPDIR:-/tmp}/gpu-mesh.XXXXXX" 2>/dev/null) ||
    gpu_folder=$(mktemp -d /dev/shm/gpu-mesh.XXXXXX) || exit
  gpu_waiting=' ' gpu_ollama='' gpu_sampled=0 gpu_next=0
  gpu_clock
  gpu_until=$((gpu_time + $1 * 100))
  gpu_part hardware gpu_hardware
  if gpu_await hardware.end && [ -s "$gpu_folder/any" ]; then
    gpu_sample
    gpu_part runners gpu_runners "${2:-}" "${3:-}"
    gpu_part amd gpu_amd
    gpu_part kernel gpu_kernel
    gpu_part ollama_log gpu_ollama_log "${2:-}" "${3:-}"
    [ ! -s "$gpu_folder/nvidia" ] || gpu_asleep || gpu_nvidia
    for part in runners amd kernel ollama_log; do gpu_await "$part.end"; done
    gpu_settle '*'
  fi
  gpu_facts 2>/dev/null | LC_ALL=C tr -cd '[:print:]\n' | sed -E '/^gpu-mesh: gpu (card|fields) /!s/^(.{240}).*/\1/' | head -n 119
  [ ! -s "$gpu_folder/hardware.end" ] || echo "gpu-mesh: gpu end"
  rm -rf "$gpu_folder" 2>/dev/null || rm -rf "$gpu_folder" # a part that is late may have written meanwhile
)
