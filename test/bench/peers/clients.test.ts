import { expect, it } from "vitest";
import { toClientRow as fromAiperf } from "../../../bench/peers/clients/aiperf.ts";
import { toClientRow as fromGuidellm } from "../../../bench/peers/clients/guidellm.ts";
import { toClientRow as fromInferencePerf } from "../../../bench/peers/clients/inference-perf.ts";
import { toClientRows as fromVllm } from "../../../bench/peers/clients/vllm.ts";

// One request each: due at 1,000 ms, sent at 1,004, tokens 200, 250 and 300 ms later.
it("reads guidellm's record: its time per output token is not used, for it holds the TTFT", () => {
  const record = {
    info: { timings: { targeted_start: 1, request_start: 1.004 } },
    request_latency: 0.3,
    time_to_first_token_ms: 200,
    inter_token_latency_ms: 50,
    time_per_output_token_ms: 100,
  };
  expect(fromGuidellm(record)).toEqual({
    id: null,
    start: 1004,
    delay: expect.closeTo(4),
    ttft: 200,
    tpot: 50,
    e2e: 300,
    gaps: null,
  });
});

it("reads aiperf's record", () => {
  const record = {
    metadata: { x_request_id: "a", request_start_ns: 1_004_000_000 },
    metrics: {
      time_to_first_token: { value: 200 },
      inter_token_latency: { value: 50 },
      inter_chunk_latency: { value: [50, 50] },
      request_latency: { value: 300 },
    },
  };
  expect(fromAiperf(record)).toEqual({
    id: "a",
    start: 1004,
    delay: null,
    ttft: 200,
    tpot: 50,
    e2e: 300,
    gaps: [50, 50],
  });
});

it("reads inference-perf's record, and no row of a failed request", () => {
  const computed_metrics = {
    request_latency: 0.3,
    time_to_first_token: 0.2,
    time_per_output_token: 0.05,
    inter_token_latencies: [0.05, 0.05],
  };
  expect(fromInferencePerf({ start_time: 1.004, error: null, computed_metrics })).toEqual([
    { id: null, start: 1004, delay: null, ttft: 200, tpot: 50, e2e: 300, gaps: [50, 50] },
  ]);
  expect(fromInferencePerf({ start_time: 1.004, error: { error_type: "x" }, computed_metrics })).toEqual([]);
});

it("reads vLLM's lists, names requests as the server saw them, and leaves failed ones out", () => {
  const result = {
    failed: 1,
    output_lens: [0, 3],
    start_times: [0.9, 1.004],
    ttfts: [0, 0.2],
    itls: [[], [0.05, 0.05]],
    latencies: [0, 0.3],
    errors: ["refused", ""],
  };
  expect(fromVllm(result)).toEqual([
    {
      id: "peers-1",
      start: 1004,
      delay: null,
      ttft: 200,
      tpot: expect.closeTo(50),
      e2e: 300,
      gaps: [50, 50],
    },
  ]);
});
