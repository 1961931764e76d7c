#!/usr/bin/env bash
# Builds the container that holds a pod'\''s namespaces.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/pause" .
