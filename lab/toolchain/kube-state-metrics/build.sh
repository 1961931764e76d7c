#!/usr/bin/env bash
# Builds the exporter of the state of Kubernetes objects.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w -X github.com/prometheus/common/version.Version=v2.20.0" -o "$OUT/kube-state-metrics" k8s.io/kube-state-metrics/v2
