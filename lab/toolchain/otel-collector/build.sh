#!/usr/bin/env bash
# Builds the OpenTelemetry collector with the components that our configurations use.
set -euo pipefail
cd "$(dirname "$0")"
go build -tags grpcnotrace -ldflags "-s -w -X main.version=0.159.0" -o "$OUT/otelcol-contrib" .
