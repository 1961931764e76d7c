// The gate Job: sends real completions until every replica has answered, or an engine of others often enough; then sets T0.

import * as pulumi from "@pulumi/pulumi";
import { servedModel } from "../../experiments/existing.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";
import { serviceAccounts } from "./access.ts";
import {
  appPath,
  headService,
  jobAnnotations,
  jobSpec,
  ports,
  type RunArgs,
  resultsDirectory,
  resultsVolume,
  serveUrl,
  workloadPodSpec,
} from "./conventions.ts";
import { placementOf } from "./placement.ts";
import { deadlinesOf } from "./timing.ts";
import { type Sources, sourceVolume } from "./workload-source.ts";

export interface GateArgs extends RunArgs {
  readonly resolved: ResolvedExperiment;
  /** Image with Node that runs TypeScript. */
  readonly image: string;
  readonly sources: Sources;
}

/** Completions in a row that an engine must answer whose replicas nobody here can see. */
const existingAnswers = 5;

export function toGateJobSpec(args: GateArgs): k8s.types.input.batch.v1.JobSpec {
  const { resolved, experimentId } = args;
  const deadlines = deadlinesOf(resolved);
  const existing = resolved.engine === "existing";
  return jobSpec({
    labels: labelsOf({ name: "gate", experiment: args.experiment, experimentId }),
    programSeconds: deadlines.gateSeconds,
    debug: args.debug === true,
    pod: workloadPodSpec({
      container: "gate",
      image: args.image,
      command: ["node", `${appPath}/gate/main.ts`],
      env: {
        EXPERIMENT_ID: experimentId,
        RESULTS_DIR: resultsDirectory(experimentId),
        NAMESPACE: args.namespace,
        SERVE_URL: serveUrl(resolved),
        ...(existing ? {} : { SERVE_API: `http://${headService}:${ports.dashboard}` }),
        MODEL: servedModel(resolved),
        API: resolved.load.api,
        ...(existing
          ? { EXPECTED_ANSWERS: String(existingAnswers) }
          : { EXPECTED_REPLICAS: String(resolved.parallelism.dataParallelism) }),
        LEAD_SECONDS: String(resolved.timeline.leadSeconds),
        TIMEOUT_SECONDS: String(deadlines.gateSeconds),
        ...(args.debug === true ? { LOG_LEVEL: "debug" } : {}),
      },
      resources: resolved.resources.gate,
      placement: placementOf(resolved, "load"),
      serviceAccount: serviceAccounts.gate,
      usesApi: !existing,
      volumes: [sourceVolume("gate", args.sources), resultsVolume(false)],
    }),
  });
}

export class Gate extends pulumi.ComponentResource {
  readonly job: k8s.batch.v1.Job;

  constructor(name: string, args: GateArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:Gate", name, {}, opts);
    const { namespace, experiment, experimentId } = args;
    this.job = new k8s.batch.v1.Job(
      `${name}-${experimentId}`,
      {
        metadata: {
          name: physicalName(["gate", experimentId]),
          namespace,
          labels: labelsOf({ name: "gate", experiment, experimentId }),
          annotations: jobAnnotations,
        },
        spec: toGateJobSpec(args),
      },
      // A run is played once: a new image or a new source changes the next run, not this one.
      { parent: this, deletedWith: opts.deletedWith, ignoreChanges: ["spec"] },
    );
    this.registerOutputs({});
  }
}
