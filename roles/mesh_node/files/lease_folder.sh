# Make the folder of the leases root's, and open like /tmp, whatever somebody has put in its place. Prints what changes.
# shellcheck shell=sh
folder=/var/tmp/gpu-mesh-lease.d
before=$(stat -c '%F %u %a' "$folder" 2>/dev/null)
for _ in 1 2 3; do
  mkdir -m 1777 "$folder" 2>/dev/null
  # Once it is root's, nobody else can move it, for /var/tmp is sticky. A link is not followed.
  chown -h root:root "$folder" || continue
  if [ -d "$folder" ] && [ ! -L "$folder" ]; then
    chmod 1777 "$folder" || exit
    [ "$before" = "directory 0 1777" ] || echo "$folder is root's"
    exit 0
  fi
  rm -f "$folder"
done
echo "$folder cannot be made" >&2
exit 1
