// The shape of an experiment: every key, its unit and its allowed values. Strict: an unknown key is an error.

import * as z from "zod";
import { type Fault, faultSchema } from "./faults.ts";
import { type Load, loadSchema } from "./load.ts";

/** How requests are answered: by vLLM, by the stand-in that needs neither GPU nor weights, or by what is there already. */
export const engines = ["vllm", "llm-d-inference-sim", "existing"] as const;

export const profileNames = ["ansible", "rca", "smoke"] as const;

/** Arguments of vLLM that follow from other keys, with the key to set instead. */
export const reservedEngineArguments: Readonly<Record<string, string>> = {
  data_parallel_size: "parallelism.dataParallelism",
  dtype: "model.dtype",
  max_model_len: "model.maxModelLen",
  model: "model.source",
  pipeline_parallel_size: "parallelism.pipelineParallelism",
  served_model_name: "modelId",
  tensor_parallel_size: "parallelism.tensorParallelism",
};

/** Environment variables of vLLM that follow from other keys, with the key to set instead. */
export const reservedVariables: Readonly<Record<string, string>> = {
  HF_HOME: "vllm.modelCacheHostPath",
  HF_TOKEN: "llmeval:huggingFaceToken",
};

const count = (what: string) => z.int().min(1).describe(what);
const seconds = (what: string) => z.number().min(0).describe(`${what} in seconds`);
const quantity = (what: string) =>
  z
    // `cpu: 2` reads as a number in YAML and in `pulumi config set`.
    .preprocess(
      (value) => (typeof value === "number" ? String(value) : value),
      z.string().regex(/^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$/),
    )
    .describe(what);

const limit = (of: string) =>
  z
    .number()
    .positive()
    .nullable()
    .describe(`the largest ${of} of a good request in milliseconds, more than 0, or null for no limit`);

const resources = z.strictObject({
  cpu: quantity('a CPU quantity, e.g. "500m" or "2"'),
  memory: quantity('a memory quantity, e.g. "512Mi"'),
});

const toleration = z.strictObject({
  key: z.string().min(1).optional().describe("the taint's key; without it every taint, with operator Exists"),
  operator: z.enum(["Equal", "Exists"]).optional(),
  value: z.string().optional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
});

const place = z.strictObject({
  nodeSelector: z
    .record(z.string().min(1), z.string())
    .describe("labels that a node must have, key to value, empty for any node"),
  tolerations: z
    .array(toleration)
    .describe("taints that a node may have, as in a pod's spec, empty for none"),
});

/** The merged definition: base, engine, profile, model, preset, definition and overrides in one tree. */
export const experimentSchema = z.strictObject({
  description: z.string().describe("one sentence on what the experiment is for"),
  modelId: z.string().describe("the name of a file in configs/models"),
  engine: z.enum(engines),
  model: z.strictObject({
    source: z.string().min(1).describe("a Hugging Face repository or a path that every Ray pod can read"),
    maxModelLen: count("the longest prompt plus output in tokens"),
    dtype: z.enum(["auto", "bfloat16", "float16", "float32"]),
    gated: z.boolean().describe("true where Hugging Face gives the weights only to a token"),
  }),
  vllm: z.strictObject({
    preset: z.string().describe("the name of a file in configs/vllm"),
    arguments: z.record(z.string(), z.json()).describe("engine arguments of vLLM with underscores"),
    environment: z
      .record(
        z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected letters, digits and `_`"),
        // `1` and `true` are no text in YAML.
        z.preprocess(
          (value) => (typeof value === "number" || typeof value === "boolean" ? String(value) : value),
          z.string(),
        ),
      )
      .describe(
        "environment variables of vLLM's pods, named by letters, digits and `_`, e.g. HF_ENDPOINT; no secrets",
      ),
    acceleratorType: z
      .string()
      .min(1)
      .nullable()
      .describe('a Ray accelerator type, e.g. "H100", or null for any'),
    modelCacheHostPath: z
      .string()
      .startsWith("/")
      .nullable()
      .describe(
        "an absolute path on the hosts that keeps the weights, or null to download them for each run",
      ),
  }),
  simulator: z.strictObject({
    timeToFirstTokenMs: z.number().min(0).describe("milliseconds"),
    interTokenLatencyMs: z.number().min(0).describe("milliseconds"),
    maxNumSeqs: count("how many requests one replica serves at once"),
    seed: z.int().min(0).describe("a whole number, 0 or more"),
  }),
  existing: z.strictObject({
    url: z
      .url({ protocol: /^https?$/ })
      .nullable()
      .describe(
        "the address of an OpenAI-compatible service inside the cluster, e.g. http://vllm.models.svc:8000",
      ),
    model: z.string().min(1).nullable().describe("the service's name for the model, or null for modelId"),
  }),
  serve: z.strictObject({
    maxOngoingRequests: count("how many requests one replica takes before others queue in front of it"),
    streamBatchingIntervalMs: z.number().min(0).describe("milliseconds; 0 sends every token by itself"),
    via: z
      .enum(["service", "entry"])
      .describe("what the load goes through: service for straight to the engine, or the cluster's entry"),
  }),
  parallelism: z.strictObject({
    dataParallelism: count("the number of independent replicas"),
    tensorParallelism: count("the number of accelerators that share each layer"),
    pipelineParallelism: count("the number of pipeline stages"),
    podsPerReplica: count("the number of pods that form one replica"),
    acceleratorsPerPod: count("the number of accelerators of each pod"),
    acceleratorResource: z.string().min(1).describe("the Kubernetes resource name of one accelerator"),
    placementStrategy: z.enum(["PACK", "STRICT_PACK", "SPREAD", "STRICT_SPREAD"]),
  }),
  placement: z.strictObject({
    head: place,
    worker: place.describe(
      "the pods that serve; those of vLLM tolerate the taint of their accelerator already",
    ),
    load: place.describe(
      "the load generator, and what shares its volume: gate, conductor, collector, reader",
    ),
  }),
  load: loadSchema,
  timeline: z.strictObject({
    profile: z.enum(profileNames),
    leadSeconds: z.number().positive().describe("the time from the gate to T0 in seconds, more than 0"),
    warmUpSeconds: seconds("the time that is played but not measured"),
    beforeSeconds: seconds("the time before the fault"),
    faultSeconds: seconds("the length of the fault"),
    afterSeconds: seconds("the time after the fault"),
    gapSeconds: seconds("the pause between two cells"),
  }),
  faults: z.array(faultSchema).describe("a list of faults, empty for none"),
  slo: z.strictObject({
    ttftMilliseconds: limit("TTFT"),
    tpotMilliseconds: limit("TPOT"),
    itlMilliseconds: limit("the mean gap between chunks that carry tokens"),
    e2eMilliseconds: limit("E2E"),
    attainmentShare: z
      .number()
      .min(0)
      .max(1)
      .describe("the share of good requests, 0 to 1, below which a load level counts as saturated"),
  }),
  timeouts: z.strictObject({
    serviceReadySeconds: count("seconds until the RayService must be Ready"),
    gateSeconds: count("seconds until every replica must have answered"),
    collectSeconds: count("seconds that the export of all windows may take"),
  }),
  resources: z.strictObject({
    head: resources,
    worker: resources,
    gate: resources,
    load: resources,
    collector: resources,
    conductor: resources,
    reader: resources,
  }),
  storage: z.strictObject({
    size: quantity('a storage quantity, e.g. "2Gi"'),
    className: z.string().min(1).nullable().describe("a storage class, or null for the cluster's default"),
  }),
});

type Merged = z.output<typeof experimentSchema>;

/** An experiment with every default explicit; it is written next to the results and its hash is in the id. */
export interface ResolvedExperiment extends Omit<Merged, "load" | "faults"> {
  readonly name: string;
  readonly faults: readonly Fault[];
  /** Numbers of the cells to play, from 1 in the order of play; null for all of them. */
  readonly cells: readonly number[] | null;
  readonly load: Load;
}

export type ProfileName = Merged["timeline"]["profile"];

/** Top-level keys that each kind of file may set; anything else belongs into the experiment's definition. */
export const keysOfModelFile = ["model", "vllm"] as const;
export const keysOfPresetFile = ["vllm", "serve"] as const;
