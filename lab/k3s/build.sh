#!/usr/bin/env bash
# Builds the k3s stand-in; nodes report its version, which says what it is.
set -euo pipefail
cd "$(dirname "$0")"
version=v1.36.4+k3s1-standin
component=k8s.io/component-base/version
client=k8s.io/client-go/pkg/version
go build -tags providerless -o "$OUT/k3s" -ldflags "-s -w -X $component.gitVersion=$version -X $component.gitMajor=1 \
  -X $component.gitMinor=36 -X $component.gitTreeState=clean -X $client.gitVersion=$version"
cd "$OUT"
sha256sum k3s >k3s.sha256
mkdir bin
ln -s ../k3s bin/kubectl
