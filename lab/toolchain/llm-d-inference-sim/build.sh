#!/usr/bin/env bash
# Builds the simulator of vLLM.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/llm-d-inference-sim" github.com/llm-d/llm-d-inference-sim/cmd/llm-d-inference-sim
