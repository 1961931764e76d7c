#!/usr/bin/env bash
# Builds the cluster's DNS server.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/coredns" github.com/coredns/coredns
