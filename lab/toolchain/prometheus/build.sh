#!/usr/bin/env bash
# Builds Prometheus with the one service discovery that we use, and without its web interface, whose assets are not in the module.
set -euo pipefail
cd "$(dirname "$0")"
go build -tags remove_all_sd,enable_kubernetes_sd -ldflags "-s -w -X github.com/prometheus/common/version.Version=3.14.0" -o "$OUT/prometheus" github.com/prometheus/prometheus/cmd/prometheus
