// The engine under test: a RayService that serves one model with one worker group per replica. The head serves nothing.

import * as pulumi from "@pulumi/pulumi";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf } from "../naming.ts";
import { parseQuantity } from "../quantity.ts";
import { ports, rayServiceName, resourcesOf } from "./conventions.ts";
import { placementOf } from "./placement.ts";
import { type Otlp, toServeConfig } from "./serve-config.ts";

export interface RayServiceArgs {
  readonly namespace: string;
  readonly experiment: ResolvedExperiment;
  /** Image of all Ray pods: ray-llm for vLLM, the Serve application around the simulator otherwise. */
  readonly image: string;
  readonly serviceAccount: string;
  /** Ray version of the image; the operator picks its health checks by it. */
  readonly rayVersion: string;
  /**
   * Verbose logs of Serve and of vLLM.
   * @default false
   */
  readonly debug?: boolean;
  /**
   * Token for gated models.
   * @default - none; only models that are free to download
   */
  readonly huggingFaceToken?: pulumi.Input<string>;
  /**
   * Where the engine sends a span for each request.
   * @default - none are sent
   */
  readonly otlp?: Otlp;
}

type PodTemplate = k8s.types.input.core.v1.PodTemplateSpec;
type Container = k8s.types.input.core.v1.Container;
type EnvVar = k8s.types.input.core.v1.EnvVar;

const tokenSecret = "hugging-face";
const tokenKey = "token";
const cachePath = "/models";

/**
 * Sessions of Ray with their log files and spilled objects. The node's log agent finds it by this name, which is also
 * that under which the operator shares the folder with its autoscaler; a pod that writes more is evicted.
 */
const raySessions = {
  volume: { name: "ray-logs", emptyDir: { sizeLimit: "10Gi" } },
  mount: { name: "ray-logs", mountPath: "/tmp/ray" },
} as const;

/** Value of Serve's custom resource: each worker of the stand-in offers one, each replica takes one. */
const replicaSlot = { replica_slot: 1 };

/** The simulator shares a few cores with all else: the smallest object store, no log tailing (Ray drops "false"). */
const frugalStartParams = { "object-store-memory": "78643200", "include-log-monitor": "no" } as const;

/**
 * Halves Ray Serve's CPU time per token (3.0 to 1.4 ms) and its idle use. Part of the stand-in: Ray's defaults stay
 * where a real engine is measured.
 */
const frugalEnv = {
  RAY_SERVE_USE_GRPC_BY_DEFAULT: "1",
  RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD: "0",
  RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP: "0",
  RAY_SERVE_LOG_TO_STDERR: "0",
  RAY_enable_worker_prestart: "0",
  RAY_prestart_worker_first_driver: "0",
} as const;

/** The whole spec of the RayService. */
export function toRayServiceSpec(args: Omit<RayServiceArgs, "namespace">): Record<string, unknown> {
  const { experiment } = args;
  const replicas = Array.from(
    { length: experiment.parallelism.dataParallelism },
    (_, index) => `replica-${index}`,
  );
  return {
    // A second cluster next to the first would need twice the accelerators; a changed spec replaces the object.
    upgradeStrategy: { type: "None" },
    excludeHeadPodFromServeSvc: true,
    serveConfigV2: toServeConfig(experiment, args),
    rayClusterConfig: {
      rayVersion: args.rayVersion,
      headGroupSpec: {
        rayStartParams: {
          "dashboard-host": "0.0.0.0",
          "num-cpus": "0",
          "num-gpus": "0",
          ...(experiment.engine === "vllm" ? {} : { "no-monitor": "true", ...frugalStartParams }),
        },
        template: headTemplate(args),
      },
      workerGroupSpecs: replicas.map((groupName) => ({
        groupName,
        replicas: 1,
        minReplicas: 1,
        maxReplicas: 1,
        numOfHosts: experiment.parallelism.podsPerReplica,
        rayStartParams: workerStartParams(experiment),
        template: workerTemplate(args, groupName),
      })),
    },
  };
}

function workerStartParams(experiment: ResolvedExperiment): Record<string, string> {
  const cpus = String(Math.max(1, Math.ceil(parseQuantity(experiment.resources.worker.cpu))));
  return experiment.engine === "vllm"
    ? { "num-cpus": cpus, "num-gpus": String(experiment.parallelism.acceleratorsPerPod) }
    : // The operator puts the value into a shell command: the outer quotes are the shell's.
      {
        "num-cpus": cpus,
        "num-gpus": "0",
        resources: JSON.stringify(JSON.stringify(replicaSlot)),
        ...frugalStartParams,
      };
}

function headTemplate(args: Omit<RayServiceArgs, "namespace">): PodTemplate {
  return podTemplate(args, "head", {
    name: "ray-head",
    image: args.image,
    env: rayEnv(args),
    ports: [
      { name: "gcs-server", containerPort: ports.gcs },
      { name: "dashboard", containerPort: ports.dashboard },
      { name: "client", containerPort: ports.client },
      { name: "metrics", containerPort: ports.metrics },
      { name: "serve", containerPort: ports.serve },
    ],
    resources: resourcesOf(args.experiment.resources.head),
    volumeMounts: [raySessions.mount],
  });
}

function workerTemplate(args: Omit<RayServiceArgs, "namespace">, groupName: string): PodTemplate {
  const { experiment } = args;
  const vllm = experiment.engine === "vllm";
  const resources = resourcesOf(experiment.resources.worker);
  const { acceleratorResource, acceleratorsPerPod } = experiment.parallelism;
  const hostPath = experiment.vllm.modelCacheHostPath;
  const container: Container = {
    name: "ray-worker",
    image: args.image,
    env: [...rayEnv(args), ...(vllm ? [{ name: "HF_HOME", value: cachePath }] : [])],
    ports: [
      { name: "metrics", containerPort: ports.metrics },
      { name: "serve", containerPort: ports.serve },
      // vLLM's own metrics leave through Ray's port; the simulator has a port of its own.
      ...(vllm ? [] : [{ name: "engine-metrics", containerPort: ports.engineMetrics }]),
    ],
    resources: vllm
      ? { ...resources, limits: { ...resources.limits, [acceleratorResource]: String(acceleratorsPerPod) } }
      : resources,
    volumeMounts: [raySessions.mount, ...(vllm ? [{ name: "models", mountPath: cachePath }] : [])],
  };
  const template = podTemplate(args, "worker", container, { "llmeval/replica": groupName });
  if (!vllm) return template;
  const models =
    hostPath === null
      ? { name: "models", emptyDir: {} }
      : { name: "models", hostPath: { path: hostPath, type: "DirectoryOrCreate" } };
  const spec = template.spec as k8s.types.input.core.v1.PodSpec;
  return { ...template, spec: { ...spec, volumes: [raySessions.volume, models] } };
}

function podTemplate(
  args: Omit<RayServiceArgs, "namespace">,
  group: "head" | "worker",
  container: Container,
  labels: Record<string, string> = {},
): PodTemplate {
  return {
    // The services that the operator makes select pods with its own name; another one would leave them empty.
    metadata: { labels: { ...labelsOf({ name: "kuberay", experiment: args.experiment.name }), ...labels } },
    spec: {
      ...placementOf(args.experiment, group),
      serviceAccountName: args.serviceAccount,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      // The container's shell ignores SIGTERM; nothing that was measured is left in the pod by then.
      terminationGracePeriodSeconds: 10,
      containers: [{ ...container, securityContext: { allowPrivilegeEscalation: false } }],
      volumes: [raySessions.volume],
    },
  };
}

function rayEnv(args: Omit<RayServiceArgs, "namespace">): EnvVar[] {
  const { otlp } = args;
  // vLLM has its address from its arguments.
  const tracing: Record<string, string> =
    otlp === undefined
      ? {}
      : args.experiment.engine === "vllm"
        ? { OTEL_SERVICE_NAME: "vllm", OTEL_EXPORTER_OTLP_TRACES_INSECURE: "true" }
        : { OTEL_SERVICE_NAME: "llm-d-inference-sim", OTEL_EXPORTER_OTLP_ENDPOINT: otlp.http };
  const frugal: Record<string, string> = args.experiment.engine === "vllm" ? {} : frugalEnv;
  const verbose: Record<string, string> =
    args.debug !== true
      ? {}
      : args.experiment.engine === "vllm"
        ? { VLLM_LOGGING_LEVEL: "DEBUG" }
        : { RAY_SERVE_LOG_TO_STDERR: "1" };
  const asked: Record<string, string> =
    args.experiment.engine === "vllm" ? args.experiment.vllm.environment : {};
  const all = {
    RAY_USAGE_STATS_ENABLED: "0",
    ...frugal,
    ...tracing,
    ...verbose,
    // Ray's own killer would act before the kernel does, and hide what a memory fault does.
    RAY_memory_monitor_refresh_ms: "0",
    ...asked,
  };
  return [
    ...Object.entries(all).map(([name, value]) => ({ name, value })),
    ...(args.huggingFaceToken === undefined
      ? []
      : [{ name: "HF_TOKEN", valueFrom: { secretKeyRef: { name: tokenSecret, key: tokenKey } } }]),
  ];
}

export class RayService extends pulumi.ComponentResource {
  readonly service: k8s.apiextensions.CustomResource;

  constructor(name: string, args: RayServiceArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:RayService", name, {}, opts);
    const { namespace, experiment } = args;
    const inNamespace = { parent: this, deletedWith: opts.deletedWith };
    const labels = labelsOf({ name: "ray-service", experiment: experiment.name });

    const secrets =
      args.huggingFaceToken === undefined
        ? []
        : [
            new k8s.core.v1.Secret(
              `${name}-hugging-face`,
              {
                metadata: { name: tokenSecret, namespace, labels },
                stringData: { [tokenKey]: args.huggingFaceToken },
              },
              inNamespace,
            ),
          ];
    this.service = new k8s.apiextensions.CustomResource(
      `${name}-service`,
      {
        apiVersion: "ray.io/v1",
        kind: "RayService",
        metadata: {
          name: rayServiceName,
          namespace,
          labels,
          annotations: {
            "pulumi.com/waitFor": "condition=Ready",
            "pulumi.com/timeoutSeconds": String(experiment.timeouts.serviceReadySeconds),
            // The operator writes the spec back with its defaults and so owns it; after a cut while this waited, the
            // next `up` creates it once more and would meet a conflict.
            "pulumi.com/patchForce": "true",
          },
        },
        spec: toRayServiceSpec(args),
      },
      // Upgrade strategy None ignores most changes of a live object; a new engine is a new object.
      { ...inNamespace, dependsOn: secrets, replaceOnChanges: ["spec"], deleteBeforeReplace: true },
    );
    this.registerOutputs({});
  }
}
