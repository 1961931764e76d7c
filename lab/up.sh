#!/usr/bin/env bash
# Starts the lab, or what of it does not run yet: the bridge, the mirror, and the hosts.  up.sh [AGENTS [SERVERS]]
# Leaves what stacks need to know in .lab/: the SSH key and pinned host keys, image references by digest, the
# checksums of the k3s binaries and of the Gateway API. A second run changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. lab/common.sh
agents=${1:-0} servers=${2:-1}
[[ $agents =~ ^[0-9]$ ]] || fail "AGENTS=$agents: the number of agent hosts is a digit, 0 to 9"
[[ $servers =~ ^[1-9]$ ]] || fail "SERVERS=$servers: the number of server hosts is a digit, 1 to 9"
started=$SECONDS
tools=$PWD/.tools
mkdir -p "$lab"/{run,ssh,hosts,log,blobs} .lab

make_bridge() {
  ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge
  # Not grep -q, whose early end would be a failure of the pipe.
  ip address show dev "$bridge" | grep "$gateway/24" >/dev/null || ip address add "$gateway/24" dev "$bridge"
  ip link set "$bridge" up
}

make_keys() {
  [ -f "$lab/ssh/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C llmeval-lab -f "$lab/ssh/id_ed25519"
}

# The mirror is started anew when what it serves has changed.
start_mirror() {
  local images=("$tools"/image-*/) served
  served=$(readlink -f "$tools/mirror" "$tools/k3s" "$tools/charts" "$tools/gateway-api" "${images[@]%/}" | sha256sum)
  if pid_of mirror >/dev/null && [ "$served" = "$(cat "$lab/run/mirror.served" 2>/dev/null)" ]; then
    return
  fi
  stop_process mirror TERM 5
  rm -rf "$lab/artifacts"
  mkdir "$lab/artifacts"
  for artifact in k3s/k3s{,-next}{,.sha256} charts gateway-api; do
    ln -s "$(readlink -f "$tools/$artifact")" "$lab/artifacts/$(basename "$artifact")"
  done
  setsid "$tools/mirror/mirror" serve --registry "$gateway:5000" --files "$gateway:8080" --blobs "$lab/blobs" \
    --artifacts "$lab/artifacts" "${images[@]}" >"$lab/log/mirror.log" 2>&1 </dev/null &
  remember mirror $!
  wait_for 60 "the mirror (log: $lab/log/mirror.log)" curl -fsS "http://$gateway:8080/k3s.sha256"
  echo "$served" >"$lab/run/mirror.served"
  say "mirror: registry $gateway:5000 with ${#images[@]} images, artifacts $gateway:8080"
}

make_host() { # NAME ADDRESS: writes the host's disk
  local root=$lab/hosts/$1
  [ -f "$root.made" ] && return
  rm -rf --one-file-system "$root"
  cp -a --reflink=auto "$tools/host-rootfs/rootfs" "$root"
  echo "$1" >"$root/etc/hostname"
  # Left empty it would be taken from this machine, and be the same on every host.
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  printf '127.0.0.1 localhost\n%s %s\n' "$2" "$1" >"$root/etc/hosts"
  printf 'ADDRESS=%s/24\nGATEWAY=%s\n' "$2" "$gateway" >"$root/etc/lab-network"
  install -D -m 600 "$lab/ssh/id_ed25519.pub" "$root/root/.ssh/authorized_keys"
  ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$root/etc/ssh/ssh_host_ed25519_key"
  echo "$2 $(cut -d' ' -f1,2 "$root/etc/ssh/ssh_host_ed25519_key.pub")" >"$root.known_host"
  touch "$root.made"
}

start_host() { # NAME ADDRESS
  if ! pid_of "$1" >/dev/null; then
    make_host "$1" "$2"
    # systemd-nspawn wants a terminal, which `script` gives it.
    SHELL=/bin/bash setsid script -qfc ". lab/common.sh; run_host $1" /dev/null >"$lab/log/$1.log" 2>&1 </dev/null &
    wait_for 10 "systemd-nspawn of $1 (log: $lab/log/$1.log)" test -s "$lab/run/$1.new"
    remember "$1" "$(cat "$lab/run/$1.new")"
    rm "$lab/run/$1.new"
  fi
}

wait_host() { # NAME ADDRESS
  wait_for 60 "sshd of $1 at $2 (log: $lab/log/$1.log)" \
    ssh -i "$lab/ssh/id_ed25519" -o UserKnownHostsFile=.lab/ssh/known_hosts -o BatchMode=yes -o ConnectTimeout=2 "root@$2" true
  say "host $1: root@$2"
}

# The files are replaced only when they differ: stacks that read them see no change.
place() { # SOURCE TARGET
  cmp -s "$1" "$2" || install -D -m "${3:-644}" "$1" "$2"
}
write_facts() {
  place "$lab/ssh/id_ed25519" .lab/ssh/id_ed25519 600
  cat "$lab"/hosts/*.known_host >"$lab/run/known_hosts"
  place "$lab/run/known_hosts" .lab/ssh/known_hosts
  place "$tools/k3s/k3s.sha256" .lab/k3s.sha256
  place "$tools/k3s/k3s-next.sha256" .lab/k3s-next.sha256
  (cd "$tools/charts" && sha256sum -- *.tgz) >"$lab/run/charts.sha256"
  place "$lab/run/charts.sha256" .lab/charts.sha256
  place "$tools/gateway-api/standard-install.yaml.sha256" .lab/gateway-api.sha256
  for image in "$tools"/image-*/; do
    key=$(basename "$image")
    printf '%s %s\n' "${key#image-}" "$(cat "$image/reference")"
  done | awk 'BEGIN { print "{" } { printf "%s  \"%s\": \"%s\"", (NR > 1 ? ",\n" : ""), $1, $2 } END { print "\n}" }' >"$lab/run/images.json"
  place "$lab/run/images.json" .lab/images.json
}

make_bridge
make_keys
start_mirror
for n in $(seq 1 "$servers"); do start_host "server-$n" "$(server_address "$n")"; done
for n in $(seq 1 "$agents"); do start_host "agent-$n" "$(agent_address "$n")"; done
write_facts
for n in $(seq 1 "$servers"); do wait_host "server-$n" "$(server_address "$n")"; done
for n in $(seq 1 "$agents"); do wait_host "agent-$n" "$(agent_address "$n")"; done
say "the lab is up ($((SECONDS - started)) s)"
