// What Ray Serve is told, beyond what the whole specs in ray-service.test.ts show.

import { expect, test } from "vitest";
import { parse } from "yaml";
import { toRayServiceSpec } from "../../../components/experiment/ray-service.ts";
import { toServeConfig } from "../../../components/experiment/serve-config.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import type { ResolvedExperiment } from "../../../experiments/schema.ts";
import { projectDir } from "../../experiments/project.ts";

function resolved(name: string, values: Readonly<Record<string, unknown>> = {}): ResolvedExperiment {
  return resolveExperiment({ projectDir, name, overrides: [{ file: "test", values }] });
}

test("an engine argument of the model wins over the preset's and never over the parallelism", () => {
  const experiment = resolved("falcon-baseline", { vllm: { arguments: { max_num_seqs: 8 } } });
  const [application] = parse(toServeConfig(experiment)).applications;
  expect(application.args.llm_configs[0].engine_kwargs).toEqual({
    gpu_memory_utilization: 0.9,
    max_num_seqs: 8,
    enable_chunked_prefill: true,
    enable_prefix_caching: false,
    enable_log_requests: false,
    dtype: "bfloat16",
    max_model_len: 8192,
    tensor_parallel_size: 1,
    pipeline_parallel_size: 1,
  });
});

test("spans of requests go to the cluster's gateway, unless the engine's arguments say otherwise", () => {
  const otlp = { grpc: "http://gateway.otel.svc:4317", http: "http://gateway.otel.svc:4318" };
  const tracing = (experiment: ResolvedExperiment) => {
    const spec = toRayServiceSpec({
      experiment,
      image: "i",
      serviceAccount: "ray",
      rayVersion: "2.55.0",
      otlp,
    });
    const { env } = JSON.parse(JSON.stringify(spec)).rayClusterConfig.workerGroupSpecs[0].template.spec
      .containers[0] as { readonly env: readonly { readonly name: string; readonly value: string }[] };
    const [application] = parse(toServeConfig(experiment, { otlp })).applications;
    return {
      argument: application.args.llm_configs?.[0].engine_kwargs.otlp_traces_endpoint,
      env: env.filter(({ name }) => name.startsWith("OTEL_")).map(({ name, value }) => `${name}=${value}`),
    };
  };
  const off = { vllm: { arguments: { otlp_traces_endpoint: null } } };
  expect({
    vllm: tracing(resolved("falcon-baseline")),
    "vllm, off": tracing(resolved("falcon-baseline", off)).argument,
    "stand-in": tracing(resolved("smoke")),
  }).toMatchInlineSnapshot(`
    {
      "stand-in": {
        "argument": undefined,
        "env": [
          "OTEL_SERVICE_NAME=llm-d-inference-sim",
          "OTEL_EXPORTER_OTLP_ENDPOINT=http://gateway.otel.svc:4318",
        ],
      },
      "vllm": {
        "argument": "http://gateway.otel.svc:4317",
        "env": [
          "OTEL_SERVICE_NAME=vllm",
          "OTEL_EXPORTER_OTLP_TRACES_INSECURE=true",
        ],
      },
      "vllm, off": null,
    }
  `);
});
