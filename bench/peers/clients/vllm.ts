// vLLM's own benchmark, `vllm bench serve`: one JSON file with a list per quantity, times in seconds.
import { readFileSync } from "node:fs";
import { type Client, type ClientRow, pythonOf } from "../work.ts";

/** The part of the result that is read; the lists are in the order of the requests. */
export interface VllmResult {
  readonly failed: number;
  readonly output_lens: readonly number[];
  readonly start_times: readonly number[];
  readonly ttfts: readonly number[];
  readonly itls: readonly (readonly number[])[];
  readonly latencies: readonly number[];
  readonly errors: readonly string[];
}

const idPrefix = "peers-";

export const vllm: Client = {
  name: "vllm",
  arrivals: "constant",
  prepare(work, target, places) {
    return {
      argv: [
        pythonOf(places, "vllm"),
        `${places.root}/bench/peers/vllm-serve.py`,
        "--backend=openai",
        `--base-url=${target.url}`,
        "--endpoint=/v1/completions",
        `--model=${target.model}`,
        `--tokenizer=${places.tokenizer}`,
        "--dataset-name=random",
        `--random-input-len=${work.promptTokens}`,
        `--random-output-len=${work.outputTokens}`,
        `--num-prompts=${work.requests}`,
        `--request-rate=${work.ratePerSecond}`,
        // Gamma-distributed gaps of this shape: none varies.
        "--burstiness=inf",
        "--ignore-eos",
        "--num-warmups=0",
        `--request-id-prefix=${idPrefix}`,
        "--ready-check-timeout-sec=0",
        "--save-result",
        "--save-detailed",
        "--result-filename=result.json",
        "--disable-tqdm",
      ],
      env: { HF_HUB_OFFLINE: "1" },
    };
  },
  read(folder) {
    // Python writes numbers that JSON does not have; none of those is read here.
    const text = readFileSync(`${folder}/result.json`, "utf8").replaceAll(/: -?(Infinity|NaN)\b/g, ": null");
    const result = JSON.parse(text) as VllmResult;
    return { rows: toClientRows(result), failed: result.failed };
  },
};

/** Its TPOT is (end - TTFT) / (tokens - 1). */
export function toClientRows(result: VllmResult): ClientRow[] {
  return result.start_times.flatMap((start, index) => {
    if (result.errors[index] !== "") return [];
    const e2e = result.latencies[index]! * 1000;
    const ttft = result.ttfts[index]! * 1000;
    return [
      {
        id: `${idPrefix}${index}`,
        start: start * 1000,
        delay: null,
        ttft,
        tpot: (e2e - ttft) / (result.output_lens[index]! - 1),
        e2e,
        gaps: result.itls[index]!.map((gap) => gap * 1000),
      },
    ];
  });
}
