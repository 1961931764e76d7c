// What the parts of an experiment agree on: names, ports, paths and the shape of a Job.

import type * as k8s from "@pulumi/kubernetes";
import { existingUrl } from "../../experiments/existing.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import type { Placement } from "./placement.ts";

type PodSpec = k8s.types.input.core.v1.PodSpec;
type Volume = k8s.types.input.core.v1.Volume;
type VolumeMount = k8s.types.input.core.v1.VolumeMount;

/** One run of one experiment, as every component needs it. */
export interface RunArgs {
  readonly namespace: string;
  /** The experiment's name, e.g. `smoke`. */
  readonly experiment: string;
  /** The run's id, e.g. `smoke-r1-3f9ac2`. */
  readonly experimentId: string;
  /** Verbose logs, and pods that stay for a day longer. @default false */
  readonly debug?: boolean;
}

/** Name of the RayService; the operator derives the names of its Services from it. */
export const rayServiceName = "llm";
export const serveService = `${rayServiceName}-serve-svc`;
export const headService = `${rayServiceName}-head-svc`;
export const ports = {
  serve: 8000,
  dashboard: 8265,
  gcs: 6379,
  client: 10001,
  metrics: 8080,
  engineMetrics: 8200,
  reader: 8080,
};

export const resultsClaim = "results";
export const resultsService = "results";
export const resultsPath = "/results";
export const configPath = "/config";
export const appPath = "/app";

/** Where the engine answers, without /v1: as pods of its namespace call it, or from anywhere in the cluster. */
export function serveUrl(
  experiment: Pick<ResolvedExperiment, "engine" | "existing">,
  namespace?: string,
): string {
  const host = namespace === undefined ? serveService : `${serveService}.${namespace}.svc`;
  return existingUrl(experiment) ?? `http://${host}:${ports.serve}`;
}

/** Directory of a run on the results volume. */
export function resultsDirectory(experimentId: string): string {
  return `${resultsPath}/${experimentId}`;
}

/** Time for a Job's pod to be scheduled and its image to be pulled, on top of what the program itself may take. */
export const startAllowanceSeconds = 300;

// One user for all parts: files that the gate made can be written next to by the load and the collector.
const userId = 1000;

export interface ResourceArgs {
  readonly cpu: string;
  readonly memory: string;
}

export interface WorkloadPodArgs {
  readonly container: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly resources: ResourceArgs;
  readonly placement: Placement;
  readonly serviceAccount: string;
  /** Whether the program calls the Kubernetes API. */
  readonly usesApi: boolean;
  readonly volumes: readonly { readonly volume: Volume; readonly mount: Omit<VolumeMount, "name"> }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  /** @default "Never" */
  readonly restartPolicy?: "Never" | "OnFailure" | "Always";
  /** @default 30 */
  readonly terminationGracePeriodSeconds?: number;
}

/** A pod of ours: no privileges, own service account, no token unless it needs one. */
export function workloadPodSpec(args: WorkloadPodArgs): PodSpec {
  return {
    ...args.placement,
    restartPolicy: args.restartPolicy ?? "Never",
    serviceAccountName: args.serviceAccount,
    automountServiceAccountToken: args.usesApi,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: args.terminationGracePeriodSeconds ?? 30,
    securityContext: { runAsNonRoot: true, runAsUser: userId, runAsGroup: userId, fsGroup: userId },
    containers: [
      {
        name: args.container,
        image: args.image,
        ...(args.command === undefined ? {} : { command: [...args.command] }),
        ...(args.args === undefined ? {} : { args: [...args.args] }),
        env: Object.entries(args.env).map(([name, value]) => ({ name, value })),
        ...(args.ports === undefined ? {} : { ports: [...args.ports] }),
        resources: resourcesOf(args.resources),
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        },
        volumeMounts: args.volumes.map(({ volume, mount }) => ({ name: volume.name, ...mount })),
      },
    ],
    volumes: args.volumes.map(({ volume }) => volume),
  };
}

/** Requests for both, a limit for memory only: a CPU limit throttles in bursts and would show up as latency. */
export function resourcesOf(resources: ResourceArgs): k8s.types.input.core.v1.ResourceRequirements {
  return { requests: { cpu: resources.cpu, memory: resources.memory }, limits: { memory: resources.memory } };
}

export interface JobSpecArgs {
  readonly labels: Readonly<Record<string, string>>;
  /** How long the program may take; time to start is added. */
  readonly programSeconds: number;
  readonly pod: PodSpec;
  /** How often the program may begin again. @default 0 */
  readonly backoffLimit?: number;
  /** Lets a pod that hangs, or that never starts, stay for a day: at a Job's deadline its pods are deleted. @default false */
  readonly debug?: boolean;
}

const debugSeconds = 86_400;

/**
 * A Job that runs once. No ttlSecondsAfterFinished: a refresh after the deletion would run the experiment again.
 * Pulumi's own wait for a Job has no deadline that holds, so activeDeadlineSeconds bounds it.
 */
export function jobSpec(args: JobSpecArgs): k8s.types.input.batch.v1.JobSpec {
  return {
    activeDeadlineSeconds:
      Math.ceil(args.programSeconds) + startAllowanceSeconds + (args.debug === true ? debugSeconds : 0),
    backoffLimit: args.backoffLimit ?? 0,
    podReplacementPolicy: "Failed",
    template: { metadata: { labels: { ...args.labels } }, spec: args.pod },
  };
}

/** Annotations of a Job that plays on in the cluster while Pulumi goes on. */
export const jobAnnotations = { "pulumi.com/skipAwait": "true" };

export function resultsVolume(readOnly: boolean): WorkloadPodArgs["volumes"][number] {
  return {
    volume: { name: "results", persistentVolumeClaim: { claimName: resultsClaim, readOnly } },
    mount: { mountPath: resultsPath, readOnly },
  };
}

export function configVolume(configMap: string): WorkloadPodArgs["volumes"][number] {
  return {
    volume: { name: "config", configMap: { name: configMap } },
    mount: { mountPath: configPath, readOnly: true },
  };
}
