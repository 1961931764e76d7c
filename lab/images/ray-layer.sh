#!/usr/bin/env bash
# Makes $OUT/layer.tar.zst: Debian, Python, Ray Serve and the simulator; without our Serve app, which changes oftener.
#   ray-layer.sh BASE_ROOTFS SIMULATOR_BINARY
set -euo pipefail
here=$(dirname "$0")
"$here/ray-rootfs.sh" "$1" "$2" "$OUT/rootfs"
"$here/layer.sh" "$OUT/rootfs" "$OUT/layer.tar.zst"
rm -rf --one-file-system "$OUT/rootfs"
