#!/bin/sh
# What a taken-over check tries inside the sandbox of gpu-mesh-check.service: to read what is another unit's, and to
# plant what another unit would run or read. Each line that it prints is a success of the attack.
state=/var/lib/gpu-mesh
for secret in /etc/gpu-mesh/apprise.yml /etc/gpu-mesh/ssh/id_ed25519 /var/lib/gpu-mesh-deliver/cache/* \
  /var/lib/gpu-mesh-recover/cache/*; do
  cat "$secret" >/dev/null 2>&1 && echo "read $secret"
  for process in /proc/[0-9]*; do
    cat "$process/root$secret" >/dev/null 2>&1 && echo "read $secret by $process"
  done
done
for place in /etc/gpu-mesh/x /opt/gpu-mesh/x /var/lib/gpu-mesh-deliver/x /var/lib/gpu-mesh-recover/x /usr/local/bin/x; do
  touch "$place" 2>/dev/null && echo "wrote $place"
done
mark="touch $state/ran"
mkdir -p $state/.ansible/plugins/callback $state/.ansible/plugins/connection $state/.ssh $state/cache \
  $state/.config/gpu-mesh $state/.local/lib/python3.11/site-packages $state/.local/lib/python3.13/site-packages
for file in $state/.ansible/plugins/callback/owned.py $state/.ansible/plugins/connection/ssh.py \
  $state/.local/lib/python3.11/site-packages/usercustomize.py $state/.local/lib/python3.13/site-packages/usercustomize.py; do
  printf 'import os\nos.system("%s")\n' "$mark" >"$file"
done
printf '[defaults]\ncallbacks_enabled = owned\ncallback_plugins = %s/.ansible/plugins/callback\n' $state >$state/.ansible.cfg
printf 'Match exec "%s"\nHost *\n  ProxyCommand %s\n' "$mark" "$mark" >$state/.ssh/config
for cache in "$state"/cache/mesh-*.json; do
  sed -i "s/\"recovery\":\"systemd\"/\"recovery\":\"command\",\"recovery_command\":\"touch \/tmp\/ran\"/g" "$cache"
done
rm -f /var/log/gpu-mesh/gpu-mesh.log
ln -s /var/lib/gpu-mesh-recover/planted /var/log/gpu-mesh/gpu-mesh.log
echo tried
