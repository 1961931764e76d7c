#!/usr/bin/env bash
# Removes all that lab/up.sh made, also of a lab that was only half built: hosts, mirror, mounts, cgroups, bridge,
# disks. Only processes that the lab recorded, or that run in its control groups, are stopped.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. lab/common.sh

for pidfile in "$lab"/run/*.pid; do
  [ -e "$pidfile" ] || continue
  name=$(basename "$pidfile" .pid)
  if [ "$name" = mirror ]; then
    stop_process mirror TERM 5
  else
    # SIGRTMIN+3 is systemd's "power off"; systemd-nspawn passes SIGTERM on as that.
    stop_process "$name" TERM 20
  fi
  say "stopped $name"
done

end_cgroups

# Deepest mounts first.
awk -v lab="$lab/" 'index($5, lab) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
  umount -l "$mount"
done
remove_cgroups
if ip link show "$bridge" >/dev/null 2>&1; then ip link delete "$bridge"; fi
rm -rf --one-file-system "$lab" .lab
say "the lab is gone"
