// The faults of a run: their plan in a ConfigMap, each with the object that makes it, and the conductor Job that plays it.

import * as pulumi from "@pulumi/pulumi";
import { isGpuFault, isOneShot } from "../../experiments/faults.ts";
import { plannedFaults } from "../../experiments/planned-faults.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { timelineOf } from "../../experiments/timeline.ts";
import type { FaultPlan, PlanEntry } from "../../workloads/shared/faults.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";
import { serviceAccounts } from "./access.ts";
import { toChaosObject, toLabelSelector, toTargetSelection } from "./chaos-objects.ts";
import {
  appPath,
  jobAnnotations,
  jobSpec,
  type RunArgs,
  resultsDirectory,
  resultsVolume,
  type WorkloadPodArgs,
  workloadPodSpec,
} from "./conventions.ts";
import { gpuScript, toGpuJobs } from "./gpu-fault.ts";
import { placementOf } from "./placement.ts";
import { deadlinesOf, recoverySeconds } from "./timing.ts";
import { type Sources, sourceVolume } from "./workload-source.ts";

export interface FaultsArgs extends RunArgs {
  readonly resolved: ResolvedExperiment;
  /** Image with Node that runs TypeScript. */
  readonly image: string;
  /** Image with bash and flock for faults of GPUs. */
  readonly gpuFaultImage: string;
  readonly sources: Sources;
  /** Text of workloads/gpu-fault/gpu-fault.sh. */
  readonly gpuFaultScript: string;
}

export const faultPlanPath = "/faults";
const planFile = "plan.json";

/** Nobody listens on it: the pod's kernel refuses at once, however busy the programs are that would have to accept. */
const probePort = 9;

/** Name of a run's ConfigMap with its faults. */
function faultPlanName(experimentId: string): string {
  return physicalName(["faults", experimentId]);
}

/** plan.json: every fault of every cell with its object, its offset from T0 and whom it is meant for. */
export function toFaultPlan(args: RunArgs & Pick<FaultsArgs, "resolved" | "gpuFaultImage">): FaultPlan {
  const { resolved, gpuFaultImage: image, experimentId } = args;
  const run: RunArgs = { namespace: args.namespace, experiment: args.experiment, experimentId };
  const configMap = faultPlanName(experimentId);
  const faults = plannedFaults(resolved).map((planned): PlanEntry => {
    const { fault } = planned;
    const {
      kind,
      target: _target,
      startOffsetSeconds: _start,
      durationSeconds: _duration,
      cells: _cells,
      ...parameters
    } = fault;
    const selection = toTargetSelection(fault.target, run.experiment, resolved.parallelism);
    return {
      fault: planned.id,
      cell: planned.cell,
      kind,
      startOffsetSeconds: planned.startOffsetSeconds,
      durationSeconds: planned.durationSeconds,
      ...(selection.namespace === undefined ? {} : { targetNamespace: selection.namespace }),
      selector: toLabelSelector(selection),
      container: selection.container,
      expectedTargets: selection.expectedPods,
      oneShot: isOneShot(fault),
      parameters,
      ...(fault.kind === "gpu-power-cap" || fault.kind === "gpu-clock-cap"
        ? { jobs: toGpuJobs({ ...planned, fault }, run, { image, configMap }) }
        : { object: toChaosObject(planned, run, resolved.parallelism) }),
    };
  });
  return { schemaVersion: 1, experimentId, faults };
}

/** Mounts the plan at /faults; it is read as /faults/plan.json. */
export function faultPlanVolume(experimentId: string): WorkloadPodArgs["volumes"][number] {
  return {
    volume: { name: "faults", configMap: { name: faultPlanName(experimentId) } },
    mount: { mountPath: faultPlanPath, readOnly: true },
  };
}

export function toConductorJobSpec(args: FaultsArgs): k8s.types.input.batch.v1.JobSpec {
  const { resolved, experimentId } = args;
  const deadlines = deadlinesOf(resolved);
  return jobSpec({
    labels: labelsOf({ name: "conductor", experiment: args.experiment, experimentId }),
    programSeconds: deadlines.conductorSeconds,
    debug: args.debug === true,
    // It takes up where it was, so it may begin again; a fault must never be left without it.
    backoffLimit: 6,
    pod: workloadPodSpec({
      container: "conductor",
      image: args.image,
      command: ["node", `${appPath}/conductor/main.ts`],
      env: {
        EXPERIMENT_ID: experimentId,
        RESULTS_DIR: resultsDirectory(experimentId),
        NAMESPACE: args.namespace,
        PLAN_FILE: `${faultPlanPath}/${planFile}`,
        T0_TIMEOUT_SECONDS: String(deadlines.t0Seconds),
        PLAY_SECONDS: String(Math.ceil(timelineOf(resolved).durationSeconds)),
        RECOVERY_SECONDS: String(recoverySeconds),
        GRACE_SECONDS: String(graceSeconds - 10),
        PROBE_PORT: String(probePort),
      },
      resources: resolved.resources.conductor,
      placement: placementOf(resolved, "load"),
      serviceAccount: serviceAccounts.conductor,
      usesApi: true,
      volumes: [sourceVolume("conductor", args.sources), faultPlanVolume(experimentId), resultsVolume(false)],
      restartPolicy: "OnFailure",
      // Told to stop, it first reverts what it has made.
      terminationGracePeriodSeconds: graceSeconds,
    }),
  });
}

const graceSeconds = 70;

export class Faults extends pulumi.ComponentResource {
  constructor(name: string, args: FaultsArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:Faults", name, {}, opts);
    const { namespace, experiment, experimentId } = args;
    const inNamespace = { parent: this, deletedWith: opts.deletedWith };
    const plan = new k8s.core.v1.ConfigMap(
      `${name}-${experimentId}`,
      {
        metadata: {
          name: faultPlanName(experimentId),
          namespace,
          labels: labelsOf({ name: "faults", experiment, experimentId }),
        },
        immutable: true,
        data: {
          [planFile]: `${JSON.stringify(toFaultPlan(args), null, 2)}\n`,
          ...(args.resolved.faults.some(isGpuFault) ? { [gpuScript]: args.gpuFaultScript } : {}),
        },
      },
      // A run keeps what it was given; anything else is another run.
      { ...inNamespace, ignoreChanges: ["data"] },
    );
    new k8s.batch.v1.Job(
      `${name}-conductor-${experimentId}`,
      {
        metadata: {
          name: physicalName(["conductor", experimentId]),
          namespace,
          labels: labelsOf({ name: "conductor", experiment, experimentId }),
          annotations: jobAnnotations,
        },
        spec: toConductorJobSpec(args),
      },
      // A run is played once: a new image or a new source changes the next run, not this one.
      { ...inNamespace, dependsOn: plan, ignoreChanges: ["spec"] },
    );
    this.registerOutputs({});
  }
}
