#!/usr/bin/env bash
# Packs a folder as an image layer, the same bytes for the same files:  layer.sh FOLDER LAYER.tar.zst
set -euo pipefail
tar --create --sort=name --mtime=@0 --numeric-owner --one-file-system -C "$1" . | zstd -q -3 -T0 -f -o "$2"
