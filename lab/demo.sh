#!/usr/bin/env bash
# One experiment end to end on the lab: the cluster stack, the experiment stack, results in fetched/.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
up() { # STACK
  printf '\n▸ pulumi up -s %s\n' "$1"
  pulumi stack select --create "$1" >/dev/null 2>&1 || pulumi stack init "$1"
  pulumi up -s "$1" --yes --skip-preview --suppress-outputs
}
up dev
up exp-smoke
printf '\n▸ done in %d s. Results: %s\n' $((SECONDS - started)) "$(pulumi stack output -s exp-smoke resultsDirectory)"
cat <<'TEXT'
  go on with:
    eval "$(make env)"               pulumi and its settings for your shell
    pulumi destroy -s exp-smoke      removes the experiment; the results stay
    make lab-down                    removes the lab
TEXT
