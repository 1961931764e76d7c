#!/usr/bin/env bash
# Builds k6 with our extension.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/k6" .
