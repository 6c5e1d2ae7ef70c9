#!/bin/sh
# A user of a node's host who wants no repair there: he is at the leases first, stays at it, and takes others' away.
# Argument: "first", or "then" once somebody has a lease. Prints what he has been able to do that he should not.
leases=/var/tmp/gpu-mesh-lease.d node=kept
cd "$leases" || exit
pretend() {
  mkdir "$node.$1" 2>/dev/null || return
  now=$(date +%s)
  echo "$now $((now + 7000)) restart acting monitor-9 v" >"$node.$1/lease"
}
if [ "$1" = first ]; then
  for number in $(seq 1 300) 899999999 900000000 999999999; do
    pretend "$number"
  done
  ln -s /etc "$node.301"
  touch "$node.302"
  # Whatever number comes next, he tries to have it first.
  (
    number=303
    while [ "$number" -lt 20000 ]; do
      pretend "$number"
      number=$((number + 1))
    done
  ) </dev/null >/dev/null 2>&1 &
  exit
fi
mv "$leases" "$leases.gone" 2>/dev/null && echo "moved the folder of all leases"
rmdir "$leases" 2>/dev/null && echo "removed the folder of all leases"
find "$leases" -maxdepth 1 -name "$node.*" -type d ! -user "$(id -un)" | while read -r each; do
  echo "met a lease"
  cp "$each/lease" /tmp/seen
  mv "$each" "$each.gone" 2>/dev/null && echo "moved $each"
  rm -rf "$each" 2>/dev/null
  (echo "1 2 restart over nobody" >"$each/lease") 2>/dev/null
  cmp -s "$each/lease" /tmp/seen || echo "removed or changed $each"
  (echo "mine" >"$each/other") 2>/dev/null && echo "wrote into $each"
done
exit 0
