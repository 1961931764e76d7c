#!/usr/bin/env bash
# Takes the CRDs of the Gateway API (standard channel) from its module as the one file that its releases carry.
set -euo pipefail
cd "$(dirname "$0")"
module=sigs.k8s.io/gateway-api
go mod download "$module"
folder=$(go list -m -f "{{.Dir}}" "$module")/config/crd/standard
for file in "$folder"/gateway*.yaml; do
  printf -- '---\n# %s\n' "${file##*/}"
  cat "$file"
done >"$OUT/standard-install.yaml"
cd "$OUT"
sha256sum standard-install.yaml >standard-install.yaml.sha256
