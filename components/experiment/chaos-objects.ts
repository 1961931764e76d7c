// Objects of Chaos Mesh for each kind of fault, valid for 2.8 and for the definitions of August 2022 (before 2.4).

import { type Fault, targetedReplicas } from "../../experiments/faults.ts";
import type { PlannedFault } from "../../experiments/planned-faults.ts";
import type { Manifest } from "../../workloads/shared/faults.ts";
import { entryPlace } from "../cluster/network/entry-place.ts";
import { labelsOf, physicalName } from "../naming.ts";
import type { RunArgs } from "./conventions.ts";

/** Seconds beyond the planned duration after which the injector reverts a fault that nobody has ended. */
export const deadManSeconds = 30;

/** Whom a fault means, in the forms in which it is asked for. */
export interface TargetSelection {
  /** Where it is not the run's. */
  readonly namespace?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Names of replicas where not all of them are meant. */
  readonly replicas?: readonly string[];
  readonly container: string;
  readonly expectedPods: number;
}

interface Size {
  readonly dataParallelism: number;
  readonly podsPerReplica: number;
}

export function toTargetSelection(
  target: Fault["target"],
  experiment: string,
  { dataParallelism, podsPerReplica }: Size,
): TargetSelection {
  if (target === "entry") {
    const { namespace, labels, container, pods } = entryPlace;
    return { namespace, labels, container, expectedPods: pods };
  }
  const own = { "llmeval/experiment": experiment };
  if (target === "head") {
    return { labels: { ...own, "ray.io/node-type": "head" }, container: "ray-head", expectedPods: 1 };
  }
  const replicas = targetedReplicas(target, dataParallelism);
  const common = {
    labels: { ...own, "ray.io/node-type": "worker" },
    container: "ray-worker",
    expectedPods: replicas.length * podsPerReplica,
  };
  return replicas.length === dataParallelism
    ? common
    : { ...common, replicas: replicas.map((index) => `replica-${index}`) };
}

/** As the `labelSelector` of a list request. */
export function toLabelSelector({ labels, replicas }: TargetSelection): string {
  const equal = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return [...equal, ...(replicas === undefined ? [] : [`llmeval/replica in (${replicas.join(",")})`])].join(
    ",",
  );
}

/** As the `selector` of a chaos object; never without a namespace, which would mean the whole cluster. */
function toPodSelector(run: RunArgs, selection: TargetSelection): Record<string, unknown> {
  const { namespace = run.namespace, labels, replicas } = selection;
  return {
    namespaces: [namespace],
    labelSelectors: labels,
    ...(replicas === undefined
      ? {}
      : { expressionSelectors: [{ key: "llmeval/replica", operator: "In", values: replicas }] }),
  };
}

/** Name of what makes one fault in one cell of one run. */
export function faultObjectName(run: RunArgs, cell: string, fault: string, maxLength?: number): string {
  return physicalName(["fault", cell, fault, run.experimentId], maxLength);
}

export function faultLabels(
  run: RunArgs,
  planned: Pick<PlannedFault, "cell" | "id">,
): Record<string, string> {
  return {
    ...labelsOf({ name: "fault", experiment: run.experiment, experimentId: run.experimentId }),
    "llmeval/cell": physicalName([planned.cell]),
    "llmeval/fault": planned.id,
  };
}

/**
 * The object that makes a fault; GPU faults have none. It lies in the run's namespace wherever its target is, so that
 * the end of that namespace is its end too.
 */
export function toChaosObject(planned: PlannedFault, run: RunArgs, size: Size): Manifest {
  const { fault } = planned;
  const selection = toTargetSelection(fault.target, run.experiment, size);
  const pods = { mode: "all", selector: toPodSelector(run, selection) };
  const duration = `${Math.ceil(planned.durationSeconds + deadManSeconds)}s`;
  const { kind, spec } = toKindAndSpec(fault, {
    pods,
    containers: { ...pods, containerNames: [selection.container] },
    duration,
    peer: (target) => ({
      mode: "all",
      selector: toPodSelector(run, toTargetSelection(target, run.experiment, size)),
    }),
    others: () => {
      const meant = targetedReplicas(fault.target, size.dataParallelism);
      const values = Array.from({ length: size.dataParallelism }, (_, index) => index)
        .filter((index) => !meant.includes(index))
        .map((index) => `replica-${index}`);
      const all = toTargetSelection("replicas", run.experiment, size);
      return { mode: "all", selector: toPodSelector(run, { ...all, replicas: values }) };
    },
  });
  return {
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind,
    metadata: {
      name: faultObjectName(run, planned.cell, planned.id),
      namespace: run.namespace,
      labels: faultLabels(run, planned),
    },
    spec,
  };
}

interface Parts {
  readonly pods: Record<string, unknown>;
  readonly containers: Record<string, unknown>;
  readonly duration: string;
  readonly peer: (target: Fault["target"]) => Record<string, unknown>;
  readonly others: () => Record<string, unknown>;
}

function toKindAndSpec(fault: Fault, parts: Parts): { kind: string; spec: Record<string, unknown> } {
  const { pods, containers, duration } = parts;
  const network = (action: string, more: Record<string, unknown>) => ({
    kind: "NetworkChaos",
    // What leaves the pod: rules of traffic control act on that side only.
    spec: { action, ...pods, direction: "to", ...more, duration },
  });
  switch (fault.kind) {
    case "cpu":
      return {
        kind: "StressChaos",
        spec: {
          ...containers,
          stressors: { cpu: { workers: fault.workers, load: fault.loadPercent } },
          duration,
        },
      };
    case "memory":
      return {
        kind: "StressChaos",
        spec: {
          ...containers,
          // The stress program reads MB as MiB, and knows no other suffix for them.
          stressors: { memory: { workers: fault.workers, size: `${fault.sizeMebibytes}MB` } },
          duration,
        },
      };
    case "network-delay":
      return network("delay", {
        delay: {
          latency: milliseconds(fault.latencyMilliseconds),
          jitter: milliseconds(fault.jitterMilliseconds),
          correlation: String(fault.correlationPercent),
        },
      });
    case "network-loss":
      return network("loss", {
        loss: { loss: String(fault.percent), correlation: String(fault.correlationPercent) },
      });
    case "network-corrupt":
      return network("corrupt", {
        corrupt: { corrupt: String(fault.percent), correlation: String(fault.correlationPercent) },
      });
    case "network-bandwidth":
      return network("bandwidth", {
        bandwidth: {
          // Their bps are bytes per second.
          rate: `${Math.max(1, Math.round((fault.rateMebibitsPerSecond * 2 ** 20) / 8))}bps`,
          limit: fault.queueKibibytes * 1024,
          buffer: fault.burstKibibytes * 1024,
        },
      });
    case "network-partition": {
      const target =
        fault.peer === "everything"
          ? {}
          : { target: fault.peer === "head" ? parts.peer("head") : parts.others() };
      return {
        kind: "NetworkChaos",
        spec: { action: "partition", ...pods, direction: "both", ...target, duration },
      };
    }
    case "pod-kill":
      // What acts once has no duration: there is nothing that could be reverted.
      return {
        kind: "PodChaos",
        spec: { action: "pod-kill", ...pods, gracePeriod: fault.gracePeriodSeconds },
      };
    case "container-kill":
      return { kind: "PodChaos", spec: { action: "container-kill", ...containers } };
    case "pod-failure":
      return { kind: "PodChaos", spec: { action: "pod-failure", ...pods, duration } };
    case "io-latency":
      return {
        kind: "IOChaos",
        spec: {
          action: "latency",
          ...containers,
          volumePath: fault.volumePath,
          delay: milliseconds(fault.latencyMilliseconds),
          percent: fault.percent,
          duration,
        },
      };
    case "io-error":
      return {
        kind: "IOChaos",
        spec: {
          action: "fault",
          ...containers,
          volumePath: fault.volumePath,
          errno: fault.errno,
          percent: fault.percent,
          duration,
        },
      };
    case "time-offset":
      return { kind: "TimeChaos", spec: { ...containers, timeOffset: `${fault.offsetSeconds}s`, duration } };
    case "gpu-power-cap":
    case "gpu-clock-cap":
      throw new Error(`${fault.kind} is no chaos object`);
  }
}

/** A fraction of a millisecond is a whole number of microseconds. */
function milliseconds(value: number): string {
  return Number.isInteger(value) ? `${value}ms` : `${Math.round(value * 1000)}us`;
}
