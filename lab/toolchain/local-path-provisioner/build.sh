#!/usr/bin/env bash
# Builds the provisioner of node-local volumes.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/local-path-provisioner" github.com/rancher/local-path-provisioner
