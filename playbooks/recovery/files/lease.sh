# The lease of a node, for the recovery playbooks: its holder may act; everybody else learns who holds it.
# For any /bin/sh on Linux and any user, without systemd and Python; needs gpu_mesh.sh before it.
# shellcheck shell=sh
# shellcheck disable=SC3067 # dash, busybox ash and bash have [ -O ], though POSIX does not
#
# A lease is a folder NAME.NUMBER in $leases. mkdir takes the number after the highest one. Whoever made the folder, and
# sees no higher number and no valid lease with a lower one, holds the lease: of two that come at the same time, at least
# one sees the other. So an expired lease need not be removed, which only its maker could do. The file "lease" in the
# folder says when the lease was taken and when it ends, in seconds by this host's own clock, what is done, whether it
# is still being done, and for whom.
#
# Anybody with a login on the host can make such a folder. $holders, which only root writes, names the users who repair
# nodes there: next to root's and one's own, only their leases count. Where there is none, as on a rented pod, all count.
# A folder that its maker left open to others, or a link, is no lease: take_lease makes none. It is passed over.
leases=${GPU_MESH_LEASE_DIR:-/var/tmp/gpu-mesh-lease.d}
holders=/etc/gpu-mesh-lease.holders
[ -z "${GPU_MESH_LEASE_DIR:-}" ] || holders=$GPU_MESH_LEASE_DIR.holders

# The longest lease in seconds: a time limit of an hour for a playbook, and a cool-down of an hour.
longest_lease=7500

# The most names of one node's leases, and the highest number: who makes more wants to be in the way.
most_leases=200
highest_lease=900000000

# utc SECONDS: the time of day.
utc() {
  printf '%02d:%02d:%02d UTC' $(($1 / 3600 % 24)) $(($1 / 60 % 60)) $(($1 % 60))
}

# unsafe FOLDER: why its content cannot be trusted; nothing when it can.
unsafe() {
  if [ -L "$1" ]; then
    echo "$1 is a symbolic link of $(owner "$1")"
  elif [ ! -d "$1" ]; then
    echo "$1 is no folder, and this user cannot make it$([ ! -e "$1" ] || echo "; it is a file of $(owner "$1")")"
  else
    case $(LC_ALL=C ls -ldn "$1" 2>/dev/null) in
      d????-??-*) return ;;
      # Sticky: each user may change only his own files.
      d????????[tT]*) [ "$1" = "$leases" ] && return ;;
    esac
    echo "$1 of $(owner "$1") can be changed by others"
  fi
}

# owner FILE: the user whose it is.
owner() {
  # shellcheck disable=SC2046 # to be split: mode, links, user
  set -- $(LC_ALL=C ls -ld "$1" 2>/dev/null)
  echo "${3:-nobody}"
}

# trusted: the numbers of the users whose leases count; "all" where that is not known.
trusted() {
  [ -e "$holders" ] || { echo all && return; }
  echo "0 $(id -u)"
  while read -r name; do
    case $name in *[!0-9]*) id -u "$name" 2>/dev/null ;; *) echo "$name" ;; esac
  done <"$holders"
}

# is_trusted UID TRUSTED
is_trusted() {
  case " $2 " in *" all "* | *" $1 "*) return 0 ;; esac
  return 1
}

# base_is_unsafe: make the folder of all leases if there is none; print why it cannot be used, if it cannot.
base_is_unsafe() {
  [ -d "$leases" ] || [ -L "$leases" ] || [ "${1:-}" = "only look" ] || mkdir -m 1777 "$leases" 2>/dev/null
  [ -n "$(unsafe "$leases")" ] && pause # its maker may not have set its mode yet
  why=$(unsafe "$leases")
  [ -n "$why" ] && echo "$why" && return
  # A folder that only one user may write to must be root's or this user's: any other could write anything.
  # Where it is known who holds leases, nobody else may own it: its owner could remove every lease in it.
  # shellcheck disable=SC2046 # to be split: mode, links, uid
  set -- $(LC_ALL=C ls -ldn "$leases")
  if ! is_trusted "$3" "$(trusted | tr '\n' ' ')"; then
    echo "$leases belongs to $(owner "$leases"), who may not repair anything here"
    return
  fi
  case $1 in d????????[tT]*) return ;; esac
  [ "$3" = 0 ] || [ -O "$leases" ] || echo "$leases belongs to $(owner "$leases") alone"
}

# crowd NAME: who is in the way with more names than repairs make; nothing when nobody is.
crowd() {
  name=$1
  # shellcheck disable=SC2046 # to be split: numbers
  set -- $(numbers "$1")
  [ $# -le "$most_leases" ] || echo "$# folders in $leases begin with $name, one of them is of $(owner "$leases/$name.$1")"
}

# numbers NAME: the numbers of its leases, valid or not: folders that nobody but their maker can change, of users whose
# leases count. By one ls, for somebody may have made very many names.
numbers() {
  users=$(trusted | tr '\n' ' ')
  # shellcheck disable=SC2012 # the names that count are plain, and a rented pod may have no find
  LC_ALL=C ls -lAn "$leases" 2>/dev/null | while read -r mode _ user rest; do
    number=${rest##* "$1".}
    case $number in "$rest" | '' | *[!0-9]* | 0* | ??????????*) continue ;; esac
    case $mode in d????-??-*) ;; *) continue ;; esac
    is_trusted "$user" "$users" && [ -d "$leases/$1.$number" ] && [ ! -L "$leases/$1.$number" ] && echo "$number"
  done
}

# newest NAME: the highest number; 0 when there is none.
newest() {
  highest=0
  for number in $(numbers "$1"); do
    [ "$number" -gt "$highest" ] && highest=$number
  done
  echo "$highest"
}

# read_lease FOLDER: set since, ends, doing, phase and holder; 1 when the content cannot be trusted.
read_lease() {
  [ -f "$1/lease" ] && [ ! -L "$1/lease" ] || return 1
  read -r since ends doing phase holder <<END
$(head -c 300 "$1/lease" 2>/dev/null | tr -c ' -~' ' ')
END
  for each in "$since" "$ends"; do
    case $each in '' | *[!0-9]* | 0* | ????????????*) return 1 ;; esac
  done
  # A lease from the future was made before the clock was set back: it must not hold for long.
  [ $((ends - since)) -le "$longest_lease" ] && [ "$(date +%s)" -ge $((since - 60)) ]
}

# in_words OWNER: say whose lease was read. The second word of an owner distinguishes monitors with the same
# name.
in_words() {
  name=${holder%% *}
  [ "$name" = "${1%% *}" ] && name=$holder
  case $doing in
    restart) now="restarts it" past="restarted it" ;;
    rebuild) now="rebuilds its tunnel" past="rebuilt its tunnel" ;;
    reboot) now="reboots its host" past="wanted to reboot its host" ;;
    *) now="repairs it" past="repaired it" ;;
  esac
  if [ "$phase" = over ]; then
    echo "$name $past at $(utc "$since"), its cool-down ends $(utc "$ends")"
  else
    echo "$name $now since $(utc "$since"), its lease ends $(utc "$ends")"
  fi
}

# judge NAME OWNER [NUMBER]: whether OWNER may take it, by all its leases, or those below NUMBER: "free",
# "held WORDS", "refused WORDS", or "empty" when somebody is just about to write his lease.
judge() {
  verdict=free
  for number in $(numbers "$1"); do
    folder=$leases/$1.$number
    [ "$number" -ge "${3:-1000000000}" ] && continue
    if [ ! -e "$folder/lease" ] && [ ! -L "$folder/lease" ]; then
      [ ! -d "$folder" ] || verdict=empty
    elif read_lease "$folder" && [ "$(date +%s)" -lt "$ends" ]; then
      [ "$holder" = "$2" ] && [ -O "$folder" ] && continue
      echo "held $(in_words "$2")$([ -O "$folder" ] || echo " ($folder of $(owner "$folder"))")"
      return
    fi
  done
  echo "$verdict"
}

# write_lease FOLDER SINCE ENDS DOING PHASE OWNER: all at once, by a rename.
write_lease() {
  (
    umask 022
    printf '%s %s %s %s %s\n' "$2" "$3" "$4" "$5" "$6" >"$1/new"
  ) 2>/dev/null && mv -f "$1/new" "$1/lease" 2>/dev/null
}

# why_not FOLDER: why nothing can be written there, such as that the disk is full.
why_not() {
  said=$({ head -c 300 /dev/zero >"$1/new"; } 2>&1) && echo "no reason was given" && return
  echo "${said##*: }"
}

drop_lease() {
  rm -f "$1/lease" "$1/new"
  rmdir "$1"
  :
} 2>/dev/null

# see_lease NAME OWNER: say whether it is free; change nothing.
see_lease() {
  [ -e "$leases" ] || [ -L "$leases" ] || { echo "gpu-mesh: lease free" && return; }
  why=$(base_is_unsafe "only look")
  [ -n "$why" ] || why=$(crowd "$1")
  if [ -n "$why" ]; then
    echo "gpu-mesh: lease refused $why"
  else
    echo "gpu-mesh: lease $(judge "$1" "$2")"
  fi
}

# take_lease NAME SECONDS DOING OWNER: "taken", or "held WORDS", or "refused WORDS" when it cannot be taken safely.
take_lease() {
  why=$(base_is_unsafe)
  [ -n "$why" ] || why=$(crowd "$1")
  [ -n "$why" ] && echo "gpu-mesh: lease refused $why" && return
  rounds=0 empties=0 said=''
  while [ "$rounds" -lt 50 ]; do
    rounds=$((rounds + 1))
    seen=$(judge "$1" "$4")
    case $seen in
      held* | refused*) echo "gpu-mesh: lease $seen" && return ;;
      empty)
        # Its maker has not written it yet, or was killed before that.
        empties=$((empties + 1))
        [ "$empties" -le 6 ] && pause && continue
        ;;
    esac
    mine=$(newest "$1")
    [ "$mine" -ge "$highest_lease" ] && said="$leases/$1.$mine of $(owner "$leases/$1.$mine") is in the way" && break
    mine=$((mine + 1))
    # What is in the way here is of somebody whose leases do not count, or was made just now: then two see each other.
    while [ -e "$leases/$1.$mine" ] || [ -L "$leases/$1.$mine" ]; do
      mine=$((mine + 1))
    done
    # Somebody else was faster, or nobody can make it: the latter only if it fails every time.
    said=$(LC_ALL=C mkdir -m 0755 "$leases/$1.$mine" 2>&1) || continue
    now=$(date +%s)
    if ! write_lease "$leases/$1.$mine" "$now" $((now + $2)) "$3" acting "$4"; then
      said="$leases/$1.$mine cannot be written to: $(why_not "$leases/$1.$mine")"
      drop_lease "$leases/$1.$mine"
      continue
    fi
    # Whoever sees another one here steps back and looks again, so that two do not both give up because of the other.
    case $(newest "$1")-$(judge "$1" "$4" "$mine") in
      "$mine"-free | "$mine"-empty) ;;
      *) drop_lease "$leases/$1.$mine" && continue ;;
    esac
    for number in $(numbers "$1"); do
      folder=$leases/$1.$number
      [ "$number" -lt "$mine" ] && [ -O "$folder" ] && drop_lease "$folder"
    done
    echo "gpu-mesh: lease taken"
    return
  done
  echo "gpu-mesh: lease refused ${said:-too many want it at once}"
}

# cool_lease NAME SECONDS OWNER: the work is over; nobody else may begin for that many seconds.
cool_lease() {
  for number in $(numbers "$1"); do
    folder=$leases/$1.$number
    if [ -O "$folder" ] && read_lease "$folder" && [ "$holder" = "$3" ]; then
      write_lease "$folder" "$since" $(($(date +%s) + $2)) "$doing" over "$3"
    fi
  done
}
