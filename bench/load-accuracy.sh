#!/usr/bin/env bash
# Measures the load generator's own error: 50 requests per second for 20 seconds against llm-d-inference-sim with known
# delays, on this machine. Prints the schedule lag and the measured times next to the configured ones.
#
#   LLMEVAL_K6=path/to/k6 LLMEVAL_SIMULATOR=path/to/llm-d-inference-sim bench/load-accuracy.sh
#
# Optional: RATE, DURATION_SECONDS, TTFT_MS, ITL_MS, OUTPUT_TOKENS, ARRIVALS, PORT.
set -euo pipefail

k6=${LLMEVAL_K6:?set LLMEVAL_K6 to the k6 built from workloads/load}
simulator=${LLMEVAL_SIMULATOR:?set LLMEVAL_SIMULATOR to a llm-d-inference-sim binary}
rate=${RATE:-50} duration=${DURATION_SECONDS:-20} ttft=${TTFT_MS:-100} itl=${ITL_MS:-20} tokens=${OUTPUT_TOKENS:-16}
arrivals=${ARRIVALS:-constant} port=${PORT:-18123}
script=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/workloads/load/script.js

work=$(mktemp -d)
simulator_pid=
k6_pid=
cleanup() {
	for pid in $k6_pid $simulator_pid; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap cleanup EXIT

"$simulator" --port "$port" --model stand-in --force-dummy-tokenizer --max-num-seqs 512 --max-model-len 32768 \
	--time-to-first-token "${ttft}ms" --inter-token-latency "${itl}ms" --mode random >"$work/simulator.log" 2>&1 &
simulator_pid=$!
for _ in $(seq 100); do
	if curl -sf "http://127.0.0.1:$port/health" >/dev/null; then break; fi
	if ! kill -0 "$simulator_pid" 2>/dev/null; then
		echo "the simulator ended:" >&2
		tail -5 "$work/simulator.log" >&2
		exit 1
	fi
	sleep 0.1
done

cat >"$work/load.json" <<JSON
{"schemaVersion":1,"experimentId":"load-accuracy-r1-000000",
 "target":{"url":"http://127.0.0.1:$port/v1/chat/completions","model":"stand-in","api":"chat","stream":true,"headers":{}},
 "seed":1,"workers":128,"spawnRatePerSecond":1000,"requestTimeoutSeconds":30,"t0TimeoutSeconds":60,
 "timelineFile":"$work/timeline.json","outputDir":"$work/load",
 "cells":[{"id":"rate-$rate","startOffsetSeconds":0,"durationSeconds":$duration,"ratePerSecond":$rate,"arrivals":"$arrivals","burstSize":1,
  "promptTokens":64,"outputTokens":$tokens,"phases":[{"name":"before","startOffsetSeconds":0,"durationSeconds":$duration}]}]}
JSON

LLMEVAL_LOAD_SPEC="$work/load.json" K6_AUTO_EXTENSION_RESOLUTION=false "$k6" run --quiet --no-usage-report --no-color \
	--summary-mode=disabled "$script" &
k6_pid=$!
while [ ! -e "$work/load/ready.json" ]; do
	kill -0 "$k6_pid" || exit 1
	sleep 0.1
done
echo "{\"schemaVersion\":1,\"t0UnixNs\":\"$(($(date +%s%N) + 3000000000))\"}" >"$work/timeline.json"
wait "$k6_pid"
k6_pid=

node - "$work/load" "$ttft" "$itl" <<'JS'
const { readFileSync } = require("node:fs");
const [dir, ttft, itl] = process.argv.slice(2);
const rows = readFileSync(`${dir}/requests.jsonl`, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const report = JSON.parse(readFileSync(`${dir}/load.json`, "utf8"));
const line = (name, nanoseconds, configured) => {
  const sorted = nanoseconds.filter((value) => value !== null).sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] / 1e6;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length / 1e6;
  const cells = [configured, mean, at(0.5), at(0.99), at(1)].map((value) => Number(value).toFixed(3).padStart(11));
  console.log(name.padEnd(8) + cells.join("") + String(sorted.length).padStart(9));
};
const ok = rows.filter((row) => row.status === "ok");
console.log(`ms       configured       mean        p50        p99        max        n`);
line("lag", rows.map((row) => row.lagNs), 0);
line("connect", rows.map((row) => row.connectNs ?? 0), 0);
line("ttft", ok.map((row) => row.ttftNs), ttft);
line("itl", ok.flatMap((row) => row.itlNs), itl);
line("tpot", ok.map((row) => row.tpotNs), itl);
const { requests, cpuSeconds, goMaxProcs, loadGenerator } = report;
const tokens = ok.map((row) => row.outputTokens);
console.log(`${JSON.stringify(requests)} output tokens ${Math.min(...tokens)}..${Math.max(...tokens)}, prompt tokens ${ok[0]?.promptTokens}`);
console.log(`${loadGenerator}, ${cpuSeconds} CPU seconds, GOMAXPROCS ${goMaxProcs}`);
JS
