// Merging of defaults, files and overrides, and the one error that tells everything that is wrong.

import { expect, expectTypeOf, test } from "vitest";
import { UserError } from "../../components/errors.ts";
import { acceleratorProblems, namesIn, resolveExperiment, tryResolve } from "../../experiments/resolve.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { makeProject, projectDir } from "./project.ts";

const stackFile = "Pulumi.exp-x.yaml llmeval:overrides";

function errorOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message;
  }
  throw new Error("no error");
}

function overridden(name: string, values: Readonly<Record<string, unknown>>): ResolvedExperiment {
  return resolveExperiment({ projectDir, name, overrides: [{ file: stackFile, values }] });
}

test("smoke resolves with every default explicit", () => {
  expect(resolveExperiment({ projectDir, name: "smoke" })).toMatchInlineSnapshot(`
    {
      "cells": null,
      "description": "One rate for fifteen seconds on the stand-in engine, to see that every part works",
      "engine": "llm-d-inference-sim",
      "existing": {
        "model": null,
        "url": null,
      },
      "faults": [],
      "load": {
        "api": "chat",
        "arrivals": "constant",
        "burstSize": 1,
        "concurrency": null,
        "iterations": 1,
        "outputTokens": 16,
        "promptTokens": 64,
        "prompts": {
          "kind": "random",
        },
        "rampToRatePerSecond": null,
        "ratePerSecond": [
          4,
        ],
        "requestTimeoutSeconds": 30,
        "seed": 1,
        "spawnRatePerSecond": 100,
        "stopAfterDeadSeconds": null,
        "stopWhenSaturated": false,
        "stream": true,
        "workers": 64,
      },
      "model": {
        "dtype": "bfloat16",
        "gated": false,
        "maxModelLen": 8192,
        "source": "tiiuae/Falcon-H1-7B-Instruct",
      },
      "modelId": "falcon-h1-7b-instruct",
      "name": "smoke",
      "parallelism": {
        "acceleratorResource": "nvidia.com/gpu",
        "acceleratorsPerPod": 1,
        "dataParallelism": 1,
        "pipelineParallelism": 1,
        "placementStrategy": "PACK",
        "podsPerReplica": 1,
        "tensorParallelism": 1,
      },
      "placement": {
        "head": {
          "nodeSelector": {},
          "tolerations": [],
        },
        "load": {
          "nodeSelector": {},
          "tolerations": [],
        },
        "worker": {
          "nodeSelector": {},
          "tolerations": [],
        },
      },
      "resources": {
        "collector": {
          "cpu": "100m",
          "memory": "256Mi",
        },
        "conductor": {
          "cpu": "50m",
          "memory": "128Mi",
        },
        "gate": {
          "cpu": "50m",
          "memory": "128Mi",
        },
        "head": {
          "cpu": "250m",
          "memory": "2Gi",
        },
        "load": {
          "cpu": "500m",
          "memory": "512Mi",
        },
        "reader": {
          "cpu": "20m",
          "memory": "64Mi",
        },
        "worker": {
          "cpu": "250m",
          "memory": "2Gi",
        },
      },
      "serve": {
        "maxOngoingRequests": 512,
        "streamBatchingIntervalMs": 0,
        "via": "service",
      },
      "simulator": {
        "interTokenLatencyMs": 20,
        "maxNumSeqs": 256,
        "seed": 1,
        "timeToFirstTokenMs": 100,
      },
      "slo": {
        "attainmentShare": 0.9,
        "e2eMilliseconds": null,
        "itlMilliseconds": null,
        "tpotMilliseconds": null,
        "ttftMilliseconds": null,
      },
      "storage": {
        "className": null,
        "size": "2Gi",
      },
      "timeline": {
        "afterSeconds": 0,
        "beforeSeconds": 12,
        "faultSeconds": 0,
        "gapSeconds": 2,
        "leadSeconds": 5,
        "profile": "smoke",
        "warmUpSeconds": 3,
      },
      "timeouts": {
        "collectSeconds": 300,
        "gateSeconds": 300,
        "serviceReadySeconds": 600,
      },
      "vllm": {
        "acceleratorType": null,
        "arguments": {
          "enable_chunked_prefill": true,
          "enable_log_requests": false,
          "enable_prefix_caching": false,
          "gpu_memory_utilization": 0.9,
          "max_num_seqs": 256,
        },
        "environment": {},
        "modelCacheHostPath": null,
        "preset": "default",
      },
    }
  `);
});

test("falcon-baseline is the predecessor's load on vLLM, and runs on the stand-in by one override", () => {
  const { engine, load, timeline, resources } = resolveExperiment({ projectDir, name: "falcon-baseline" });
  expect({ engine, load, timeline, resources }).toMatchInlineSnapshot(`
    {
      "engine": "vllm",
      "load": {
        "api": "chat",
        "arrivals": "constant",
        "burstSize": 1,
        "concurrency": null,
        "iterations": 1,
        "outputTokens": 256,
        "promptTokens": 512,
        "prompts": {
          "kind": "random",
        },
        "rampToRatePerSecond": null,
        "ratePerSecond": [
          5,
        ],
        "requestTimeoutSeconds": 120,
        "seed": 1,
        "spawnRatePerSecond": 300,
        "stopAfterDeadSeconds": null,
        "stopWhenSaturated": false,
        "stream": true,
        "workers": 300,
      },
      "resources": {
        "collector": {
          "cpu": "100m",
          "memory": "256Mi",
        },
        "conductor": {
          "cpu": "50m",
          "memory": "128Mi",
        },
        "gate": {
          "cpu": "50m",
          "memory": "128Mi",
        },
        "head": {
          "cpu": "2",
          "memory": "8Gi",
        },
        "load": {
          "cpu": "500m",
          "memory": "512Mi",
        },
        "reader": {
          "cpu": "20m",
          "memory": "64Mi",
        },
        "worker": {
          "cpu": "8",
          "memory": "48Gi",
        },
      },
      "timeline": {
        "afterSeconds": 60,
        "beforeSeconds": 285,
        "faultSeconds": 60,
        "gapSeconds": 30,
        "leadSeconds": 5,
        "profile": "ansible",
        "warmUpSeconds": 0,
      },
    }
  `);
  const standIn = overridden("falcon-baseline", {
    engine: "llm-d-inference-sim",
    timeline: { beforeSeconds: 10 },
  });
  expect(standIn.engine).toBe("llm-d-inference-sim");
  expect(standIn.timeline.beforeSeconds).toBe(10);
  expect(standIn.resources.worker).toEqual({ cpu: "250m", memory: "2Gi" });
});

test("all models of the predecessor resolve to their sources", () => {
  const sources = namesIn(projectDir, "configs/models").map((modelId) => {
    const { model } = overridden("smoke", { modelId });
    return [modelId, model.source, model.maxModelLen, model.dtype, model.gated].join(" ");
  });
  expect(sources).toMatchInlineSnapshot(`
    [
      "falcon-2-11b tiiuae/falcon-11B 8192 bfloat16 false",
      "falcon-h1-7b-instruct tiiuae/Falcon-H1-7B-Instruct 8192 bfloat16 false",
      "gemma-2-9b google/gemma-2-9b-it 8192 bfloat16 true",
      "llama-3dot1-8b-instruct meta-llama/Llama-3.1-8B-Instruct 8192 bfloat16 true",
      "mistral-0dot3-7b-instruct mistralai/Mistral-7B-Instruct-v0.3 8192 bfloat16 true",
      "phi-4 microsoft/phi-4 8192 bfloat16 false",
      "qwen-2dot5-7b-instruct Qwen/Qwen2.5-7B-Instruct 8192 bfloat16 false",
    ]
  `);
});

test("every definition in the repository resolves", () => {
  const names = namesIn(projectDir, "experiments");
  expect(names).toContain("smoke");
  for (const name of names) expect(resolveExperiment({ projectDir, name }).name).toBe(name);
});

test("a later layer wins: preset, model, definition, override", () => {
  const directory = makeProject({
    "experiments/x.yaml": "modelId: m\nvllm: { preset: p, arguments: { c: definition, d: definition } }\n",
    "configs/models/m.yaml":
      "model: { source: s, maxModelLen: 2048, dtype: auto, gated: false }\nvllm: { arguments: { b: model, c: model } }\n",
    "configs/vllm/p.yaml":
      "vllm: { arguments: { a: preset, b: preset } }\nserve: { streamBatchingIntervalMs: 50 }\n",
  });
  const overrides = [
    { file: "below", values: { vllm: { arguments: { d: "below" } } } },
    { file: "above", values: { vllm: { arguments: { d: "above" } } } },
  ];
  const { vllm, serve } = resolveExperiment({ projectDir: directory, name: "x", overrides });
  expect(vllm.arguments).toEqual({ a: "preset", b: "model", c: "definition", d: "above" });
  expect(serve.streamBatchingIntervalMs).toBe(50);
});

test("originOf tells which file a value comes from", () => {
  const { originOf } = tryResolve({
    projectDir,
    name: "smoke",
    overrides: [{ file: stackFile, values: { load: { seed: 7 } } }],
  });
  expect(
    [
      ["load", "seed"],
      ["load", "workers"],
      ["load", "iterations"],
      ["model", "source"],
      ["timeline", "beforeSeconds"],
      ["vllm", "arguments", "max_num_seqs"],
      ["resources", "worker", "cpu"],
    ].map(originOf),
  ).toEqual([
    stackFile,
    "experiments/smoke.yaml",
    "configs/base.yaml",
    "configs/models/falcon-h1-7b-instruct.yaml",
    "profile smoke",
    "configs/vllm/default.yaml",
    "configs/base.yaml",
  ]);
});

test("a number for a quantity is text in the result", () => {
  expect(overridden("smoke", { resources: { worker: { cpu: 2 } } }).resources.worker.cpu).toBe("2");
});

test("several rates stay in the order that is given", () => {
  expect(overridden("smoke", { load: { ratePerSecond: [8, 2, 0.5] } }).load.ratePerSecond).toEqual([
    8, 2, 0.5,
  ]);
  expectTypeOf<ResolvedExperiment["load"]["ratePerSecond"]>().toEqualTypeOf<readonly number[] | null>();
});

test("everything that is wrong is told at once", () => {
  const directory = makeProject({
    "experiments/x.yaml": [
      "modelId: falcon-h1",
      "engin: vllm",
      "load:",
      "  ratePerSecond: -5",
      "  promtTokens: 64",
      "  arrivals: poison",
      "timeline: { profile: smok }",
      "resources: { worker: { cpu: many } }",
    ].join("\n"),
  });
  const overrides = [
    { file: stackFile, values: { lod: { seed: 1 }, load: { workers: 1.5, stream: "yes" } } },
  ];
  expect(
    errorOf(() => resolveExperiment({ projectDir: directory, name: "x", overrides })),
  ).toMatchInlineSnapshot(`
    "experiment x cannot be used, 10 problems:
      - experiments/x.yaml: modelId: "falcon-h1" is not known; did you mean "falcon-h1-7b-instruct"? allowed: falcon-2-11b, falcon-h1-7b-instruct, gemma-2-9b, llama-3dot1-8b-instruct, mistral-0dot3-7b-instruct, phi-4, qwen-2dot5-7b-instruct; or add configs/models/falcon-h1.yaml
      - experiments/x.yaml: load.ratePerSecond: is -5, allowed: more than 0; give a number of requests per second more than 0, or a list of such numbers
      - experiments/x.yaml: load.arrivals: is "poison"; did you mean "poisson"? allowed: constant, poisson, burst
      - Pulumi.exp-x.yaml llmeval:overrides: load.workers: is 1.5, allowed: a whole number; give how many requests may be in flight at once
      - Pulumi.exp-x.yaml llmeval:overrides: load.stream: is "yes", allowed: true or false
      - experiments/x.yaml: load.promtTokens: unknown key; did you mean "promptTokens"? (allowed: api, arrivals, burstSize, concurrency, iterations, outputTokens, promptTokens, prompts, rampToRatePerSecond, ratePerSecond, requestTimeoutSeconds, seed, spawnRatePerSecond, stopAfterDeadSeconds, stopWhenSaturated, stream, workers)
      - experiments/x.yaml: timeline.profile: is "smok"; did you mean "smoke"? allowed: ansible, rca, smoke
      - experiments/x.yaml: resources.worker.cpu: is "many", allowed: a CPU quantity, e.g. "500m" or "2"
      - experiments/x.yaml: engin: unknown key; did you mean "engine"? (allowed: description, engine, existing, faults, load, model, modelId, parallelism, placement, resources, serve, simulator, slo, storage, timeline, timeouts, vllm)
      - Pulumi.exp-x.yaml llmeval:overrides: lod: unknown key; did you mean "load"? (allowed: description, engine, existing, faults, load, model, modelId, parallelism, placement, resources, serve, simulator, slo, storage, timeline, timeouts, vllm)"
  `);
});

test("an unknown engine or preset names the known ones and nothing else", () => {
  expect(
    errorOf(() => overridden("smoke", { engine: "vlm", vllm: { preset: "defalt" } })),
  ).toMatchInlineSnapshot(`
    "experiment smoke cannot be used, 2 problems:
      - Pulumi.exp-x.yaml llmeval:overrides: vllm.preset: "defalt" is not known; did you mean "default"? allowed: default; or add configs/vllm/defalt.yaml
      - Pulumi.exp-x.yaml llmeval:overrides: engine: is "vlm"; did you mean "vllm"? allowed: vllm, llm-d-inference-sim, existing"
  `);
});

test("a missing model name says what to give", () => {
  const directory = makeProject({ "experiments/x.yaml": "" });
  expect(errorOf(() => resolveExperiment({ projectDir: directory, name: "x" }))).toMatchInlineSnapshot(`
    "experiment x cannot be used, 1 problem:
      - experiments/x.yaml: modelId: missing; give the name of a file in configs/models"
  `);
});

test("an unknown definition lists the known ones", () => {
  expect(errorOf(() => resolveExperiment({ projectDir, name: "smoek" }))).toMatchInlineSnapshot(`
    "experiment smoek cannot be used, 1 problem:
      - experiments/smoek.yaml: does not exist; "smoek" is not known; did you mean "smoke"? allowed: falcon-baseline, falcon-entry-delay, falcon-memory-exhaustion, falcon-network-bandwidth, falcon-network-delay, falcon-network-loss, falcon-network-partition, falcon-pod-kill, falcon-staggered-faults, falcon-storage-and-clock, falcon-stress-cpu, falcon-stress-gpu-clock, falcon-stress-gpu-power, falcon-stress-memory, lab-faults-kill, lab-faults-stress, smoke, smoke-cpu-stress, smoke-network-delay; write the file, or name an existing one by: pulumi config set llmeval:experiment NAME"
  `);
});

test("broken YAML names the line", () => {
  const directory = makeProject({ "experiments/x.yaml": "modelId: phi-4\nload: [1, 2\n" });
  expect(errorOf(() => resolveExperiment({ projectDir: directory, name: "x" }))).toMatchInlineSnapshot(`
    "experiment x cannot be used, 1 problem:
      - experiments/x.yaml: not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ] at line 3, column 1"
  `);
});

test("a list in place of a definition is refused", () => {
  const directory = makeProject({ "experiments/x.yaml": "- modelId: phi-4\n" });
  expect(errorOf(() => resolveExperiment({ projectDir: directory, name: "x" }))).toMatchInlineSnapshot(`
    "experiment x cannot be used, 1 problem:
      - experiments/x.yaml: is not a map of keys; write key: value lines"
  `);
});

test("model and preset files set only what is theirs", () => {
  const directory = makeProject({
    "experiments/x.yaml": "modelId: m\n",
    "configs/models/m.yaml":
      "model: { source: s, maxModelLen: 2048, dtype: auto, gated: false }\nload: { workers: 1 }\n",
  });
  expect(errorOf(() => resolveExperiment({ projectDir: directory, name: "x" }))).toMatchInlineSnapshot(`
    "experiment x cannot be used, 1 problem:
      - configs/models/m.yaml: load: cannot be set here (allowed: model, vllm); move it to the experiment's definition"
  `);
});

test("parallelism that does not fit the pods is refused", () => {
  expect(
    errorOf(() => overridden("smoke", { parallelism: { tensorParallelism: 4 } })),
  ).toMatchInlineSnapshot(`
    "experiment smoke cannot be used, 1 problem:
      - Pulumi.exp-x.yaml llmeval:overrides: parallelism.tensorParallelism: tensorParallelism 4 x pipelineParallelism 1 takes 4 accelerators per replica, but podsPerReplica 1 x acceleratorsPerPod 1 gives 1; make both equal"
  `);
  expect(
    errorOf(() => overridden("smoke", { parallelism: { acceleratorsPerPod: 2 } })),
  ).toMatchInlineSnapshot(`
    "experiment smoke cannot be used, 1 problem:
      - Pulumi.exp-x.yaml llmeval:overrides: parallelism.acceleratorsPerPod: tensorParallelism 1 x pipelineParallelism 1 takes 1 accelerator per replica, but podsPerReplica 1 x acceleratorsPerPod 2 gives 2; make both equal"
  `);
  const fits = { tensorParallelism: 2, pipelineParallelism: 2, podsPerReplica: 2, acceleratorsPerPod: 2 };
  expect(overridden("smoke", { parallelism: fits }).parallelism.podsPerReplica).toBe(2);
});

test("a variable that no shell can set is refused", () => {
  const vllm = { environment: { "NCCL-DEBUG": "1" } };
  expect(errorOf(() => overridden("smoke", { vllm }))).toMatchInlineSnapshot(`
    "experiment smoke cannot be used, 1 problem:
      - Pulumi.exp-x.yaml llmeval:overrides: vllm.environment.NCCL-DEBUG: is "1", allowed: environment variables of vLLM's pods, named by letters, digits and \`_\`, e.g. HF_ENDPOINT; no secrets"
  `);
});

test("values that contradict each other are refused", () => {
  expect(
    errorOf(() =>
      overridden("smoke", {
        load: { promptTokens: 8000, outputTokens: 500, ratePerSecond: [1, 1] },
        timeline: { beforeSeconds: 0 },
        vllm: {
          arguments: { tensor_parallel_size: 2 },
          environment: { HF_TOKEN: "hf_x" },
        },
      }),
    ),
  ).toMatchInlineSnapshot(`
    "experiment smoke cannot be used, 5 problems:
      - Pulumi.exp-x.yaml llmeval:overrides: load.promptTokens: promptTokens 8000 + outputTokens 500 is 8500, allowed: at most model.maxModelLen 8192; lower them or raise it
      - Pulumi.exp-x.yaml llmeval:overrides: load.ratePerSecond: is [1,1], allowed: each rate once; use load.iterations to repeat
      - Pulumi.exp-x.yaml llmeval:overrides: timeline: beforeSeconds, faultSeconds and afterSeconds are all 0, nothing would be measured; give one of them a length
      - Pulumi.exp-x.yaml llmeval:overrides: vllm.arguments.tensor_parallel_size: follows from parallelism.tensorParallelism; remove it here and set parallelism.tensorParallelism
      - Pulumi.exp-x.yaml llmeval:overrides: vllm.environment.HF_TOKEN: follows from llmeval:huggingFaceToken; remove it here and set llmeval:huggingFaceToken"
  `);
});

test("accelerators of the cluster are counted for the real engine only", () => {
  const problems = (
    values: Readonly<Record<string, unknown>>,
    accelerators: Readonly<Record<string, number>>,
  ) => {
    const { experiment, originOf } = tryResolve({
      projectDir,
      name: "falcon-baseline",
      overrides: [{ file: stackFile, values }],
    });
    return acceleratorProblems(experiment as ResolvedExperiment, originOf, "dev", accelerators);
  };
  expect(problems({}, {})).toMatchInlineSnapshot(`
    [
      {
        "file": "experiments/falcon-baseline.yaml",
        "path": "engine",
        "text": "dataParallelism 1 x tensorParallelism 1 x pipelineParallelism 1 takes 1 accelerator, but cluster dev has none; use another cluster (llmeval:cluster), or the stand-in engine: pulumi config set --path llmeval:overrides.engine llm-d-inference-sim",
      },
    ]
  `);
  expect(problems({ parallelism: { dataParallelism: 8 } }, { H100: 4, L4: 2 })).toMatchInlineSnapshot(`
    [
      {
        "file": "Pulumi.exp-x.yaml llmeval:overrides",
        "path": "parallelism.dataParallelism",
        "text": "dataParallelism 8 x tensorParallelism 1 x pipelineParallelism 1 takes 8 accelerators, but cluster dev has 4 x H100, 2 x L4; lower one of them, or use a bigger cluster (llmeval:cluster)",
      },
    ]
  `);
  expect(problems({ vllm: { acceleratorType: "H200" } }, { H100: 4 })).toMatchInlineSnapshot(`
    [
      {
        "file": "experiments/falcon-baseline.yaml",
        "path": "engine",
        "text": "dataParallelism 1 x tensorParallelism 1 x pipelineParallelism 1 takes 1 accelerator of type H200, but cluster dev has 4 x H100; use another cluster (llmeval:cluster), or the stand-in engine: pulumi config set --path llmeval:overrides.engine llm-d-inference-sim",
      },
    ]
  `);
  expect(problems({ parallelism: { dataParallelism: 6 } }, { H100: 4, L4: 2 })).toEqual([]);
  expect(problems({ engine: "llm-d-inference-sim" }, {})).toEqual([]);
});
