// What Ray Serve deploys for either engine: the text that a RayService carries.

import { stringify } from "yaml";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { ports, rayServiceName } from "./conventions.ts";

/** Base addresses of an OTLP receiver. */
export interface Otlp {
  readonly grpc: string;
  readonly http: string;
}

interface ServeConfigArgs {
  /** Verbose logs of Serve. @default false */
  readonly debug?: boolean;
  /** Where vLLM sends a span for each request; the stand-in has the address from its environment. @default none are sent */
  readonly otlp?: Otlp;
}

export function toServeConfig(experiment: ResolvedExperiment, { debug, otlp }: ServeConfigArgs = {}): string {
  const application =
    experiment.engine === "vllm"
      ? {
          name: rayServiceName,
          import_path: "ray.serve.llm:build_openai_app",
          route_prefix: "/",
          args: { llm_configs: [toLlmConfig(experiment, otlp?.grpc)] },
        }
      : {
          name: rayServiceName,
          import_path: "serve_simulator:build_app",
          route_prefix: "/",
          args: toSimulatorArgs(experiment),
        };
  return stringify(
    {
      proxy_location: "EveryNode",
      http_options: { host: "0.0.0.0", port: ports.serve },
      ...(debug === true ? { logging_config: { log_level: "DEBUG" } } : {}),
      applications: [application],
    },
    { lineWidth: 0 },
  );
}

/** One entry of `llm_configs` of ray.serve.llm. */
function toLlmConfig(experiment: ResolvedExperiment, otlpGrpc: string | undefined): Record<string, unknown> {
  const { model, parallelism, serve, vllm } = experiment;
  const accelerators = parallelism.tensorParallelism * parallelism.pipelineParallelism;
  return {
    model_loading_config: { model_id: experiment.modelId, model_source: model.source },
    engine_kwargs: {
      // vLLM brings what it needs for this from 0.17 on, and would not start without (ray-llm 2.58 has 0.26).
      ...(otlpGrpc === undefined ? {} : { otlp_traces_endpoint: otlpGrpc }),
      ...vllm.arguments,
      dtype: model.dtype,
      max_model_len: model.maxModelLen,
      tensor_parallel_size: parallelism.tensorParallelism,
      pipeline_parallel_size: parallelism.pipelineParallelism,
    },
    // Replicas are independent; data_parallel_size would gang them so that none could fail alone.
    deployment_config: {
      num_replicas: parallelism.dataParallelism,
      max_ongoing_requests: serve.maxOngoingRequests,
    },
    ...(vllm.acceleratorType === null ? {} : { accelerator_type: vllm.acceleratorType }),
    placement_group_config: {
      bundles: Array.from({ length: accelerators }, () => ({ CPU: 1, GPU: 1 })),
      strategy: parallelism.placementStrategy,
    },
    experimental_configs: { stream_batching_interval_ms: serve.streamBatchingIntervalMs },
    log_engine_metrics: true,
  };
}

function toSimulatorArgs(experiment: ResolvedExperiment): Record<string, unknown> {
  const { simulator } = experiment;
  return {
    model: experiment.modelId,
    replicas: experiment.parallelism.dataParallelism,
    max_ongoing_requests: experiment.serve.maxOngoingRequests,
    simulator: {
      time_to_first_token_ms: simulator.timeToFirstTokenMs,
      inter_token_latency_ms: simulator.interTokenLatencyMs,
      max_num_seqs: simulator.maxNumSeqs,
      max_model_len: experiment.model.maxModelLen,
      seed: simulator.seed,
    },
  };
}
