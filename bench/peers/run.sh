#!/usr/bin/env bash
# Compares our load generator with its peers, all against the same servers with known delays:
#   bench/peers/run.sh [--streams 10,100,500] [--clients llmeval,guidellm,aiperf,inference-perf,vllm]
#                      [--servers stub,simulator] [--seconds 14] [--out FOLDER]
# The first run installs the peers, each into an environment of its own in the cache (3.5 GB in all). The server and the
# client have one core each: LLMEVAL_SERVER_CPU (0) and LLMEVAL_CLIENT_CPU (1). LLMEVAL_K6 and LLMEVAL_SIMULATOR name
# programs to use in place of those of this tree. docs/peers.md says how to read the tables.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The newest of the peers wants Python 3.12.
python=
for candidate in "${LLMEVAL_PEERS_PYTHON:-}" python3.13 python3.12 python3 ~/.pyenv/versions/3.1[23].*/bin/python; do
  if "$candidate" -c 'import sys, venv; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || {
  echo "bench/peers: no Python 3.12 or 3.13 found: set LLMEVAL_PEERS_PYTHON to one" >&2
  exit 1
}

while IFS='=' read -r name value; do export "$name=$value"; done <lab/go.env
lab/step peers-stub bench/peers/stub bench/peers/build.sh -- bench/peers/build.sh "$(go env GOVERSION)"
for peer in guidellm aiperf inference-perf vllm; do
  requirements=bench/peers/requirements-$peer.txt
  lab/step "peers-$peer" "$requirements" bench/peers/venv.sh -- bench/peers/venv.sh "$python" "$requirements"
done
lab/step peers-tokenizer bench/peers/tokenizer.py workloads/load/llmeval/words.txt -- \
  .tools/peers-guidellm/bin/python bench/peers/tokenizer.py workloads/load/llmeval/words.txt
# The keys are those of the Makefile: what make has built is used.
[ -n "${LLMEVAL_K6:-}" ] || lab/step load workloads/load -- workloads/load/build.sh "$(go env GOVERSION)"
[ -n "${LLMEVAL_SIMULATOR:-}" ] || lab/step llm-d-inference-sim lab/toolchain/llm-d-inference-sim -- \
  lab/toolchain/llm-d-inference-sim/build.sh "$(go env GOVERSION)"
exec taskset --cpu-list "${LLMEVAL_SERVER_CPU:-0}" lab/with-tools node bench/peers/main.ts "$@"
