# shellcheck shell=sh
# Brings one host to the wanted K3s state and waits until it is ready. Safe to run again after a cut at any point:
# it observes what is there, changes what differs, and restarts K3s only when something that K3s reads has changed.
#
# Environment: ROLE (server|agent), NODE_NAME, BINARY_URL, BINARY_SHA256, CONFIG (config.yaml), REGISTRIES
# (registries.yaml, empty for none), UNIT (systemd unit), WAIT_SECONDS, WAIT_NODE (1: the node must be Ready; servers
# only), WAIT_STORAGE_CLASS (name that must exist; empty for none; servers only). Standard input sets TOKEN and
# UNINSTALL (text of the uninstall script) ahead of this text, so that no secret is in an argument or in the environment.
# ROOT is a prefix of all paths, for tests.
set -eu

root=${ROOT:-}
bin=$root/usr/local/bin/k3s
etc=$root/etc/rancher/k3s
applied=$etc/.applied-sha256
case $ROLE in
  server) service=k3s ;;
  agent) service=k3s-agent ;;
  *) echo "unknown role: $ROLE" >&2; exit 1 ;;
esac
unit=$root/etc/systemd/system/$service.service
uninstall=$root/usr/local/bin/llmeval-$service-uninstall.sh

fail() {
  echo "$NODE_NAME: $*" >&2
  exit 1
}

say() {
  echo "$NODE_NAME: $*"
}

sha256_of() {
  sha256sum "$1" | cut -d ' ' -f 1
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

place_binary() {
  if [ -f "$bin" ] && [ "$(sha256_of "$bin")" = "$BINARY_SHA256" ]; then
    return
  fi
  command -v curl >/dev/null || fail "curl is missing; install it, K3s is fetched with it"
  say "fetching $BINARY_URL"
  mkdir -p "$(dirname "$bin")"
  curl --fail --silent --show-error --location --retry 3 --connect-timeout 10 --max-time 900 \
    --output "$bin.new" "$BINARY_URL" || fail "cannot fetch $BINARY_URL into $bin.new"
  got=$(sha256_of "$bin.new")
  if [ "$got" != "$BINARY_SHA256" ]; then
    rm -f "$bin.new"
    fail "$BINARY_URL has sha256 $got, expected $BINARY_SHA256; the host was left as it was"
  fi
  chmod 0755 "$bin.new"
  mv -f "$bin.new" "$bin"
}

write_files() {
  put_file "$etc/token" 0600 "$TOKEN"
  put_file "$etc/config.yaml" 0600 "$CONFIG"
  if [ -n "$REGISTRIES" ]; then
    put_file "$etc/registries.yaml" 0600 "$REGISTRIES"
  else
    rm -f "$etc/registries.yaml"
  fi
  put_file "$unit" 0644 "$UNIT"
  put_file "$uninstall" 0755 "$UNINSTALL"
}

wanted_sha256() {
  {
    echo "$BINARY_SHA256"
    cat "$etc/token" "$etc/config.yaml" "$unit"
    if [ -f "$etc/registries.yaml" ]; then cat "$etc/registries.yaml"; fi
  } | sha256sum | cut -d ' ' -f 1
}

sync_service() {
  wanted=$(wanted_sha256)
  if [ -f "$applied" ] && [ "$(cat "$applied")" = "$wanted" ]; then
    if systemctl is-active --quiet "$service"; then
      say "$service is up to date"
      return
    fi
    say "starting $service"
  else
    say "restarting $service with the new configuration"
  fi
  systemctl daemon-reload
  systemctl enable --quiet "$service"
  # Stop and start instead of a restart: nothing below may take the old process for the new one. Containers go on
  # (KillMode=process). Start does not block, since an agent with a wrong server or token never finishes starting.
  systemctl stop "$service"
  systemctl reset-failed "$service" 2>/dev/null || true
  systemctl start --no-block "$service"
}

# missing: prints what is not ready yet, nothing when all is.
missing() {
  if ! systemctl is-active --quiet "$service"; then
    echo "the unit $service to be active"
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

wait_ready() {
  deadline=$(($(date +%s) + WAIT_SECONDS))
  last=
  while true; do
    what=$(missing)
    if [ -z "$what" ]; then
      break
    fi
    if [ "$what" != "$last" ]; then
      say "waiting for $what"
      last=$what
    fi
    if [ "$(date +%s)" -ge "$deadline" ]; then
      echo "last journal lines of $service:" >&2
      journalctl -u "$service" --no-pager -o cat -n 30 >&2 || true
      fail "not ready after ${WAIT_SECONDS} s: still waiting for $what (journal lines above)"
    fi
    sleep 1
  done
  say "$service is ready"
}

main() {
  place_binary
  write_files
  sync_service
  wait_ready
  # Written last: after a cut before this line the next run restarts K3s again, which does no harm.
  put_file "$applied" 0600 "$wanted"
}

# The text comes on standard input, so nothing in it may read from there.
main </dev/null
