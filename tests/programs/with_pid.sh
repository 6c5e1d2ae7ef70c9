#!/bin/sh
# Become a program whose number then stands in a file, whole as soon as it is there: with_pid.sh FILE PROGRAM...
file=$1
shift
echo $$ >"$file.new"
mv "$file.new" "$file"
exec "$@"
