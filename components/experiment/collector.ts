// The collector Job: exports every window when the load has ended, and writes the manifest last.

import * as pulumi from "@pulumi/pulumi";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";
import { serviceAccounts } from "./access.ts";
import {
  appPath,
  configPath,
  configVolume,
  jobAnnotations,
  jobSpec,
  type RunArgs,
  resultsDirectory,
  resultsVolume,
  workloadPodSpec,
} from "./conventions.ts";
import { faultPlanPath, faultPlanVolume } from "./faults.ts";
import { placementOf } from "./placement.ts";
import { deadlinesOf, recoverySeconds } from "./timing.ts";
import { type Sources, sourceVolume } from "./workload-source.ts";

export interface CollectorArgs extends RunArgs {
  readonly resolved: ResolvedExperiment;
  /** Image with Node that runs TypeScript. */
  readonly image: string;
  readonly sources: Sources;
  /** ConfigMap with experiment.json and load.json. */
  readonly runConfig: string;
  /** Address of Prometheus inside the cluster. */
  readonly prometheusUrl: string;
}

/** Metrics, Loki, traces and two tables of flows share the time that the export may take. */
const partsOfTheExport = 5;

/** The interval at which the cluster stack's Prometheus scrapes. */
const scrapeIntervalSeconds = 5;

export function toCollectorJobSpec(args: CollectorArgs): k8s.types.input.batch.v1.JobSpec {
  const { resolved, experimentId } = args;
  const deadlines = deadlinesOf(resolved);
  const withFaults = resolved.faults.length > 0;
  return jobSpec({
    labels: labelsOf({ name: "collector", experiment: args.experiment, experimentId }),
    programSeconds: deadlines.collectorSeconds,
    debug: args.debug === true,
    // It begins anew with what is on the volume: nothing measured is lost with its pod.
    backoffLimit: 3,
    pod: workloadPodSpec({
      container: "collector",
      image: args.image,
      command: ["node", `${appPath}/collector/main.ts`],
      env: {
        EXPERIMENT_ID: experimentId,
        RESULTS_DIR: resultsDirectory(experimentId),
        NAMESPACE: args.namespace,
        PROMETHEUS_URL: args.prometheusUrl,
        LOAD_TIMEOUT_SECONDS: String(deadlines.loadSeconds),
        SCRAPE_INTERVAL_SECONDS: String(scrapeIntervalSeconds),
        EXPORT_SECONDS: String(Math.floor(resolved.timeouts.collectSeconds / partsOfTheExport)),
        EXPERIMENT_FILE: `${configPath}/experiment.json`,
        LOAD_SPEC_FILE: `${configPath}/load.json`,
        ...(withFaults
          ? {
              FAULT_PLAN_FILE: `${faultPlanPath}/plan.json`,
              CONDUCTOR_TIMEOUT_SECONDS: String(2 * recoverySeconds),
            }
          : {}),
      },
      resources: resolved.resources.collector,
      placement: placementOf(resolved, "load"),
      serviceAccount: serviceAccounts.collector,
      usesApi: true,
      volumes: [
        sourceVolume("collector", args.sources),
        configVolume(args.runConfig),
        ...(withFaults ? [faultPlanVolume(experimentId)] : []),
        resultsVolume(false),
      ],
    }),
  });
}

export class Collector extends pulumi.ComponentResource {
  readonly job: k8s.batch.v1.Job;

  constructor(name: string, args: CollectorArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:Collector", name, {}, opts);
    const { namespace, experiment, experimentId } = args;
    this.job = new k8s.batch.v1.Job(
      `${name}-${experimentId}`,
      {
        metadata: {
          name: physicalName(["collector", experimentId]),
          namespace,
          labels: labelsOf({ name: "collector", experiment, experimentId }),
          annotations: jobAnnotations,
        },
        spec: toCollectorJobSpec(args),
      },
      // A run is played once: a new image or a new source changes the next run, not this one.
      { parent: this, deletedWith: opts.deletedWith, ignoreChanges: ["spec"] },
    );
    this.registerOutputs({});
  }
}
