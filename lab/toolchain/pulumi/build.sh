#!/usr/bin/env bash
# Builds the Pulumi CLI.
set -euo pipefail
cd "$(dirname "$0")"
go build -tags osusergo,grpcnotrace -o "$OUT/pulumi" \
  -ldflags "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.248.0" \
  github.com/pulumi/pulumi/pkg/v3/cmd/pulumi
