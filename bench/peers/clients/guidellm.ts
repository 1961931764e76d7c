// guidellm: its JSON report holds every request.
import { readFileSync } from "node:fs";
import { type Client, type ClientRow, pythonOf } from "../work.ts";

/** The part of a request's record that is read. Times in seconds since 1970. */
export interface GuidellmRequest {
  readonly info: { readonly timings: { readonly targeted_start: number; readonly request_start: number } };
  readonly request_latency: number;
  readonly time_to_first_token_ms: number;
  readonly inter_token_latency_ms: number;
}

interface Report {
  readonly benchmarks: readonly {
    readonly requests: Readonly<
      Record<"successful" | "errored" | "incomplete", readonly GuidellmRequest[] | null>
    >;
  }[];
}

export const guidellm: Client = {
  name: "guidellm",
  arrivals: "constant",
  prepare(work, target, places) {
    const argument = (kind: string, settings: Readonly<Record<string, string | number>>): string =>
      [`kind=${kind}`, ...Object.entries(settings).map(([key, value]) => `${key}=${value}`)].join(",");
    const http = { target: target.url, model: target.model, request_format: "/v1/completions" };
    const size = { prompt_tokens: work.promptTokens, output_tokens: work.outputTokens };
    return {
      argv: [
        pythonOf(places, "guidellm"),
        "-m",
        "guidellm",
        "run",
        `--backend=${argument("openai_http", http)}`,
        `--profile=${argument("constant", { rate: work.ratePerSecond })}`,
        `--constraint=${argument("max_requests", { count: work.requests })}`,
        `--tokenizer=${argument("huggingface_auto", { model: places.tokenizer })}`,
        `--data=${argument("synthetic_text", size)}`,
        // All prompts are made before the first request.
        `--data-loader=${argument("pytorch", { samples: work.requests })}`,
        `--output=${argument("json", { path: "report.json" })}`,
        "--disable-console",
      ],
      // One core: one worker, which is far more exact there than the default of ten.
      env: {
        GUIDELLM__MAX_WORKER_PROCESSES: "1",
        HF_HUB_OFFLINE: "1",
        USE_TORCH: "0",
        PYTHONPATH: `${places.root}/bench/peers/torch-stand-in`,
      },
    };
  },
  read(folder) {
    const report = JSON.parse(readFileSync(`${folder}/report.json`, "utf8")) as Report;
    const requests = report.benchmarks[0]!.requests;
    return {
      rows: (requests.successful ?? []).map(toClientRow),
      failed: (requests.errored ?? []).length + (requests.incomplete ?? []).length,
    };
  },
};

/** Its "time per output token" holds the TTFT; its scalar "inter token latency" is what others call TPOT. */
export function toClientRow(request: GuidellmRequest): ClientRow {
  const { targeted_start, request_start } = request.info.timings;
  return {
    id: null,
    start: request_start * 1000,
    delay: (request_start - targeted_start) * 1000,
    ttft: request.time_to_first_token_ms,
    tpot: request.inter_token_latency_ms,
    e2e: request.request_latency * 1000,
    gaps: null,
  };
}
