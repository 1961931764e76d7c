#!/usr/bin/env bash
# All checks and tests, cheapest first; a failed part does not hide the next. Ends with "N passed, N failed".
#   run.sh [PART...]    parts: checks go python unit previews lab; all of them by default
set -uo pipefail
cd "$(dirname "$0")/.." || exit
passed=0 failed=0
failures=()
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

count() { # PASSED FAILED
  passed=$((passed + $1)) failed=$((failed + $2))
}
failure() { # WHAT...: one failure each, told again at the end
  count 0 $#
  failures+=("$@")
}
part() { # NAME COMMAND...: a part that passes or fails as one
  local name=$1 started=$SECONDS
  shift
  printf '\n▸ %s\n' "$name"
  if "$@"; then count 1 0; else failure "$name"; fi
  printf '  (%d s)\n' $((SECONDS - started))
}

quietly() { # COMMAND...: its output only when it fails
  "$@" >"$reports/output.txt" 2>&1 || { tail -n 100 "$reports/output.txt" && false; }
}

checks() {
  part "format and lint" biome check --error-on-warnings .
  part "types" tsc --noEmit
  part "types of the chat page" tsc --noEmit -p workloads/chat
  part "unused code" knip
  local scripts
  mapfile -t scripts < <(git ls-files '*.sh' lab/step lab/with-tools .ci/run)
  part "shell scripts" shellcheck --severity=warning --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
}

go_tests() { # MODULE [FLAG...]: the same flags as the build, whose compiled packages serve the tests too
  local report=$reports/go.json lines vet=()
  # These two look into every dependency first: minutes, where that is all of Kubernetes.
  [ "$1" != lab/k3s ] || vet=(-printf=false -lostcancel=false)
  printf '\n▸ go test in %s\n' "$1"
  (cd "$1" && [ -z "$(gofmt -l .)" ] && go vet "${vet[@]}" "${@:2}" ./... && go test -vet=off "${@:2}" -json ./...) >"$report" || failure "go test in $1"
  count "$(grep -c '"Action":"pass".*"Test":' "$report")" 0
  mapfile -t lines < <(grep '"Action":"fail".*"Test":' "$report")
  [ ${#lines[@]} = 0 ] || failure "${lines[@]}"
  # What the failed ones printed.
  [ ${#lines[@]} = 0 ] || sed -n 's/.*"Action":"output".*"Output":"\(.*\)"}$/\1/p' "$report" | tail -n 100
}

python_tests() {
  local report=$reports/python.txt ran
  printf '\n▸ python tests\n'
  python3 -m unittest discover -s test/workloads/serve-simulator 2>"$report" || failure "python tests"
  ran=$(sed -n 's/^Ran \([0-9]*\) tests.*/\1/p' "$report")
  count "${ran:-0}" 0
  tail -n 30 "$report"
}

vitest_project() { # PROJECT [FLAG...]
  local report=$reports/$1.json
  printf '\n▸ %s tests\n' "$1"
  vitest run --project "$1" "${@:2}" --reporter=default --reporter=json --outputFile.json="$report"
  local status=$? lines
  count "$(node -p "require('$report').numPassedTests" 2>/dev/null || echo 0)" 0
  mapfile -t lines < <(node test/failures.ts "$report")
  # A filter that matches nothing, or a crash, must not look like success.
  [ $status = 0 ] || [ ${#lines[@]} -gt 0 ] || lines=("$1 tests ended with status $status")
  [ ${#lines[@]} = 0 ] || failure "${lines[@]}"
}

for name in "${@:-checks go python unit previews lab}"; do
  for each in $name; do
    case $each in
      checks) checks ;;
      go)
        go_tests workloads/load
        go_tests lab/k3s -tags=providerless
        go_tests lab/chaos-helpers
        go_tests bench/peers/stub
        ;;
      python) python_tests ;;
      # Most of these wait for programs that they started: one worker for each processor would leave them idle. A worker
      # loads what its files import once: the Pulumi SDK takes longer than most of them.
      unit) vitest_project unit --maxWorkers="$(($(nproc) + 1))" --no-isolate ;;
      previews) part "preview of every stack without a cluster" quietly test/preview.sh ;;
      lab)
        vitest_project lab
        vitest_project lab-shared
        ;;
      *) failure "unknown part $each" ;;
    esac
  done
done
[ "$failed" = 0 ] || printf '\n✗ %s' "${failures[@]}"
printf '\n\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
