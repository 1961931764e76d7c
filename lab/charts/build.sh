#!/usr/bin/env bash
# Packs the lab's charts into $OUT as a chart repository: CHART-VERSION.tgz and index.yaml.  build.sh CRD_DIR
# The operator's CRDs belong to its module; they are added here and not committed.
set -euo pipefail
crds=$(realpath "$1")
cd "$(dirname "$0")"
name=kuberay-operator
version=$(sed -n 's/^version: //p' $name/Chart.yaml)
archive=$name-$version.tgz

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r $name "$work/"
mkdir "$work/$name/crds"
cp "$crds"/*.yaml "$work/$name/crds/"
tar --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 -C "$work" -c $name | gzip -n >"$OUT/$archive"
cat >"$OUT/index.yaml" <<YAML
apiVersion: v1
entries:
  $name:
    - apiVersion: v2
      name: $name
      version: $version
      appVersion: $(sed -n 's/^appVersion: //p' $name/Chart.yaml)
      digest: $(sha256sum "$OUT/$archive" | cut -d' ' -f1)
      urls: [$archive]
YAML
