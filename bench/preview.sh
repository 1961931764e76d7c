#!/usr/bin/env bash
# CPU time of the program part of a preview (the node process, so without the engine and the wait for it) against an
# empty Pulumi program, in one run, alternating:  lab/with-tools bench/preview.sh [STACK] [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
. test/support/project-copy.sh
stack=${1:-exp-smoke} rounds=${2:-7}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/empty" "$work/state"
node=$(command -v node)
# The language host takes the node of PATH: this one writes down how much CPU time each program took.
cat >"$work/bin/node" <<SHIM
#!/usr/bin/env bash
TIMEFORMAT='%U %S'
exec 3>&2
{ time "$node" "\$@" 2>&3; } 2>"\$PROGRAM_TIMES.last"
status=\$?
awk '{ print (\$1 + \$2) * 1000 }' "\$PROGRAM_TIMES.last" >>"\$PROGRAM_TIMES"
exit \$status
SHIM
chmod +x "$work/bin/node"
export PATH=$work/bin:$PATH PULUMI_BACKEND_URL=file://$work/state PULUMI_CONFIG_PASSPHRASE=bench

project_copy "$work/project"
printf 'name: empty\nmain: index.ts\nruntime: { name: nodejs, options: { typescript: false } }\n' >"$work/empty/Pulumi.yaml"
echo 'import * as pulumi from "@pulumi/pulumi"; export default () => ({ stack: pulumi.getStack() });' >"$work/empty/index.ts"
echo '{ "type": "module" }' >"$work/empty/package.json"
ln -s "$PWD/node_modules" "$work/empty/node_modules"
pulumi -C "$work/project" stack init "$stack" >/dev/null 2>&1
pulumi -C "$work/empty" stack init empty >/dev/null 2>&1

preview() { # FOLDER STACK: one line more in FOLDER.times
  rm -f "$work/runs"
  PROGRAM_TIMES=$work/runs pulumi -C "$work/$1" preview -s "$2" --non-interactive >"$work/output" 2>&1 || {
    cat "$work/output" >&2
    exit 1
  }
  # The language host also asks node for its version: the longest run is the program.
  sort -n "$work/runs" | tail -n 1 >>"$work/$1.times"
}
preview empty empty && preview project "$stack" # fills node's compile cache
rm -f "$work"/*.times
for ((round = 0; round < rounds; round++)); do
  preview empty empty
  preview project "$stack"
done
median() {
  sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
empty=$(median "$work/empty.times")
program=$(median "$work/project.times")
awk -v e="$empty" -v p="$program" -v s="$stack" -v n="$rounds" \
  'BEGIN { printf "CPU time of the program in a preview, median of %d: empty %.0f ms, %s %.0f ms, ratio %.2f\n", n, e, s, p, p / e }'
