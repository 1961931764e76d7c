#!/usr/bin/env bash
# Builds the stub server and the program that measures a client.
set -euo pipefail
cd "$(dirname "$0")/stub"
go build -ldflags "-s -w" -o "$OUT/stub" .
go build -ldflags "-s -w" -o "$OUT/measure" ./measure
