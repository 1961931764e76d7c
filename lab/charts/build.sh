#!/usr/bin/env bash
# Packs the lab's charts into $OUT as one chart repository: CHART-VERSION.tgz and index.yaml.  build.sh [CHART=CRD_DIR...]
# An operator's CRDs belong to its module; they are added to the chart here and not committed.
set -euo pipefail
declare -A crds
for pair in "$@"; do crds[${pair%%=*}]=$(realpath "${pair#*=}"); done
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

field() { sed -n "s/^$2: //p" "$1/Chart.yaml"; }

printf 'apiVersion: v1\nentries:\n' >"$OUT/index.yaml"
for chart in */Chart.yaml; do
  name=${chart%/*}
  version=$(field "$name" version)
  archive=$name-$version.tgz
  cp -r "$name" "$work/"
  if [ -n "${crds[$name]:-}" ]; then
    mkdir "$work/$name/crds"
    cp "${crds[$name]}"/*.yaml "$work/$name/crds/"
  fi
  tar --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 -C "$work" -c "$name" | gzip -n >"$OUT/$archive"
  cat >>"$OUT/index.yaml" <<YAML
  $name:
    - apiVersion: v2
      name: $name
      version: $version
      appVersion: $(field "$name" appVersion)
      digest: $(sha256sum "$OUT/$archive" | cut -d' ' -f1)
      urls: [$archive]
YAML
done
