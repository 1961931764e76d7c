# shellcheck shell=sh
# Runs on a server: waits until one node is Ready. Environment: NODE_NAME, WAIT_SECONDS; K3S is the executable, for tests.
set -eu

k3s=${K3S:-/usr/local/bin/k3s}
deadline=$(($(date +%s) + WAIT_SECONDS))
while true; do
  status=$("$k3s" kubectl get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' \
    2>/dev/null </dev/null) || status=absent
  if [ "$status" = True ]; then
    echo "$NODE_NAME: the node is Ready"
    exit 0
  fi
  if [ "$(date +%s)" -ge "$deadline" ]; then
    "$k3s" kubectl describe node "$NODE_NAME" </dev/null 2>&1 | tail -n 30 >&2 || true
    echo "$NODE_NAME: not Ready after $WAIT_SECONDS s (status: ${status:-unknown}); see journalctl -u k3s-agent on that host" >&2
    exit 1
  fi
  sleep 1
done
