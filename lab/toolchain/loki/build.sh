#!/usr/bin/env bash
# Builds Loki.
set -euo pipefail
cd "$(dirname "$0")"
version=3.7.6
go build -tags netgo,grpcnotrace,remove_all_sd -ldflags "-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version=$version" -o "$OUT/loki" github.com/grafana/loki/v3/cmd/loki
