# Functions for models.yml, for any /bin/sh on Linux with curl. A line that the playbook reads begins with "gpu-mesh: ".
# shellcheck shell=sh

MOST=4194304 # bytes of an answer; a list of 5,000 models has about 2 MiB

# on_one_line: the text without line breaks, and no more of it than anybody needs.
on_one_line() { head -c "$MOST" | tr -d '\000\r\n'; }

# ask_for_models ADDRESS...: the list of the first Ollama that answers, and its address.
ask_for_models() {
  for address in "$@"; do
    body=$(curl -sf --noproxy '*' -m 10 "http://$address/api/tags" 2>/dev/null | on_one_line)
    case $body in
      *'"models"'*)
        echo "gpu-mesh: address $address"
        echo "gpu-mesh: tags $body"
        return
        ;;
    esac
  done
}

# folder_of_unit SCOPE UNIT: where the Ollama of a unit keeps its models; nothing when that cannot be told from the unit.
folder_of_unit() {
  shown=$(XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}" systemctl "--$1" show \
    -p LoadState -p User -p Environment -p EnvironmentFiles -- "$2" 2>/dev/null) || return 0
  case $shown in *LoadState=loaded*) ;; *) return 0 ;; esac
  set_there=$(printf '%s\n' "$shown" | sed -n 's/^Environment=.*\bOLLAMA_MODELS=\([^ "]*\).*/\1/p')
  if [ -n "$set_there" ]; then
    echo "$set_there"
    return
  fi
  case $shown in *EnvironmentFiles=/*) return 0 ;; esac # it may be set there
  user=$(printf '%s\n' "$shown" | sed -n 's/^User=//p')
  if [ "$1" = user ]; then home=$HOME; else home=$(getent passwd "${user:-root}" | cut -d: -f6); fi
  [ -n "$home" ] && echo "$home/.ollama/models"
}

# tell_disk FOLDER: how much is free there, if there is such a folder.
tell_disk() {
  [ -n "$1" ] || return 0
  echo "gpu-mesh: folder $1"
  free=$(df -Pk -- "$1" 2>/dev/null | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9-][0-9-]*% .*/\1/p')
  [ -z "$free" ] || echo "gpu-mesh: free $((free * 1024)) $1"
}

# tell_manifest MODEL URL: what the registry says of a model.
tell_manifest() {
  body=$(curl -sfL -m 30 --max-filesize "$MOST" -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' "$2" 2>/dev/null | on_one_line)
  echo "gpu-mesh: manifest $1 $body"
}

# pull_file MODEL: the file in which the newest line of a pull stands; its folder is this user's alone.
pull_file() {
  folder=${TMPDIR:-/tmp}/gpu-mesh-pull.$(id -u)
  mkdir -m 700 "$folder" 2>/dev/null
  # shellcheck disable=SC3067 # dash, busybox ash and bash have [ -O ], though POSIX does not
  [ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ] || return 1
  echo "$folder/$(printf '%s' "$1" | tr -c 'A-Za-z0-9._-' _)"
}

# start_pull ADDRESS MODEL: have Ollama pull the model, by a process that outlives this connection. Where that is under way
# already, it goes on.
start_pull() {
  file=$(pull_file "$2") || {
    echo "gpu-mesh: failed another user's file is in the place of the pull's"
    return 1
  }
  # By its command line: the number of one that ended may be another process's by now.
  grep -qs api/pull "/proc/$(cat "$file.pid" 2>/dev/null)/cmdline" && return
  rm -f "$file.ended"
  : >"$file"
  detach='nohup'
  command -v setsid >/dev/null 2>&1 && detach=setsid
  # shellcheck disable=SC2016 # for the inner shell to expand
  "$detach" /bin/sh -c '
    echo "$$" >"$3.pid"
    curl -sN --noproxy "*" -X POST -H "Content-Type: application/json" -d "{\"model\": \"$2\"}" "http://$1/api/pull" 2>/dev/null |
      while IFS= read -r line || [ -n "$line" ]; do printf "%.600s\n" "$line" >"$3"; done
    : >"$3.ended"' sh "$1" "$2" "$file" </dev/null >/dev/null 2>&1 &
}

# follow_pull MODEL PERCENT SECONDS: wait until the pull has come so far, has ended, or has stood still for so long.
follow_pull() {
  file=$(pull_file "$1") || return 1
  stood=0 before=''
  while :; do
    ended='' line=''
    [ -e "$file.ended" ] && ended=1
    IFS= read -r line <"$file" || line=$before
    case $line in
      *'"error"'*)
        echo "gpu-mesh: failed $(printf '%s' "$line" | sed 's/.*"error": *"//; s/"[^"]*$//')"
        return
        ;;
      *'"success"'*)
        echo 'gpu-mesh: pulled'
        return
        ;;
    esac
    if [ -n "$ended" ]; then
      echo "gpu-mesh: failed the connection to Ollama ended before the model was there"
      return
    fi
    total=$(printf '%s' "$line" | sed -n 's/.*"total": *\([0-9]\{1,15\}\).*/\1/p')
    part=$(printf '%s' "$line" | sed -n 's/.*"completed": *\([0-9]\{1,15\}\).*/\1/p')
    if [ "${total:-0}" -ge 1048576 ] && [ $((${part:-0} * 100 / total)) -ge "$2" ]; then
      echo "gpu-mesh: percent $((part * 100 / total)) $total"
      return
    fi
    if [ "$line" = "$before" ]; then stood=$((stood + 1)); else stood=0; fi
    before=$line
    if [ "$stood" -ge "$3" ]; then
      echo "gpu-mesh: failed nothing has come for $3 s"
      return
    fi
    sleep 1
  done
}
