// aiperf: one record per request in profile_export.jsonl.
import { readFileSync } from "node:fs";
import { type Client, type ClientRow, pythonOf } from "../work.ts";

interface Value<T> {
  readonly value: T;
}

/** The part of a request's record that is read. */
export interface AiperfRecord {
  readonly metadata: { readonly x_request_id: string; readonly request_start_ns: number };
  readonly metrics: {
    readonly time_to_first_token: Value<number>;
    readonly inter_token_latency: Value<number>;
    readonly inter_chunk_latency: Value<readonly number[]>;
    readonly request_latency: Value<number>;
  };
  readonly error?: unknown;
}

export const aiperf: Client = {
  name: "aiperf",
  arrivals: "constant",
  prepare(work, target, places, folder) {
    return {
      argv: [
        pythonOf(places, "aiperf"),
        "-m",
        "aiperf",
        "profile",
        `--model=${target.model}`,
        `--url=${target.url}`,
        "--endpoint-type=completions",
        "--streaming",
        `--tokenizer=${places.tokenizer}`,
        `--request-rate=${work.ratePerSecond}`,
        "--arrival-pattern=constant",
        `--request-count=${work.requests}`,
        `--synthetic-input-tokens-mean=${work.promptTokens}`,
        "--synthetic-input-tokens-stddev=0",
        `--output-tokens-mean=${work.outputTokens}`,
        "--output-tokens-stddev=0",
        "--extra-inputs=ignore_eos:true",
        "--use-server-token-count",
        "--no-gpu-telemetry",
        "--no-server-metrics",
        "--ui=none",
        "--random-seed=1",
        `--output-artifact-dir=${folder}/artifacts`,
      ],
      env: {},
    };
  },
  read(folder, work) {
    const lines = readFileSync(`${folder}/artifacts/profile_export.jsonl`, "utf8").trim().split("\n");
    const all = lines.map((line) => JSON.parse(line) as AiperfRecord);
    const rows = all.filter(({ error }) => error === undefined || error === null).map(toClientRow);
    return { rows, failed: work.requests - rows.length };
  },
};

export function toClientRow({ metadata, metrics }: AiperfRecord): ClientRow {
  return {
    id: metadata.x_request_id,
    start: metadata.request_start_ns / 1e6,
    delay: null,
    ttft: metrics.time_to_first_token.value,
    tpot: metrics.inter_token_latency.value,
    e2e: metrics.request_latency.value,
    gaps: metrics.inter_chunk_latency.value,
  };
}
