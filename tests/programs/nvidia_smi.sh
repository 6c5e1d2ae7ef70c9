#!/bin/sh
# A made-up nvidia-smi on a machine of the host tests: its one card needs what /srv/asks says. A reset is noted in /srv/did,
# with how Ollama was meanwhile; after it the card needs nothing.
did() { echo "$* (Ollama $(systemctl is-active ollama.service))" >>/srv/did; }
case ${0##*/} in
  modprobe)
    did modprobe "$*"
    mkdir -p "/srv/host/sys/module/$1"
    exit
    ;;
esac
for word in "$@"; do
  case $word in
    --query-compute-apps=*) exit 0 ;;
    --query-gpu=*) fields=${word#*=} ;;
    --gpu-reset)
      did "$*"
      echo None >/srv/asks
      exit
      ;;
  esac
done
line=''
IFS=,
for field in $fields; do
  case $field in
    index) value=0 ;;
    pci.bus_id) value=00000000:01:00.0 ;;
    uuid) value=GPU-1 ;;
    name) value='NVIDIA H100 80GB HBM3' ;;
    memory.used) value=0 ;;
    memory.total) value=81559 ;;
    gpu_recovery_action) value=$(cat /srv/asks) ;;
    *) value='[N/A]' ;;
  esac
  line="$line${line:+, }$value"
done
echo "$line"
