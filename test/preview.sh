#!/usr/bin/env bash
# Previews every stack of the repository with no cluster and no network, in a state store of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/support/project-copy.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/state"
project_copy "$work/project"
export PULUMI_BACKEND_URL=file://$work/state PULUMI_CONFIG_PASSPHRASE=preview
for file in Pulumi.*.yaml; do
  stack=${file#Pulumi.}
  stack=${stack%.yaml}
  printf '\n▸ pulumi preview --diff -s %s\n' "$stack"
  pulumi -C "$work/project" stack init "$stack" >/dev/null 2>&1
  pulumi -C "$work/project" preview --diff -s "$stack" --non-interactive
done
