#!/usr/bin/env bash
# Builds the KubeRay operator and takes its CRDs from its module.
set -euo pipefail
cd "$(dirname "$0")"
module=github.com/ray-project/kuberay/ray-operator
go build -ldflags "-s -w" -o "$OUT/manager" "$module"
cp -r "$(go list -m -f "{{.Dir}}" "$module")/config/crd/bases" "$OUT/crds"
chmod -R u+w "$OUT/crds"
