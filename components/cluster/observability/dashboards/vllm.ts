// Dashboard of the inference engine: latency of tokens and requests, queue, KV cache, throughput.

import {
  annotations,
  type Dashboard,
  maxBy,
  ofEngine,
  percentiles,
  rate,
  sumBy,
  variables,
} from "./model.ts";

/** vLLM's histograms are coarse: the load generator's own times are the measure, these say which phase they went to. */
const coarse =
  "From the engine's histogram: as exact as its buckets. The results of an experiment hold exact times.";

export const vllmDashboard: Dashboard = {
  uid: "llmeval-vllm",
  title: "vLLM engine",
  description: "Latency by phase, queue, KV cache and throughput of each engine; vLLM under Ray or alone.",
  variables,
  annotations,
  rows: [
    {
      title: "Latency",
      panels: [
        {
          title: "Time to first token",
          description: coarse,
          unit: "seconds",
          targets: percentiles("pod", "{{pod}}", ofEngine("time_to_first_token_seconds_bucket")),
        },
        {
          title: "Inter-token latency",
          description: coarse,
          unit: "seconds",
          targets: percentiles("pod", "{{pod}}", ofEngine("inter_token_latency_seconds_bucket")),
        },
        {
          title: "Request, end to end",
          description: coarse,
          unit: "seconds",
          targets: percentiles("pod", "{{pod}}", ofEngine("e2e_request_latency_seconds_bucket")),
        },
        {
          title: "Waiting in the queue",
          description: coarse,
          unit: "seconds",
          targets: percentiles("pod", "{{pod}}", ofEngine("request_queue_time_seconds_bucket")),
        },
        {
          title: "Prefill",
          description: coarse,
          unit: "seconds",
          targets: percentiles("pod", "{{pod}}", ofEngine("request_prefill_time_seconds_bucket")),
        },
        {
          title: "Decode",
          description: coarse,
          unit: "seconds",
          targets: percentiles("pod", "{{pod}}", ofEngine("request_decode_time_seconds_bucket")),
        },
      ],
    },
    {
      title: "Requests and cache",
      panels: [
        {
          title: "Requests in the engine",
          unit: "count",
          targets: [
            { expr: sumBy("pod", ofEngine("num_requests_running")), legend: "running {{pod}}" },
            { expr: sumBy("pod", ofEngine("num_requests_waiting")), legend: "waiting {{pod}}" },
          ],
        },
        {
          title: "KV cache in use",
          unit: "share",
          targets: [{ expr: maxBy("pod", ofEngine("kv_cache_usage_perc")), legend: "{{pod}}" }],
        },
        {
          title: "Preemptions",
          description: "Requests whose cache was given up and must be computed again.",
          unit: "perSecond",
          targets: [{ expr: sumBy("pod", rate(ofEngine("num_preemptions(_total)?"))), legend: "{{pod}}" }],
        },
        {
          title: "Prefix cache hits",
          unit: "share",
          targets: [
            {
              expr: `${sumBy("pod", rate(ofEngine("prefix_cache_hits(_total)?")))} / ${sumBy("pod", rate(ofEngine("prefix_cache_queries(_total)?")))}`,
              legend: "{{pod}}",
            },
          ],
        },
        {
          title: "Requests that ended",
          unit: "perSecond",
          targets: [
            {
              // The label's name in vLLM, and in the simulator.
              expr: sumBy("pod, finished_reason, finish_reason", rate(ofEngine("request_success(_total)?"))),
              legend: "{{finished_reason}}{{finish_reason}} {{pod}}",
            },
          ],
        },
      ],
    },
    {
      title: "Throughput",
      panels: [
        {
          title: "Prompt tokens",
          unit: "perSecond",
          width: 12,
          targets: [{ expr: sumBy("pod", rate(ofEngine("prompt_tokens(_total)?"))), legend: "{{pod}}" }],
        },
        {
          title: "Generated tokens",
          unit: "perSecond",
          width: 12,
          targets: [{ expr: sumBy("pod", rate(ofEngine("generation_tokens(_total)?"))), legend: "{{pod}}" }],
        },
      ],
    },
  ],
};
