#!/usr/bin/env bash
# Builds the controller and the daemon of Chaos Mesh, of August 2022, and takes its CRDs from its module.
set -euo pipefail
cd "$(dirname "$0")"
module=github.com/chaos-mesh/chaos-mesh
version="-X $module/pkg/version.gitVersion=2022-08"
# Two packages at a time: the controller's need much memory.
go build -p 2 -ldflags "-s -w $version" -o "$OUT/chaos-controller-manager" "$module/cmd/chaos-controller-manager"
# Its ptrace parts are C.
CGO_ENABLED=1 go build -p 2 -ldflags "-s -w $version" -o "$OUT/chaos-daemon" "$module/cmd/chaos-daemon"
cp -r "$(go list -m -f "{{.Dir}}" "$module")/config/crd/bases" "$OUT/crds"
chmod -R u+w "$OUT/crds"
