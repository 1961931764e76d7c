// What one run is given: the load spec, the load's script and the resolved experiment, frozen in one ConfigMap.

import * as pulumi from "@pulumi/pulumi";
import { servedModel } from "../../experiments/existing.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { timelineOf } from "../../experiments/timeline.ts";
import { entryModelUrl } from "../cluster/network/entry-place.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";
import { configPath, type RunArgs, resultsDirectory, serveUrl } from "./conventions.ts";
import { deadlinesOf } from "./timing.ts";

/** Something that answers in place of a real part, as it is named in every result. */
export interface StandIn {
  readonly part: string;
  readonly name: string;
  readonly version: string;
}

/** Where the run took place; written next to the results. */
export interface StackInfo {
  readonly stack: string;
  readonly cluster: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
  /** Addresses inside the cluster of the parts that have one. @default none */
  readonly endpoints?: Readonly<Record<string, string>>;
  /** Every part logs in detail, which takes time: the figures are not those of a run without. @default false */
  readonly debug?: boolean;
}

export interface RunConfigArgs extends RunArgs {
  readonly resolved: ResolvedExperiment;
  /** The images that the run uses. */
  readonly images: Readonly<Record<string, string>>;
  readonly standIns: readonly StandIn[];
  readonly stackInfo: StackInfo;
  /** Text of workloads/load/script.js. */
  readonly loadScript: string;
  /** Text of load.prompts.file, where the experiment has one. */
  readonly promptFile?: string;
}

/** The prompt file's name in the ConfigMap. */
const promptFileName = "prompts.jsonl";

/** Name of a run's ConfigMap. */
function runConfigName(experimentId: string): string {
  return physicalName(["run", experimentId]);
}

/** load.json: what the load generator plays. */
export function toLoadSpec(
  experiment: ResolvedExperiment,
  experimentId: string,
  namespace: string,
): Record<string, unknown> {
  const { load } = experiment;
  const path = load.api === "chat" ? "/v1/chat/completions" : "/v1/completions";
  return {
    schemaVersion: 1,
    experimentId,
    target: {
      url: `${targetUrl(experiment, namespace)}${path}`,
      model: servedModel(experiment),
      api: load.api,
      stream: load.stream,
      headers: {},
    },
    seed: load.seed,
    workers: load.workers,
    spawnRatePerSecond: load.spawnRatePerSecond,
    requestTimeoutSeconds: load.requestTimeoutSeconds,
    stopAfterDeadSeconds: load.stopAfterDeadSeconds,
    stopWhenSaturated: load.stopWhenSaturated,
    prompts:
      load.prompts.kind === "file" ? { kind: "file", file: `${configPath}/${promptFileName}` } : load.prompts,
    t0TimeoutSeconds: deadlinesOf(experiment).t0Seconds,
    timelineFile: `${resultsDirectory(experimentId)}/timeline.json`,
    outputDir: `${resultsDirectory(experimentId)}/load`,
    cells: timelineOf(experiment).cells.map((cell) => ({
      id: cell.id,
      startOffsetSeconds: cell.startOffsetSeconds,
      durationSeconds: cell.durationSeconds,
      ratePerSecond: cell.ratePerSecond,
      concurrency: cell.concurrency,
      rampToRatePerSecond: cell.rampToRatePerSecond,
      // In a closed loop nothing arrives: a request is sent when one has ended.
      arrivals: cell.concurrency === null ? load.arrivals : "closed-loop",
      burstSize: load.burstSize,
      promptTokens: load.promptTokens,
      outputTokens: load.outputTokens,
      phases: cell.phases,
    })),
  };
}

/** Straight to the engine, or through the entry, whose port for programs of the cluster asks for no password. */
function targetUrl(experiment: ResolvedExperiment, namespace: string): string {
  return experiment.serve.via === "entry" ? entryModelUrl(namespace) : serveUrl(experiment);
}

/** experiment.json: what was run, where, with which images. */
export function toExperimentFile(args: RunConfigArgs): Record<string, unknown> {
  return {
    schemaVersion: 1,
    experimentId: args.experimentId,
    experiment: args.resolved,
    timeline: timelineOf(args.resolved),
    images: args.images,
    standIns: args.standIns,
    stack: args.stackInfo,
  };
}

/** The prompt file under its name, for an experiment that has one. */
export function promptFileOf({ resolved, promptFile }: RunConfigArgs): Record<string, string> {
  if (resolved.load.prompts.kind !== "file") return {};
  if (promptFile === undefined) throw new Error(`the text of ${resolved.load.prompts.file} was not given`);
  return { [promptFileName]: promptFile };
}

export class RunConfig extends pulumi.ComponentResource {
  /** Name of the ConfigMap. */
  readonly configMap: string;

  constructor(name: string, args: RunConfigArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:RunConfig", name, {}, opts);
    this.configMap = runConfigName(args.experimentId);
    new k8s.core.v1.ConfigMap(
      `${name}-${args.experimentId}`,
      {
        metadata: {
          name: this.configMap,
          namespace: args.namespace,
          labels: labelsOf({ name: "run", experiment: args.experiment, experimentId: args.experimentId }),
        },
        immutable: true,
        data: {
          "load.json": `${JSON.stringify(toLoadSpec(args.resolved, args.experimentId, args.namespace), null, 2)}\n`,
          "experiment.json": `${JSON.stringify(toExperimentFile(args), null, 2)}\n`,
          "script.js": args.loadScript,
          ...promptFileOf(args),
        },
      },
      // A run keeps what it was given; anything else is another run.
      { parent: this, deletedWith: opts.deletedWith, ignoreChanges: ["data"] },
    );
    this.registerOutputs({});
  }
}
