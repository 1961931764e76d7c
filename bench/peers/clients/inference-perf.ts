// inference-perf: a report with every request, times in seconds of the monotonic clock.
import { readFileSync, writeFileSync } from "node:fs";
import { type Client, type ClientRow, type Delay, pythonOf } from "../work.ts";

/** The part of a request's record that is read. */
export interface InferencePerfRequest {
  readonly start_time: number;
  readonly error: unknown;
  readonly computed_metrics: {
    readonly request_latency: number;
    readonly time_to_first_token: number;
    readonly time_per_output_token: number;
    readonly inter_token_latencies: readonly number[];
  } | null;
}

export const inferencePerf: Client = {
  name: "inference-perf",
  // Its "constant" draws exponential gaps and stretches them to the stage.
  arrivals: "exponential",
  prepare(work, target, places, folder) {
    const exactly = (tokens: number) => ({
      min: tokens,
      max: tokens,
      mean: tokens,
      std_dev: 0,
      total_count: work.requests,
    });
    const config = {
      api: { type: "completion", streaming: true },
      data: {
        type: "synthetic",
        input_distribution: exactly(work.promptTokens),
        output_distribution: exactly(work.outputTokens),
      },
      load: {
        type: "constant",
        stages: [{ rate: work.ratePerSecond, duration: work.durationSeconds }],
        // One core: one worker. The default cap of 100 in flight would cut the highest level.
        num_workers: 1,
        worker_max_concurrency: work.streams * 2,
      },
      server: { type: "vllm", model_name: target.model, base_url: target.url, ignore_eos: true },
      tokenizer: { pretrained_model_name_or_path: places.tokenizer },
      report: {
        request_lifecycle: {
          per_request: true,
          // Its own count takes the words of a server that it shares no tokenizer with for other numbers of tokens.
          use_server_output_tokens: true,
          per_request_fields: {
            request: false,
            response: false,
            info: false,
            response_chunks: false,
            computed_metrics: true,
          },
        },
        prometheus: null,
      },
      storage: { local_storage: { path: `${folder}/report` } },
    };
    // JSON is YAML.
    writeFileSync(`${folder}/config.yaml`, JSON.stringify(config));
    return {
      argv: [
        pythonOf(places, "inference-perf"),
        "-m",
        "inference_perf.main",
        `--config_file=${folder}/config.yaml`,
      ],
      env: { HF_HUB_OFFLINE: "1" },
    };
  },
  read(folder, work) {
    const report = JSON.parse(readFileSync(`${folder}/report/per_request_lifecycle_metrics.json`, "utf8"));
    const rows = (report as readonly InferencePerfRequest[]).flatMap(toClientRow);
    const stage = JSON.parse(readFileSync(`${folder}/report/stage_0_lifecycle_metrics.json`, "utf8"));
    const { mean, p99 } = stage.load_summary.schedule_delay as Delay;
    return { rows, failed: work.requests - rows.length, delay: { mean: mean * 1000, p99: p99 * 1000 } };
  },
};

export function toClientRow({ start_time, error, computed_metrics }: InferencePerfRequest): ClientRow[] {
  if (error !== null || computed_metrics === null) return [];
  return [
    {
      id: null,
      start: start_time * 1000,
      delay: null,
      ttft: computed_metrics.time_to_first_token * 1000,
      tpot: computed_metrics.time_per_output_token * 1000,
      e2e: computed_metrics.request_latency * 1000,
      gaps: computed_metrics.inter_token_latencies.map((gap) => gap * 1000),
    },
  ];
}
