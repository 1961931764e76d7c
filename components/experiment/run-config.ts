// What one run is given: the load spec, the load's script and the resolved experiment, frozen in one ConfigMap.

import * as pulumi from "@pulumi/pulumi";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { timelineOf } from "../../experiments/timeline.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";
import { ports, type RunArgs, resultsDirectory, serveService } from "./conventions.ts";
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
}

export interface RunConfigArgs extends RunArgs {
  readonly resolved: ResolvedExperiment;
  /** The images that the run uses. */
  readonly images: Readonly<Record<string, string>>;
  readonly standIns: readonly StandIn[];
  readonly stackInfo: StackInfo;
  /** Text of workloads/load/script.js. */
  readonly loadScript: string;
}

/** Name of a run's ConfigMap. */
function runConfigName(experimentId: string): string {
  return physicalName(["run", experimentId]);
}

/** load.json: what the load generator plays. */
export function toLoadSpec(experiment: ResolvedExperiment, experimentId: string): Record<string, unknown> {
  const { load } = experiment;
  const path = load.api === "chat" ? "/v1/chat/completions" : "/v1/completions";
  return {
    schemaVersion: 1,
    experimentId,
    target: {
      url: `http://${serveService}:${ports.serve}${path}`,
      model: experiment.modelId,
      api: load.api,
      stream: load.stream,
      headers: {},
    },
    seed: load.seed,
    workers: load.workers,
    spawnRatePerSecond: load.spawnRatePerSecond,
    requestTimeoutSeconds: load.requestTimeoutSeconds,
    t0TimeoutSeconds: deadlinesOf(experiment).t0Seconds,
    timelineFile: `${resultsDirectory(experimentId)}/timeline.json`,
    outputDir: `${resultsDirectory(experimentId)}/load`,
    cells: timelineOf(experiment).cells.map((cell) => ({
      id: cell.id,
      startOffsetSeconds: cell.startOffsetSeconds,
      durationSeconds: cell.durationSeconds,
      ratePerSecond: cell.ratePerSecond,
      arrivals: load.arrivals,
      burstSize: load.burstSize,
      promptTokens: load.promptTokens,
      outputTokens: load.outputTokens,
      phases: cell.phases,
    })),
  };
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
          "load.json": `${JSON.stringify(toLoadSpec(args.resolved, args.experimentId), null, 2)}\n`,
          "experiment.json": `${JSON.stringify(toExperimentFile(args), null, 2)}\n`,
          "script.js": args.loadScript,
        },
      },
      // A run keeps what it was given; anything else is another run.
      { parent: this, deletedWith: opts.deletedWith, ignoreChanges: ["data"] },
    );
    this.registerOutputs({});
  }
}
