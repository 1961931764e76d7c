# shellcheck shell=sh
# Brings one host to the wanted K3s state and waits until it is ready. Safe to run again after a cut at any point:
# it observes what is there, changes what differs, and restarts K3s only when something that K3s reads has changed.
# When a change does not become ready, the executable and the configuration that worked before are put back.
#
# Environment: MODE (apply, or prepare: a host that already has K3s only fetches the executable), ROLE (server|agent),
# NODE_NAME, DATA_DIR, BINARY_URL, BINARY_SHA256, CONFIG (config.yaml), REGISTRIES (registries.yaml, empty for none),
# UNIT (systemd unit), WAIT_SECONDS, WAIT_KUBELET (1: its health port must answer), WAIT_NODE (1: the node must be Ready;
# servers only), WAIT_STORAGE_CLASS (name that must exist; empty for none; servers only), SNAPSHOT (1: the datastore is
# saved before another executable is used).
# Standard input sets TOKEN, AGENT_TOKEN (empty on agents) and UNINSTALL (text of the uninstall script) ahead of this
# text, so that no secret is in an argument or in the environment. ROOT is a prefix of all paths, for tests.
set -eu

root=${ROOT:-}
bin=$root/usr/local/bin/k3s
etc=$root/etc/rancher/k3s
# The state that became ready last, and a copy of what it was made of.
applied=$etc/.applied-sha256
previous=$etc/.previous
lock=$root/run/llmeval-k3s.lock
case $ROLE in
  server) service=k3s ;;
  agent) service=k3s-agent ;;
  *) echo "unknown role: $ROLE" >&2; exit 1 ;;
esac
unit=$root/etc/systemd/system/$service.service
uninstall=$root/usr/local/bin/llmeval-$service-uninstall.sh
# What K3s says when no waiting helps; it goes on trying all the same.
refusals='token CA hash does not match|not authorized|401 Unauthorized|[Nn]ode password rejected|token is not accepted'
refusals="$refusals|encrypted with different token|token differs|[Ii]nvalid token|failed to normalize token"
most_restarts=8

fail() {
  echo "$NODE_NAME: $*" >&2
  exit 1
}

say() {
  echo "$NODE_NAME: $*"
}

sha256_of() {
  sha256sum "$1" 2>/dev/null | cut -d ' ' -f 1
}

# put_file PATH MODE CONTENT: writes the file at once or not at all, and only when it differs.
put_file() {
  if [ -f "$1" ] && printf '%s\n' "$3" | cmp -s - "$1"; then
    chmod "$2" "$1"
    return
  fi
  mkdir -p "$(dirname "$1")" || fail "cannot make the folder of $1"
  rm -f "$1.new"
  (umask 077 && printf '%s\n' "$3" >"$1.new") || fail "cannot write $1 (disk full?)"
  chmod "$2" "$1.new"
  mv -f "$1.new" "$1"
}

# Leaves the wanted executable beside the one in use, unless that is the wanted one.
fetch_binary() {
  if [ "$(sha256_of "$bin")" = "$BINARY_SHA256" ]; then
    rm -f "$bin.next"
    return
  fi
  if [ "$(sha256_of "$bin.next")" = "$BINARY_SHA256" ]; then
    return
  fi
  command -v curl >/dev/null || fail "curl is missing; install it, K3s is fetched with it"
  say "fetching $BINARY_URL"
  mkdir -p "$(dirname "$bin")"
  curl --fail --silent --show-error --location --retry 3 --connect-timeout 10 --max-time 900 \
    --output "$bin.part" "$BINARY_URL" || fail "cannot fetch $BINARY_URL into $bin.part; the host was left as it was"
  got=$(sha256_of "$bin.part")
  if [ "$got" != "$BINARY_SHA256" ]; then
    rm -f "$bin.part"
    fail "$BINARY_URL has sha256 $got, expected $BINARY_SHA256; the host was left as it was"
  fi
  chmod 0755 "$bin.part"
  mv -f "$bin.part" "$bin.next"
}

wanted_sha256() {
  printf '%s\n' "$BINARY_SHA256" "$TOKEN" "$AGENT_TOKEN" "$CONFIG" "$REGISTRIES" "$UNIT" | sha256sum | cut -d ' ' -f 1
}

present_sha256() {
  printf '%s\n' "$(sha256_of "$bin")" "$(cat "$etc/token" 2>/dev/null)" "$(cat "$etc/agent-token" 2>/dev/null)" \
    "$(cat "$etc/config.yaml" 2>/dev/null)" "$(cat "$etc/registries.yaml" 2>/dev/null)" "$(cat "$unit" 2>/dev/null)" |
    sha256sum | cut -d ' ' -f 1
}

# Only a state that became ready is worth going back to, and only while nothing has touched it.
save_previous() {
  if [ ! -f "$applied" ] || [ "$(cat "$applied")" != "$1" ]; then
    return
  fi
  rm -rf "$previous.new"
  mkdir -p "$previous.new"
  chmod 0700 "$previous.new"
  for file in token agent-token config.yaml registries.yaml; do
    if [ -f "$etc/$file" ]; then cp -p "$etc/$file" "$previous.new/$file"; fi
  done
  cp -p "$unit" "$previous.new/unit"
  cp -p "$applied" "$previous.new/sha256"
  ln -f "$bin" "$bin.previous"
  rm -rf "$previous"
  mv "$previous.new" "$previous"
}

# snapshot: saves the datastore: of an etcd that runs by K3s itself, of an SQLite as a copy while K3s is stopped.
snapshot() {
  server=$DATA_DIR/server
  name=llmeval-before-upgrade
  # A folder for etcd is there beside SQLite too (k3s#8960), but without a member.
  etcd=0
  if [ -d "$root$server/db/etcd/member" ] && [ ! -f "$root$server/db/state.db" ]; then etcd=1; fi
  if [ $etcd = 1 ] && ! systemctl is-active --quiet "$service"; then
    say "no snapshot of etcd: $service is not running"
  elif [ $etcd = 1 ]; then
    say "saving a snapshot of etcd"
    "$bin" etcd-snapshot save --name "$name" --data-dir "$DATA_DIR" >/dev/null ||
      fail "no snapshot of etcd could be saved, so the upgrade was not begun; the host was left as it was"
    snapshot="$server/db/snapshots/$name-*"
  elif [ -d "$root$server/db" ]; then
    say "saving a copy of the datastore"
    copy=$root$server/$name
    systemctl stop "$service"
    rm -rf "$copy.new"
    if ! cp -a "$root$server/db" "$copy.new"; then
      rm -rf "$copy.new"
      systemctl start --no-block "$service"
      fail "the datastore could not be copied (disk full?), so the upgrade was not begun; K3s was started as it was"
    fi
    rm -rf "$copy"
    mv "$copy.new" "$copy"
    snapshot="$server/$name"
  else
    say "no datastore on this host to save"
  fi
}

write_files() {
  if [ -f "$bin.next" ]; then mv -f "$bin.next" "$bin"; fi
  put_file "$etc/token" 0600 "$TOKEN"
  if [ -n "$AGENT_TOKEN" ]; then
    put_file "$etc/agent-token" 0600 "$AGENT_TOKEN"
  else
    rm -f "$etc/agent-token"
  fi
  put_file "$etc/config.yaml" 0600 "$CONFIG"
  if [ -n "$REGISTRIES" ]; then
    put_file "$etc/registries.yaml" 0600 "$REGISTRIES"
  else
    rm -f "$etc/registries.yaml"
  fi
  put_file "$unit" 0644 "$UNIT"
  put_file "$uninstall" 0755 "$UNINSTALL"
}

restart() {
  systemctl daemon-reload
  systemctl enable --quiet "$service"
  # Stop and start instead of a restart: nothing below may take the old process for the new one. Containers go on
  # (KillMode=process). Start does not block, since an agent with a wrong server or token never finishes starting.
  systemctl stop "$service"
  systemctl reset-failed "$service" 2>/dev/null || true
  started=$(date +%s)
  systemctl start --no-block "$service"
}

# missing: prints what is not ready yet, nothing when all is.
missing() {
  if ! systemctl is-active --quiet "$service"; then
    echo "the unit $service to be active"
  # The unit is active as soon as K3s runs, and a node stays Ready for a while without its kubelet.
  elif [ "$WAIT_KUBELET" = 1 ] && [ "$(curl -sS --max-time 5 http://127.0.0.1:10248/healthz 2>/dev/null)" != ok ]; then
    echo "the kubelet to be healthy"
  elif [ "$ROLE" = agent ]; then
    return
  elif [ "$("$bin" kubectl get --raw /readyz 2>/dev/null)" != ok ]; then
    echo "the API server's /readyz"
  elif [ "$WAIT_NODE" = 1 ] && [ "$("$bin" kubectl get node "$NODE_NAME" \
    -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" != True ]; then
    echo "the node $NODE_NAME to be Ready"
  elif [ -n "$WAIT_STORAGE_CLASS" ] && ! "$bin" kubectl get storageclass "$WAIT_STORAGE_CLASS" >/dev/null 2>&1; then
    echo "the storage class $WAIT_STORAGE_CLASS"
  fi
}

# hopeless: prints why waiting on makes no sense. One refusal may come from a server that is just starting.
hopeless() {
  restarts=$(systemctl show -p NRestarts --value "$service" 2>/dev/null) || restarts=0
  refused=$(journalctl -u "$service" --since "@$started" --no-pager -o cat 2>/dev/null | grep -E "$refusals") || true
  if [ "$(printf '%s' "$refused" | grep -c '')" -ge 3 ] || { [ -n "$refused" ] && [ "${restarts:-0}" -gt 0 ]; }; then
    echo "K3s refuses to go on: $(printf '%s\n' "$refused" | tail -n 1)"
  elif [ "${restarts:-0}" -ge "$most_restarts" ]; then
    echo "$service ended $restarts times"
  fi
}

# wait_ready SECONDS: sets `problem` and fails when the service does not become ready.
wait_ready() {
  deadline=$(($(date +%s) + $1))
  last=
  while true; do
    what=$(missing)
    if [ -z "$what" ]; then
      say "$service is ready"
      return 0
    fi
    if [ "$what" != "$last" ]; then
      say "waiting for $what"
      last=$what
    fi
    problem=$(hopeless)
    if [ -n "$problem" ]; then return 1; fi
    if [ "$(date +%s)" -ge "$deadline" ]; then
      problem="not ready after $1 s: still waiting for $what"
      return 1
    fi
    sleep 1
  done
}

# go_back: puts the previous state back and starts it; fails when there is none.
go_back() {
  if [ ! -f "$applied" ] || [ "$(cat "$previous/sha256" 2>/dev/null)" != "$(cat "$applied")" ]; then
    return 1
  fi
  if ! cmp -s "$bin.previous" "$bin"; then
    cp -p "$bin.previous" "$bin.back" && mv -f "$bin.back" "$bin"
  fi
  for file in token agent-token config.yaml registries.yaml; do
    rm -f "$etc/$file"
    if [ -f "$previous/$file" ]; then cp -p "$previous/$file" "$etc/$file"; fi
  done
  cp -p "$previous/unit" "$unit"
  restart
}

not_ready() {
  reason=$problem
  {
    echo "last journal lines of $service:"
    journalctl -u "$service" --since "@$started" --no-pager -o cat -n 30 || true
  } >&2
  if [ "$changed" = 0 ]; then
    fail "$reason (journal lines above)"
  elif ! go_back; then
    fail "$reason (journal lines above). The next \`pulumi up\` goes on from here; to clean the host, run $uninstall"
  fi
  if wait_ready "$WAIT_SECONDS" >&2; then
    outcome="the host went back to what it ran before"
  else
    outcome="the host went back to what it ran before, which does not become ready either: $problem"
  fi
  if [ "$ROLE" = agent ] && [ "$upgraded" = 1 ]; then
    outcome="$outcome; its node stays out of service until an \`up\` succeeds"
  fi
  if [ -n "$snapshot" ]; then outcome="$outcome; the datastore as it was before is in $snapshot"; fi
  fail "$reason (journal lines above); $outcome"
}

apply() {
  fetch_binary
  started=$(date +%s)
  changed=0
  upgraded=0
  snapshot=
  wanted=$(wanted_sha256)
  present=$(present_sha256)
  if [ "$present" = "$wanted" ] && [ -f "$applied" ] && [ "$(cat "$applied")" = "$wanted" ]; then
    put_file "$uninstall" 0755 "$UNINSTALL"
    if systemctl is-active --quiet "$service"; then
      say "$service is up to date"
    else
      say "starting $service"
      restart
    fi
  else
    changed=1
    save_previous "$present"
    if [ -f "$applied" ] && [ -f "$bin.next" ]; then upgraded=1; fi
    if [ "$SNAPSHOT$upgraded" = 11 ]; then snapshot; fi
    say "restarting $service with the new configuration"
    write_files
    restart
  fi
  wait_ready "$WAIT_SECONDS" || not_ready
  # Written last: after a cut before this line the next run restarts K3s again, which does no harm.
  put_file "$applied" 0600 "$wanted"
}

main() {
  mkdir -p "$(dirname "$lock")"
  exec 9>"$lock"
  # The script of an `up` that was killed may still be at work.
  flock -w "$((WAIT_SECONDS + 60))" 9 || fail "another installation holds $lock"
  if [ "$MODE" = prepare ] && [ -f "$applied" ]; then
    fetch_binary
    say "the executable is at hand"
  else
    apply
  fi
}

# The text comes on standard input, so nothing in it may read from there.
main </dev/null
