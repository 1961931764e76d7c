# shellcheck shell=sh
# Looks at one host and changes nothing. Prints lines "clock SECONDS", "problem TEXT", "warning TEXT" and
# "fact NAME VALUE"; the last one is "fact end 1". On a host that has K3s from us already, want of room is a warning.
# Environment: DATA_DIR, MIN_FREE_GIB, MIN_KERNEL, PORTS (TCP ports that K3s listens on), BINARY_URL, NVIDIA (1: the
# driver must be there). ROOT is a prefix of all paths, for tests.
set -eu

root=${ROOT:-}

problem() { echo "problem $*"; }
warning() { echo "warning $*"; }
fact() { echo "fact $*"; }
has() { command -v "$1" >/dev/null 2>&1; }

# What stands in the way of an installation need not stop a change of one.
installed=0
if [ -f "$root/etc/rancher/k3s/.applied-sha256" ]; then installed=1; fi
hindrance() {
  if [ "$installed" = 1 ]; then warning "$@"; else problem "$@"; fi
}

check_system() {
  if [ "$(id -u)" != 0 ]; then problem "the checks do not run as root"; fi
  fact hostname "$(uname -n)"
  fact arch "$(uname -m)"
  fact machine-id "$(cat "$root/etc/machine-id" 2>/dev/null)"
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) problem "is a machine of type $(uname -m); K3s is installed on x86_64 and aarch64" ;;
  esac
  if ! has systemctl || [ ! -d "$root/run/systemd/system" ]; then
    problem "does not run systemd, which K3s is started by"
  fi
  for tool in curl flock iptables; do
    if ! has "$tool"; then hindrance "$tool is missing; install the package that brings it"; fi
  done
  kernel=$(uname -r)
  oldest=$(printf '%s\n%s\n' "$MIN_KERNEL" "${kernel%%-*}" | sort -V | head -n 1)
  if [ "$oldest" != "$MIN_KERNEL" ]; then
    hindrance "kernel $kernel is older than $MIN_KERNEL, which the network needs"
  fi
}

check_cgroups() {
  if [ -f "$root/sys/fs/cgroup/cgroup.controllers" ]; then
    present=$(cat "$root/sys/fs/cgroup/cgroup.controllers")
  else
    present=$(awk '$4 == 1 { print $1 }' "$root/proc/cgroups" 2>/dev/null | tr '\n' ' ')
    warning "uses cgroup v1, which Kubernetes gives up; boot with systemd.unified_cgroup_hierarchy=1"
  fi
  for controller in cpu memory pids; do
    case " $present " in
      *" $controller "*) ;;
      *) problem "the cgroup controller $controller is off; switch it on at boot (cgroup_enable=$controller)" ;;
    esac
  done
}

check_clock() {
  for service in chrony chronyd systemd-timesyncd ntpd ntpsec; do
    if systemctl is-active --quiet "$service" 2>/dev/null; then return; fi
  done
  warning "no time service runs (chrony, systemd-timesyncd); clocks that drift spoil every measurement"
}

# The nearest folder that exists tells where the data directory will lie.
check_disk() {
  folder=$root$DATA_DIR
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  free_kib=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
  if awk -v free="$free_kib" -v min="$MIN_FREE_GIB" 'BEGIN { exit !(free < min * 1048576) }'; then
    free=$(awk -v free="$free_kib" 'BEGIN { printf "%.1f", free / 1048576 }')
    hindrance "$free GiB are free for $DATA_DIR, at least $MIN_FREE_GIB GiB are needed (k3s.preflight.minFreeDiskGibibytes)"
  fi
}

check_ports() {
  if ! has ss; then
    warning "ss is missing (package iproute2), so the ports $PORTS were not checked"
    return
  fi
  listening=$(ss -Hltnp 2>/dev/null)
  for port in $PORTS; do
    line=$(printf '%s\n' "$listening" | awk -v port=":$port" 'substr($4, length($4) - length(port) + 1) == port' | head -n 1)
    case $line in
      '' | *'"k3s'*) ;;
      *)
        holder=$(printf '%s\n' "$line" | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1, process \2/p')
        problem "port $port, which K3s needs, is taken by ${holder:-a process of another namespace}"
        ;;
    esac
  done
}

check_limits() {
  open_files=$(awk '/^Max open files/ { print $5 }' "$root/proc/self/limits")
  if [ "$open_files" != unlimited ] && [ "$open_files" -lt 65536 ]; then
    if [ "$open_files" -lt 4096 ]; then
      hindrance "at most $open_files files may be open; K3s and Ray need more (65536 or more)"
    else
      warning "at most $open_files files may be open; large Ray clusters need more (65536 or more)"
    fi
  fi
  if [ "$(wc -l <"$root/proc/swaps" 2>/dev/null || echo 0)" -gt 1 ]; then
    warning "has swap; pods that are swapped out spoil latencies (swapoff -a, and /etc/fstab)"
  fi
}

check_neighbours() {
  for service in docker containerd; do
    if systemctl is-active --quiet "$service" 2>/dev/null; then
      warning "$service runs beside K3s's own containerd; GPU set-up may change the wrong one"
    fi
  done
  if [ "$installed" = 0 ] && [ -f "$root/etc/rancher/k3s/config.yaml" ]; then
    warning "has a K3s configuration already, of an installation that was cut or is not ours; it will be replaced"
  fi
}

check_nvidia() {
  if [ "$NVIDIA" = 1 ] && ! nvidia-smi -L >/dev/null 2>&1; then
    problem "has accelerators, but no NVIDIA driver that works (nvidia-smi -L); install it, or set k3s.preflight.nvidiaDriver: ignore where the GPU operator brings it"
  fi
}

# Only the address is tried; a server that does not take HEAD answers all the same.
check_source() {
  if ! has curl; then return; fi
  if ! code=$(curl -sSIL --connect-timeout 5 --max-time 15 -o /dev/null -w '%{http_code}' "$BINARY_URL" 2>&1); then
    hindrance "cannot reach $BINARY_URL: $(printf '%s\n' "$code" | head -n 1 | sed 's/ *000$//')"
  elif [ "$code" = 404 ] || [ "$code" = 410 ]; then
    hindrance "there is nothing at $BINARY_URL (HTTP status $code); check k3s.binary.url"
  fi
}

main() {
  echo "clock $(date +%s.%N)"
  check_system
  check_cgroups
  check_clock
  check_disk
  check_ports
  check_limits
  check_neighbours
  check_nvidia
  check_source
  fact end 1
}

# The text comes on standard input, so nothing in it may read from there.
main </dev/null
