# shellcheck shell=sh
# Runs on a server, before an agent gets another executable: moves the pods of its node away. A node that is not there
# yet, or that already runs this server's version, is left alone; so the script may run at any time.
# Environment: NODE_NAME, DRAIN_SECONDS; K3S is the executable, for tests.
set -eu

k3s=${K3S:-/usr/local/bin/k3s}
# By this k3s-node.sh knows that the node was taken out of service by us and not by somebody else.
mark=llmeval.io/cordoned

kubectl() {
  "$k3s" kubectl "$@" </dev/null
}

wanted=$("$k3s" --version </dev/null | sed -n 's/^k3s version \([^ ]*\).*/\1/p')
running=$(kubectl get node "$NODE_NAME" --ignore-not-found -o 'jsonpath={.status.nodeInfo.kubeletVersion}')
if [ -z "$running" ] || [ "$running" = "$wanted" ]; then
  echo "$NODE_NAME: nothing to drain"
  exit 0
fi
echo "$NODE_NAME: draining for the upgrade from $running to $wanted"
if [ "$(kubectl get node "$NODE_NAME" -o 'jsonpath={.spec.unschedulable}')" != true ]; then
  kubectl annotate node "$NODE_NAME" "$mark=upgrade" --overwrite >/dev/null
  kubectl cordon "$NODE_NAME" >/dev/null
fi
if ! kubectl drain "$NODE_NAME" --ignore-daemonsets --delete-emptydir-data --timeout="${DRAIN_SECONDS}s"; then
  if [ -n "$(kubectl get node "$NODE_NAME" -o 'jsonpath={.metadata.annotations.llmeval\.io/cordoned}')" ]; then
    kubectl uncordon "$NODE_NAME" >/dev/null
    kubectl annotate node "$NODE_NAME" "$mark-" >/dev/null
  fi
  echo "$NODE_NAME: its pods did not leave within $DRAIN_SECONDS s (lines above), so it was not upgraded and serves on" \
    "with $running; remove what holds them, or raise k3s.drainTimeoutSeconds" >&2
  exit 1
fi
