#!/bin/bash
# Caps power or clocks of the GPUs that a pod computes on, for a while, and puts back what was there under every exit.
#   gpu-fault.sh act      saves, sets, reads back, waits, restores
#   gpu-fault.sh guard    waits until `act` has ended or its deadline has passed, and restores what is left
# What to put back lies in STATE_DIR on the node. `act` holds a lock there, which the kernel releases when it dies.
set -uo pipefail

state=${STATE_DIR:?}
proc=${PROC_DIR:-/proc}
report=${REPORT_FILE:-/dev/termination-log}
ready=${READY_FILE:-/tmp/injected}
lock=$state/lock
failed=0

say() { # TEXT: a line on stdout
  printf '%s %s\n' "$(date -u +%FT%T.%3NZ)" "$1"
}

stop() { # TEXT: the reason, also for who reads the pod's end
  say "$1"
  printf '%s\n' "$1" >>"$report"
  exit 1
}

query() { # UUID FIELD
  nvidia-smi -i "$1" --query-gpu="$2" --format=csv,noheader,nounits | tr -d ' '
}

# GPUs with a process whose control group names the pod. Needs the host's process ids.
gpus_of_pod() { # POD_UID
  local uuid pid
  nvidia-smi --query-compute-apps=gpu_uuid,pid --format=csv,noheader | tr -d ' ' | while IFS=, read -r uuid pid; do
    # Control groups write a uid with dashes or with underscores.
    if grep -q -e "pod$1" -e "pod${1//-/_}" "$proc/$pid/cgroup" 2>/dev/null; then printf '%s\n' "$uuid"; fi
  done | sort -u
}

same() { # A B: two numbers that differ by less than one
  awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d < 1 && d > -1) }'
}

cap() { # UUID: saves what is there, sets the limit, reads it back
  local uuid=$1 before after
  case $LIMIT in
    power)
      before=$(query "$uuid" power.limit)
      local low high
      low=$(query "$uuid" power.min_limit) high=$(query "$uuid" power.max_limit)
      awk -v v="$VALUE" -v l="$low" -v h="$high" 'BEGIN { exit !(v >= l && v <= h) }' ||
        stop "GPU $uuid allows power limits from $low to $high W, not $VALUE"
      save "$uuid" "$before"
      nvidia-smi -i "$uuid" -pl "$VALUE" >/dev/null || stop "GPU $uuid refuses a power limit of $VALUE W"
      after=$(query "$uuid" power.limit)
      same "$after" "$VALUE" || stop "GPU $uuid has a power limit of $after W after $VALUE W were set"
      ;;
    clock)
      before=default
      save "$uuid" "$before"
      nvidia-smi -i "$uuid" "--lock-gpu-clocks=0,$VALUE" >/dev/null || stop "GPU $uuid refuses clocks up to $VALUE MHz"
      after=$(query "$uuid" clocks.current.graphics)
      ;;
    *) stop "LIMIT is \"$LIMIT\", allowed: power, clock" ;;
  esac
  say "GPU $uuid: $LIMIT was $before, $VALUE is set, reads $after"
  printf 'set %s %s before=%s value=%s after=%s\n' "$uuid" "$LIMIT" "$before" "$VALUE" "$after" >>"$report"
}

save() { # UUID VALUE: on disk before anything is changed
  printf '%s\n' "$2" >"$state/$1.tmp" && sync "$state/$1.tmp" && mv "$state/$1.tmp" "$state/$1.saved" ||
    stop "cannot write $state/$1.saved: nothing was changed"
}

restore() { # puts back whatever is saved; each file goes when its GPU reads back right
  local file uuid before after
  for file in "$state"/*.saved; do
    [ -e "$file" ] || continue
    uuid=$(basename "$file" .saved)
    # The other of the two may have been faster.
    read -r before 2>/dev/null <"$file" || continue
    if [ "$LIMIT" = power ]; then
      nvidia-smi -i "$uuid" -pl "$before" >/dev/null
      after=$(query "$uuid" power.limit)
      same "$after" "$before" || after="$after, not $before"
    else
      if nvidia-smi -i "$uuid" --reset-gpu-clocks >/dev/null; then after=default; else after="not $before"; fi
    fi
    case $after in
      *not*) failed=1 && say "GPU $uuid could not be restored: reads $after" ;;
      *) rm -f "$file" ;;
    esac
    printf 'restored %s %s before=%s after=%s\n' "$uuid" "$LIMIT" "$before" "$after" >>"$report"
    say "GPU $uuid: $LIMIT restored to $before"
  done
}

ended() { # STATUS
  trap - EXIT
  trap '' TERM INT HUP
  rm -f "$ready"
  restore
  if [ -e "$state/guard" ]; then : >"$state/ended"; else clean; fi
  [ "$failed" = 0 ] || exit 3
  exit "$1"
}

clean() { # nothing stays on the node unless it is still needed
  [ "$failed" = 0 ] || return
  rm -f "$lock" "$state/ended"
  rmdir "$state" 2>/dev/null
}

guarded() { # STATUS
  trap - EXIT
  trap '' TERM INT HUP
  restore
  rm -f "$state/guard"
  clean
  [ "$failed" = 0 ] || exit 3
  exit "$1"
}

act() {
  local uuids uuid
  exec 9>"$lock"
  flock -n 9 || stop "another fault acts on this node: $lock is held"
  trap 'ended $?' EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT HUP
  wait_for_guard
  # What an earlier one has left is put back first, or it would be taken for the state before.
  restore
  uuids=$(gpus_of_pod "$TARGET_POD_UID")
  [ -n "$uuids" ] || stop "no GPU runs a process of pod $TARGET_POD_UID"
  for uuid in $uuids; do cap "$uuid"; done
  : >"$ready"
  # In the background, so that a signal is acted on at once; without the lock, which must die with this shell.
  sleep "$(remaining)" 9>&- &
  wait $!
}

remaining() { # until END_UNIX_SECONDS, and never longer than DURATION_SECONDS
  awk -v now="$(date +%s.%N)" -v end="$END_UNIX_SECONDS" -v most="$DURATION_SECONDS" \
    'BEGIN { left = end - now; print (left < 0) ? 0 : ((left > most) ? most : left) }'
}

wait_for_guard() {
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    [ -e "$state/guard" ] && return
    sleep 0.1 9>&- &
    wait $!
  done
  stop "no guard has come within 60 s: nothing was changed"
}

guard() {
  exec 9>>"$lock"
  trap 'exit 143' TERM
  trap 'exit 130' INT HUP
  trap 'guarded $?' EXIT
  : >"$state/guard"
  # The lock is taken by `act` before it changes anything, so wait for its first sign before waiting for its end.
  local tries
  for ((tries = 0; tries < DEADLINE_SECONDS * 10; tries++)); do
    if [ -e "$state/ended" ] || compgen -G "$state/*.saved" >/dev/null; then break; fi
    sleep 0.1 9>&- &
    wait $!
  done
  flock -w "$DEADLINE_SECONDS" 9 &
  wait $!
  say "the fault has ended, or its deadline of $DEADLINE_SECONDS s has passed"
}

mkdir -p "$state"
case ${1:-} in
  act) act ;;
  guard) guard ;;
  *) stop "usage: gpu-fault.sh act|guard" ;;
esac
