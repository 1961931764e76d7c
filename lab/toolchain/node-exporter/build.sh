#!/usr/bin/env bash
# Builds the exporter of host metrics.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/node_exporter" github.com/prometheus/node_exporter
