#!/usr/bin/env bash
# Builds the metrics server, which k3s deploys as one of its own parts.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w -X k8s.io/client-go/pkg/version.gitVersion=v0.9.0" -o "$OUT/metrics-server" sigs.k8s.io/metrics-server/cmd/metrics-server
