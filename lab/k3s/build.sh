#!/usr/bin/env bash
# Builds the k3s stand-in, and k3s-next, which differs in nothing but the version: what an upgrade goes to. Nodes
# report the version, which says what it is.
set -euo pipefail
cd "$(dirname "$0")"
component=k8s.io/component-base/version
client=k8s.io/client-go/pkg/version

build() { # NAME VERSION
  go build -tags providerless -o "$OUT/$1" -ldflags "-s -w -X $component.gitVersion=$2 -X $component.gitMajor=1 \
    -X $component.gitMinor=36 -X $component.gitTreeState=clean -X $client.gitVersion=$2"
  (cd "$OUT" && sha256sum "$1" >"$1.sha256")
}
build k3s v1.36.4+k3s1-standin
build k3s-next v1.36.4+k3s2-standin
mkdir "$OUT/bin"
ln -s ../k3s "$OUT/bin/kubectl"
