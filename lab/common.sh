# shellcheck shell=bash disable=SC2034 # what is unused here is used by who sources it
# What lab/up.sh and lab/down.sh share: where the lab lives, its addresses, and how its processes are known.
# There is one lab on a machine, whatever the number of clones: its bridge and addresses exist once.

lab=${LLMEVAL_LAB:-/var/lib/llmeval-lab}
bridge=llmeval0
gateway=10.89.77.1
server_address() { echo "10.89.77.$((10 + $1))"; }
agent_address() { echo "10.89.77.$((20 + $1))"; }

say() { printf '  %s\n' "$*"; }
fail() {
  printf '  ✗ %s\n' "$*" >&2
  exit 1
}

# wait_for SECONDS WHAT COMMAND...: polls until the command succeeds.
wait_for() {
  local seconds=$1 what=$2 deadline=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "waited $seconds s for $what"
    sleep 0.2
  done
}

# A process of the lab is known by its pid and its start time, so that a pid that the kernel has given to
# another process since is never taken for it.
remember() { # NAME PID
  echo "$2 $(started_at "$2")" >"$lab/run/$1.pid"
}
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
pid_of() { # NAME: prints the pid while that process lives
  local pid started
  read -r pid started 2>/dev/null <"$lab/run/$1.pid" || return 1
  [ "$(started_at "$pid")" = "$started" ] && echo "$pid"
}
stop_process() { # NAME SIGNAL SECONDS
  local pid deadline=$((SECONDS + $3))
  if pid=$(pid_of "$1"); then
    kill -s "$2" "$pid"
    while pid_of "$1" >/dev/null; do
      [ $SECONDS -lt $deadline ] || { kill -KILL "$pid" && break; }
      sleep 0.1
    done
  fi
  rm -f "$lab/run/$1.pid"
}

# Each host lives in a control group of its own, so that the kubelets of two hosts do not see each other's pods
# and what they leave behind can be found.
enter_cgroup() { # HOST
  local controller group
  for controller in /sys/fs/cgroup/*/; do
    group=$controller/llmeval-lab/$1
    mkdir -p "$group"
    if [ "$(basename "$controller")" = cpuset ]; then
      for file in cpuset.cpus cpuset.mems; do
        cat "$controller/$file" >"$controller/llmeval-lab/$file"
        cat "$controller/$file" >"$group/$file"
      done
    fi
    echo $$ >"$group/cgroup.procs"
  done
}

# Boots a host and boots it again whenever it reboots, which systemd-nspawn tells by status 133; SIGTERM powers it off.
# The capabilities are those that kubelet and fault injection need, and runc joins a session keyring.
run_host() { # NAME
  local status=133
  enter_cgroup "$1"
  trap 'kill -s TERM "$!"' TERM
  echo $$ >"$lab/run/$1.new"
  while [ $status = 133 ]; do
    SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes systemd-nspawn --quiet \
      --directory="$lab/hosts/$1" --machine="llmeval-$1" --hostname="$1" --boot --register=no --keep-unit --console=pipe \
      --network-bridge="$bridge" --resolv-conf=off --timezone=off \
      --capability=CAP_SYS_ADMIN,CAP_NET_ADMIN,CAP_SYS_PTRACE,CAP_SYSLOG,CAP_BPF,CAP_PERFMON,CAP_MKNOD \
      --system-call-filter='@keyring bpf perf_event_open' --bind=/dev/kmsg --bind=/dev/fuse <&0 &
    wait "$!"
    status=$?
    # A signal ends only the wait.
    while kill -0 "$!" 2>/dev/null; do wait "$!"; done
    # A machine that boots has no control groups yet; the kubelet looks at each that it finds for seconds.
    find /sys/fs/cgroup/*/llmeval-lab/"$1" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
  done
}

# What runs in the hosts' groups; a systemd-nspawn that was killed leaves its host's processes behind.
end_cgroups() {
  local pids deadline=$((SECONDS + 10))
  while pids=$(find /sys/fs/cgroup/*/llmeval-lab -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u) && [ -n "$pids" ]; do
    [ $SECONDS -lt $deadline ] || fail "processes of the lab do not end: $(echo $pids)"
    kill -KILL $pids 2>/dev/null
    sleep 0.1
  done
}
remove_cgroups() {
  local group
  for group in /sys/fs/cgroup/*/llmeval-lab; do
    [ -d "$group" ] && find "$group" -depth -type d -exec rmdir {} +
  done
}
