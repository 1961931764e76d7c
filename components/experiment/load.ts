// The load Job: one k6 process that plays all cells of the run on a precomputed schedule.

import * as pulumi from "@pulumi/pulumi";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";
import { parseQuantity } from "../quantity.ts";
import { serviceAccounts } from "./access.ts";
import {
  configPath,
  configVolume,
  jobAnnotations,
  jobSpec,
  type RunArgs,
  resultsVolume,
  workloadPodSpec,
} from "./conventions.ts";
import { placementOf } from "./placement.ts";
import { deadlinesOf } from "./timing.ts";

export interface LoadArgs extends RunArgs {
  readonly resolved: ResolvedExperiment;
  /** Image whose entry point is k6 with our extension. */
  readonly image: string;
  /** ConfigMap with load.json and script.js. */
  readonly runConfig: string;
}

// The generator collects garbage only when it has used so much (workloads/load/main.go): each collection makes it late.
// The container's limit also counts what is not Go's: the program itself, the page cache.
const goMemoryShare = 0.8;

export function toLoadJobSpec(args: LoadArgs): k8s.types.input.batch.v1.JobSpec {
  const { resolved, experimentId } = args;
  return jobSpec({
    labels: labelsOf({ name: "load", experiment: args.experiment, experimentId }),
    programSeconds: deadlinesOf(resolved).loadSeconds,
    debug: args.debug === true,
    pod: workloadPodSpec({
      container: "load",
      image: args.image,
      args: [
        "run",
        args.debug === true ? "--verbose" : "--quiet",
        // load.json is the report; k6's own would push the error that ends a load out of the log's last lines.
        "--summary-mode=disabled",
        `${configPath}/script.js`,
      ],
      env: {
        LLMEVAL_LOAD_SPEC: `${configPath}/load.json`,
        GOMEMLIMIT: String(Math.floor(goMemoryShare * parseQuantity(resolved.resources.load.memory))),
      },
      resources: resolved.resources.load,
      placement: placementOf(resolved, "load"),
      serviceAccount: serviceAccounts.load,
      usesApi: false,
      volumes: [configVolume(args.runConfig), resultsVolume(false)],
      // A stopped load still writes the rows of what was in flight, and its report.
      terminationGracePeriodSeconds: Math.ceil(resolved.load.requestTimeoutSeconds) + 30,
    }),
  });
}

export class Load extends pulumi.ComponentResource {
  readonly job: k8s.batch.v1.Job;

  constructor(name: string, args: LoadArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:Load", name, {}, opts);
    const { namespace, experiment, experimentId } = args;
    this.job = new k8s.batch.v1.Job(
      `${name}-${experimentId}`,
      {
        metadata: {
          name: physicalName(["load", experimentId]),
          namespace,
          labels: labelsOf({ name: "load", experiment, experimentId }),
          annotations: jobAnnotations,
        },
        spec: toLoadJobSpec(args),
      },
      // A run is played once: a new image changes the next run, not this one.
      { parent: this, deletedWith: opts.deletedWith, ignoreChanges: ["spec"] },
    );
    this.registerOutputs({});
  }
}
