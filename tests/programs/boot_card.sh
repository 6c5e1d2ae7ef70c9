# What a made-up card does when its host starts: it is on the bus again, and the boot has a new number.
# shellcheck shell=sh
echo boot >>/srv/boots
cat /proc/sys/kernel/random/uuid >/srv/host/proc/sys/kernel/random/boot_id
printf '\336\020\060\043' >/srv/host/sys/bus/pci/devices/0000:01:00.0/config
