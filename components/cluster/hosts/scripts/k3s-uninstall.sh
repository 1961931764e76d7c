#!/bin/sh
# Removes K3s from this host: processes, mounts, links, firewall rules, files. Written by llm-serving-eval, since the
# executable alone brings no uninstall script; where K3s's own is present it runs first and this one finds little left.
# K3S_DATA_DIR names a data directory other than the default. Safe to run again; what is absent is skipped.
set -u

case $0 in
  *k3s-agent-uninstall.sh) service=k3s-agent ;;
  *) service=k3s ;;
esac
data=${K3S_DATA_DIR:-/var/lib/rancher/k3s}

if [ "$(id -u)" -ne 0 ]; then
  echo "$0 must run as root" >&2
  exit 1
fi

children_of() {
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
    echo "$child"
    children_of "$child"
  done
}

# The shims of K3s's containerd, and all that runs below them; they outlive the service on purpose.
pod_processes() {
  for folder in /proc/[0-9]*; do
    case $(tr '\0' ' ' <"$folder/cmdline" 2>/dev/null) in
      *containerd-shim*/run/k3s/*)
        echo "${folder#/proc/}"
        children_of "${folder#/proc/}"
        ;;
    esac
  done
}

systemctl stop "$service" 2>/dev/null
systemctl disable --quiet "$service" 2>/dev/null
for signal in TERM KILL KILL; do
  pids=$(pod_processes)
  [ -z "$pids" ] && break
  # shellcheck disable=SC2086
  kill -s "$signal" $pids 2>/dev/null
  sleep 1
done

mounts_below() {
  cut -d ' ' -f 2 /proc/self/mounts | grep -e "^$1/" -e "^$1\$" | sort -r
}
for folder in /run/k3s "$data" /var/lib/kubelet /run/netns/cni-; do
  mounts_below "$folder" | while read -r point; do umount -l "$point" 2>/dev/null; done
done
cut -d ' ' -f 2 /proc/self/mounts | grep '^/run/netns/cni-' | while read -r point; do umount -l "$point" 2>/dev/null; done
rm -f /run/netns/cni-* 2>/dev/null

if command -v ip >/dev/null; then
  for link in $(ip -o link show master cni0 2>/dev/null | cut -d : -f 2 | cut -d @ -f 1); do
    ip link delete "$link" 2>/dev/null
  done
  for link in cni0 flannel.1 flannel-v6.1 flannel-wg kube-ipvs0; do ip link delete "$link" 2>/dev/null; done
fi
for family in iptables ip6tables; do
  if command -v "$family-save" >/dev/null; then
    "$family-save" 2>/dev/null | grep -v -e KUBE- -e CNI- | grep -iv flannel | "$family-restore" 2>/dev/null
  fi
done

rm -f "/etc/systemd/system/$service.service" "/etc/systemd/system/$service.service.env"
systemctl daemon-reload
systemctl reset-failed "$service" 2>/dev/null
for name in kubectl crictl ctr; do
  if [ "$(readlink "/usr/local/bin/$name" 2>/dev/null)" = k3s ]; then rm -f "/usr/local/bin/$name"; fi
done
rm -rf /etc/rancher/k3s /etc/rancher/node /run/k3s /run/flannel /var/lib/kubelet /var/lib/cni "$data" \
  /var/log/pods /var/log/containers /var/lib/otel-agent
rmdir /etc/rancher /var/lib/rancher 2>/dev/null
for suffix in previous next part back; do rm -f "/usr/local/bin/k3s.$suffix"; done
rm -f /usr/local/bin/k3s "/usr/local/bin/$service-uninstall.sh" "/usr/local/bin/llmeval-$service-uninstall.sh"
exit 0
