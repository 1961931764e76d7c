#!/usr/bin/env bash
# Builds the mirror.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/mirror" .
