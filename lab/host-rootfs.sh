#!/usr/bin/env bash
# Makes $OUT/rootfs, the disk of a lab host before anything is installed on it: Debian 12 with systemd, sshd and
# the packages that the k3s stand-in takes from Debian (real k3s carries its own).  host-rootfs.sh BASE_ROOTFS
set -euo pipefail
rootfs=$OUT/rootfs
cp -a "$1" "$rootfs"
cp /etc/resolv.conf "$rootfs/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive
chroot "$rootfs" apt-get update -qq
chroot "$rootfs" apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus openssh-server \
  containerd runc containernetworking-plugins iptables iproute2 ipset conntrack ebtables ethtool kmod socat curl \
  ca-certificates procps stress-ng
chroot "$rootfs" apt-get clean
rm -rf "$rootfs"/var/lib/apt/lists/* "$rootfs"/usr/share/{doc,man,locale}/* "$rootfs"/etc/ssh/ssh_host_*
: >"$rootfs/etc/machine-id"
: >"$rootfs/etc/resolv.conf"

chroot "$rootfs" systemctl disable -q containerd
chroot "$rootfs" systemctl enable -q ssh
chroot "$rootfs" systemctl mask -q systemd-networkd systemd-resolved systemd-timesyncd apt-daily.timer apt-daily-upgrade.timer
cat >"$rootfs/etc/ssh/sshd_config.d/lab.conf" <<'CONF'
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
CONF
# systemd-nspawn hands the cgroup v1 controllers in read-only; kubelet must make groups in them.
cat >"$rootfs/etc/systemd/system/lab-cgroups.service" <<'UNIT'
[Unit]
Description=Writable cgroup controllers
DefaultDependencies=no
Before=sysinit.target ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in /sys/fs/cgroup/*/; do mount -o remount,rw,bind "$c" || true; done'

[Install]
WantedBy=sysinit.target
UNIT
# systemd-networkd would wait for udev, which a writable /sys promises and nspawn does not run.
cat >"$rootfs/etc/systemd/system/lab-network.service" <<'UNIT'
[Unit]
Description=Address of host0, from /etc/lab-network
Before=ssh.service network.target

[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=/etc/lab-network
ExecStart=/bin/sh -c 'ip address replace $ADDRESS dev host0 && ip link set host0 up && ip route replace default via $GATEWAY'

[Install]
WantedBy=multi-user.target
UNIT
chroot "$rootfs" systemctl enable -q lab-cgroups lab-network
