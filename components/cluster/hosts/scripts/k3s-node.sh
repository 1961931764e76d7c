# shellcheck shell=sh
# Runs on a server: waits until one node runs this server's version and is Ready, gives it its labels and taints, and
# puts it back into service after an upgrade.
# Environment: NODE_NAME, WAIT_SECONDS, WAIT_READY (0: the node need not be Ready), LABELS (key=value ...), TAINTS
# (key[=value]:Effect ...); K3S is the executable, for tests.
set -euf

k3s=${K3S:-/usr/local/bin/k3s}

kubectl() {
  "$k3s" kubectl "$@" </dev/null
}

# node JSONPATH: a field of the node; empty when there is no such field or no node.
node() {
  kubectl get node "$NODE_NAME" --ignore-not-found -o "jsonpath={$1}"
}

# missing: prints what is not as it should be yet.
missing() {
  running=$(node .status.nodeInfo.kubeletVersion 2>/dev/null) || running=
  if [ -z "$running" ]; then
    echo "the node to register"
  elif [ "$running" != "$wanted" ]; then
    echo "the node to run $wanted (it runs $running)"
  elif [ "$WAIT_READY" = 1 ] && [ "$(node '.status.conditions[?(@.type=="Ready")].status' 2>/dev/null)" != True ]; then
    echo "the node to be Ready"
  fi
}

wait_node() {
  deadline=$(($(date +%s) + WAIT_SECONDS))
  while true; do
    what=$(missing)
    if [ -z "$what" ]; then
      return
    fi
    if [ "$(date +%s)" -ge "$deadline" ]; then
      kubectl describe node "$NODE_NAME" 2>&1 | tail -n 30 >&2 || true
      echo "$NODE_NAME: waited $WAIT_SECONDS s for $what; see the journal of K3s on that host" >&2
      exit 1
    fi
    sleep 1
  done
}

# has WORD LIST: whether a word is in a list.
has() {
  case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# K3s reads labels and taints only when a node registers. An annotation remembers which ones are ours: those that are
# no longer wanted go, those of others stay.
sync_labels() {
  known=$(node '.metadata.annotations.llmeval\.io/labels')
  keys=
  changes=
  for label in $LABELS; do
    keys="${keys:+$keys }${label%%=*}"
    changes="$changes $label"
  done
  for key in $known; do
    if ! has "$key" "$keys"; then changes="$changes $key-"; fi
  done
  # shellcheck disable=SC2086
  if [ -n "$changes" ]; then kubectl label node "$NODE_NAME" --overwrite $changes >/dev/null; fi
  if [ "$known" != "$keys" ]; then
    kubectl annotate node "$NODE_NAME" --overwrite "llmeval.io/labels=$keys" >/dev/null
  fi
}

# A taint that was given once may have been taken away on purpose (as a network does when it is ready), so only
# differences to what was wanted before are made.
sync_taints() {
  recorded=1
  known=$(node '.metadata.annotations.llmeval\.io/taints')
  if [ -z "$known" ]; then
    # Nothing is recorded for a node that has just registered, with all its taints.
    case $(node .metadata.annotations) in *'"llmeval.io/taints"'*) ;; *) recorded=0 known=$TAINTS ;; esac
  fi
  changes=
  for taint in $TAINTS; do
    if ! has "$taint" "$known"; then changes="$changes $taint"; fi
  done
  # Old ones first: a new value of the same key and effect would otherwise go with the old one.
  for taint in $known; do
    key=${taint%%[=:]*}
    if ! has "$taint" "$TAINTS"; then
      kubectl taint node "$NODE_NAME" "$key:${taint##*:}-" >/dev/null 2>&1 || true
    fi
  done
  # shellcheck disable=SC2086
  if [ -n "$changes" ]; then kubectl taint node "$NODE_NAME" --overwrite $changes >/dev/null; fi
  if [ "$recorded" = 0 ] || [ "$known" != "$TAINTS" ]; then
    kubectl annotate node "$NODE_NAME" --overwrite "llmeval.io/taints=$TAINTS" >/dev/null
  fi
}

main() {
  wanted=$("$k3s" --version </dev/null | sed -n 's/^k3s version \([^ ]*\).*/\1/p')
  wait_node
  sync_labels
  sync_taints
  if [ -n "$(node '.metadata.annotations.llmeval\.io/cordoned')" ]; then
    kubectl uncordon "$NODE_NAME" >/dev/null
    kubectl annotate node "$NODE_NAME" llmeval.io/cordoned- >/dev/null
    echo "$NODE_NAME: back in service"
  fi
  echo "$NODE_NAME: the node is ready, version $wanted"
}

main </dev/null
