#!/usr/bin/env bash
# Makes $OUT/layer.tar.zst, what the daemon of Chaos Mesh calls from Debian, beside what the base layer has: stress-ng,
# iptables, ipset, ip and tc.  chaos-daemon-layer.sh BASE_ROOTFS
set -euo pipefail
rootfs=$OUT/rootfs
cp -a "$1" "$rootfs"
# What the kernel changes from here on belongs to the layer; packages keep the old times of their files.
touch "$OUT/stamp"

cp /etc/resolv.conf "$rootfs/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive
chroot "$rootfs" apt-get update -qq
chroot "$rootfs" apt-get install -y -qq --no-install-recommends iproute2 ipset iptables stress-ng
chroot "$rootfs" apt-get clean
rm -rf "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/cache/apt/*.bin "$rootfs"/var/log/{apt,dpkg.log,alternatives.log} \
  "$rootfs"/usr/share/{doc,man,locale}/*
: >"$rootfs/etc/resolv.conf"
for program in stress-ng iptables ipset ip tc choom; do chroot "$rootfs" which "$program"; done

mkdir "$OUT/files"
(cd "$rootfs" && find . -cnewer "$OUT/stamp" ! -path './tmp/*' ! -path './dev/*' ! -path './proc/*' -print0) >"$OUT/changed"
tar -C "$rootfs" --null --no-recursion -T "$OUT/changed" -c . | tar -C "$OUT/files" --same-owner -x
"$(dirname "$0")/layer.sh" "$OUT/files" "$OUT/layer.tar.zst"
rm -rf --one-file-system "$rootfs" "$OUT"/{files,stamp,changed}
