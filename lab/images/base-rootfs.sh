#!/usr/bin/env bash
# Makes $OUT/rootfs, a minimal Debian 12, and $OUT/layer.tar.zst, the same as an image layer.
set -euo pipefail
debootstrap --variant=minbase bookworm "$OUT/rootfs"
rm -rf "$OUT"/rootfs/var/cache/apt/archives/*.deb "$OUT"/rootfs/usr/share/{doc,man,locale}/*
"$(dirname "$0")/layer.sh" "$OUT/rootfs" "$OUT/layer.tar.zst"
