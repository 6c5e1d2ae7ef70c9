#!/bin/sh
# Tells HAProxy how a node is: agent.sh FOLDER. It reads a file's name from standard input, and prints that file's first line; its
# second one when nobody has watched the mesh lately. systemd starts it for each question (gpu-mesh-agent.socket).
#
# What cannot be read means that the node takes requests: HAProxy's own check decides then. A name that no file can have gets no
# answer. Nothing but shell: date is the only program that is started.
LC_ALL=C
export LC_ALL
folder=$1
IFS= read -r name || exit 0
case $name in
  '' | .* | *[!A-Za-z0-9._:=@-]*) exit 0 ;;
esac
[ "${#name}" -le 250 ] || exit 0

word='up ready 100%'
if [ -f "$folder/$name" ] && { IFS= read -r now && IFS= read -r later; } <"$folder/$name"; then
  until=0
  [ ! -f "$folder/.until" ] || IFS= read -r until <"$folder/.until"
  if [ "$(date +%s)" -le "$until" ]; then
    word=$now
  else
    word=$later
  fi
fi 2>/dev/null
printf '%s\n' "$word"
