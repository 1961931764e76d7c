#!/usr/bin/env bash
# Installs the plug-ins that Pulumi cannot download here into $PULUMI_HOME: the Kubernetes provider that was built,
# and the lab's stand-ins for command and random. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "$PULUMI_HOME"
plugin=.tools/pulumi-resource-kubernetes/pulumi-resource-kubernetes
if ! cmp -s "$plugin" "$PULUMI_HOME/plugins/resource-kubernetes-v4.25.0/pulumi-resource-kubernetes"; then
  pulumi plugin install resource kubernetes 4.25.0 --file "$plugin" --reinstall
fi
lab/plugins/install.sh
