#!/bin/sh
# Takes the k3s stand-in and all that it made off this host. K3S_DATA_DIR names a data directory other than the default.
# It is safe to run again. Every step is tried even when one before it failed; what is left at the end is an error.
set -u
# shellcheck disable=SC1083 # the program fills this in
unit=%{UNIT}
data=${K3S_DATA_DIR:-/var/lib/rancher/k3s}
bin=$(dirname "$(readlink -f "$0")")
[ "$(id -u)" -eq 0 ] || { echo "$0: must run as root" >&2; exit 1; }
case "$data" in
  /|/var|/var/lib|/usr|/etc|/root|/home) echo "$0: K3S_DATA_DIR=$data is not a directory of k3s" >&2; exit 1 ;;
  /*) ;;
  *) echo "$0: K3S_DATA_DIR=$data must be an absolute path" >&2; exit 1 ;;
esac

systemctl stop "$unit" 2>/dev/null
systemctl disable "$unit" 2>/dev/null

# Containers outlive the unit: end each shim together with all that runs below it.
tree() { for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do tree "$child"; done; echo "$1"; }
shims() {
  for directory in /proc/[0-9]*; do
    tr '\0' ' ' <"$directory/cmdline" 2>/dev/null | grep -q '^[^ ]*containerd-shim.* -address /run/k3s/containerd/containerd.sock' && echo "${directory#/proc/}"
  done
}
for shim in $(shims); do
  # shellcheck disable=SC2046
  kill -9 $(tree "$shim") 2>/dev/null
done

unmount_below() { awk -v prefix="$1" 'index($2, prefix "/") == 1 || $2 == prefix { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do umount -l "$mount" 2>/dev/null; done; }
for directory in /run/k3s /var/lib/kubelet "$data"; do unmount_below "$directory"; done

# Pod networks: the namespaces of the shims' pods, the host's ends, routes and rules.
ip netns list 2>/dev/null | awk '/^cni-/ { print $1 }' | while read -r namespace; do ip netns delete "$namespace"; done
ip -o link show type veth 2>/dev/null | awk -F': ' '{ sub(/@.*/, "", $2); print $2 }' | grep -E '^veth[0-9a-f]{8}$' | while read -r link; do ip link delete "$link" 2>/dev/null; done
ip route flush proto 86 2>/dev/null
for family in iptables ip6tables; do
  command -v $family >/dev/null || continue
  $family-save 2>/dev/null | grep -v -e KUBE- -e CNI- -e k3s-masquerade | $family-restore 2>/dev/null
done
rm -rf /var/lib/cni/networks/k3s /var/lib/cni/results
rmdir /var/lib/cni/networks /var/lib/cni /etc/cni/net.d /etc/cni 2>/dev/null

# Only this node's control groups: other hosts may share the hierarchy.
group=$(cat "$data/agent/cgroup-root" 2>/dev/null)
if [ -n "$group" ]; then
  # A group can be removed only when the last killed process in it is gone.
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    groups=$(find /sys/fs/cgroup -depth -type d \( -path "*$group" -o -path "*$group/*" \) 2>/dev/null)
    [ -n "$groups" ] || break
    [ "$attempt" = 1 ] || sleep 0.3
    for directory in $groups; do rmdir "$directory" 2>/dev/null; done
  done
fi

rm -rf /etc/rancher/k3s /run/k3s /run/flannel /var/lib/kubelet "$data" /var/log/pods /var/log/containers
rmdir /etc/rancher /var/lib/rancher 2>/dev/null
rm -rf "/etc/systemd/system/$unit.service" "/etc/systemd/system/$unit.service.env" "/etc/systemd/system/$unit.service.d"
systemctl daemon-reload 2>/dev/null
systemctl reset-failed "$unit" 2>/dev/null
for link in kubectl crictl ctr; do
  case "$(readlink "$bin/$link" 2>/dev/null)" in k3s|*/k3s) rm -f "$bin/$link" ;; esac
done
rm -f "$bin/k3s" "$bin/k3s-uninstall.sh" "$bin/k3s-agent-uninstall.sh" "$bin/k3s-killall.sh"

left=""
[ -z "$group" ] || [ -z "$(find /sys/fs/cgroup -type d -path "*$group" 2>/dev/null)" ] || left="$left cgroup:$group"
[ -z "$(shims)" ] || left="$left containerd-shim"
iptables-save 2>/dev/null | grep -q -e KUBE- -e CNI- -e k3s-masquerade && left="$left iptables-rules"
for path in "$data" /etc/rancher/k3s /run/k3s /var/lib/kubelet; do [ ! -e "$path" ] || left="$left $path"; done
if [ -n "$left" ]; then
  echo "$0: still there:$left" >&2
  exit 1
fi
