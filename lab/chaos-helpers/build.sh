#!/usr/bin/env bash
# Builds the small programs that the daemon of Chaos Mesh starts and that its module does not carry.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/nsexec" ./nsexec
go build -ldflags "-s -w" -o "$OUT/pause" ./pause
# The daemon calls it by this name.
go build -ldflags "-s -w" -o "$OUT/memStress" ./memstress
