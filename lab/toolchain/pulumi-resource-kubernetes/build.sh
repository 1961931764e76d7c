#!/usr/bin/env bash
# Builds the Kubernetes provider. Its schema belongs to its module: the build takes it from there.
set -euo pipefail
cd "$(dirname "$0")"
module=github.com/pulumi/pulumi-kubernetes/provider/v4
go mod download "$module"
cp -r . "$OUT/source"
install -m 644 "$(go list -m -f "{{.Dir}}" "$module")/cmd/pulumi-resource-kubernetes/schema.json" "$OUT/source/"
cd "$OUT/source"
go build -ldflags "-s -w" -o "$OUT/pulumi-resource-kubernetes" .
rm -rf "$OUT/source"
