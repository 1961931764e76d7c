#!/usr/bin/env bash
# Everything that needs no cluster and no engine: format, lint, types, unused code, Go vet.
set -euo pipefail
cd "$(dirname "$0")/.."
biome check --error-on-warnings .
tsc --noEmit
tsc --noEmit -p workloads/chat
knip
