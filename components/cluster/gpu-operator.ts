// NVIDIA GPU operator from its Helm chart: container toolkit, device plugin, DCGM exporter; driver and MIG when asked for.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as yaml from "yaml";
import * as z from "zod";
import { contentHash } from "../naming.ts";
import { chartSchema, toRelease } from "./charts/chart.ts";
import { checkTimeouts, toCheckJobSpec } from "./common/check-job.ts";
import { childOptions, objectLabels, type PartArgs, partSchema, toResources } from "./common/part.ts";

const dcgmFieldSchema = z
  .string()
  .regex(/^DCGM_[A-Z0-9_]+, *(gauge|counter|label), *\S/, 'expected "FIELD, gauge|counter|label, help"');

/** Section `gpuOperator` of a cluster's configuration. */
export const gpuOperatorSchema = partSchema(
  {
    chart: chartSchema("gpuOperator"),
    /** `host`: the hosts have a driver; `operator`: a pod on each GPU host installs one. */
    driver: z.enum(["host", "operator"]).default("host"),
    /** Version of the operator's driver. @default the chart's */
    driverVersion: z.string().min(1).optional(),
    /**
     * How GPUs come into containers: `toolkit` writes containerd's configuration and restarts K3s once on each GPU host;
     * `nri` is a plug-in of containerd (2.1 or later) without a restart, which NVIDIA does not call ready yet.
     */
    containerRuntime: z.enum(["toolkit", "nri"]).default("toolkit"),
    /** Pods that take turns on each GPU. Latencies are then those of a shared GPU. @default each GPU has one pod */
    timeSlicingReplicas: z.int().min(2).max(64).optional(),
    /** Cuts GPUs in parts of their own memory. @default whole GPUs */
    mig: z
      .strictObject({
        /** `single`: parts are nvidia.com/gpu; `mixed`: nvidia.com/mig-<profile>. */
        strategy: z.enum(["single", "mixed"]).default("single"),
        /** Name in the MIG manager's configuration, for GPU hosts without the label nvidia.com/mig.config. */
        profile: z.string().regex(/^all-[a-z0-9.+-]+$/, "expected a name such as all-1g.10gb"),
      })
      .optional(),
    dcgm: z
      .strictObject({
        /** How often each GPU's fields are read. */
        intervalMilliseconds: z.int().min(1000).max(5000).default(1000),
        /** More lines of the exporter's list of fields. */
        extraFields: z.array(dcgmFieldSchema).default([]),
        /** Labels of the pod on a GPU that its series carry, as regular expressions. */
        podLabels: z
          .array(z.string().regex(/^[^,]+$/, "expected a regular expression without a comma"))
          .default(["^app$", "^ray\\.io/(cluster|group)$", "^llmeval/experiment(-id)?$"]),
      })
      .prefault({}),
    /** Root of the kubelet, when it was moved. @default /var/lib/kubelet */
    kubeletRootDir: z.string().startsWith("/").optional(),
    /** How long drivers, toolkit and device plugin of all GPU hosts may take. */
    readyTimeoutSeconds: z.int().min(60).default(1800),
  },
  "off",
).superRefine((config, context) => {
  if (config.driver === "host" && config.driverVersion !== undefined) {
    const message = "only driver: operator installs one; remove driverVersion or set driver: operator";
    context.addIssue({ code: "custom", path: ["driverVersion"], message });
  }
  if (config.mig !== undefined && config.timeSlicingReplicas !== undefined) {
    const message = "GPUs are either cut by mig or shared in time; remove one of the two";
    context.addIssue({ code: "custom", path: ["timeSlicingReplicas"], message });
  }
});

export type GpuOperatorConfig = z.output<typeof gpuOperatorSchema>;

/** What the operator's part has to know of the cluster. */
export interface GpuFacts {
  /** GPUs of each node that has some; empty when the nodes are not known. */
  readonly gpus: Readonly<Record<string, number>>;
}

export interface GpuOperatorArgs extends PartArgs {
  readonly config: GpuOperatorConfig;
  readonly facts: GpuFacts;
  /** Image with Node, for the Job that waits for the GPUs. */
  readonly image: string;
}

const gpuNamespace = "gpu-operator";
const checkName = "gpu-ready";
/** How long everything must stay ready: after an upgrade the old status stands for a moment. */
const steadySeconds = 15;
/** Window in which the exporter counts clock events and XIDs; its own five minutes outlast a fault. */
const countWindowMilliseconds = 10_000;

/** Fields of the metrics catalogue, in the notation of the exporter. */
const dcgmFields = [
  "DCGM_FI_DEV_SM_CLOCK, gauge, SM clock (MHz).",
  "DCGM_FI_DEV_MEM_CLOCK, gauge, Memory clock (MHz).",
  "DCGM_FI_DEV_APP_SM_CLOCK, gauge, SM clock that applications may use (MHz).",
  "DCGM_FI_DEV_APP_MEM_CLOCK, gauge, Memory clock that applications may use (MHz).",
  "DCGM_FI_DEV_CLOCKS_EVENT_REASONS, gauge, Why clocks are lowered now (bit mask).",
  "DCGM_EXP_CLOCK_EVENTS_COUNT, gauge, Clock events in the window by reason.",
  "DCGM_FI_DEV_GPU_TEMP, gauge, GPU temperature (C).",
  "DCGM_FI_DEV_MEMORY_TEMP, gauge, Memory temperature (C).",
  "DCGM_FI_DEV_POWER_USAGE, gauge, Power draw (W).",
  "DCGM_FI_DEV_POWER_MGMT_LIMIT, gauge, Power limit set (W).",
  "DCGM_FI_DEV_ENFORCED_POWER_LIMIT, gauge, Power limit that acts after all limiters (W).",
  "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION, counter, Energy since boot (mJ).",
  "DCGM_FI_DEV_POWER_VIOLATION, counter, Time slowed by the power limit (ns).",
  "DCGM_FI_DEV_THERMAL_VIOLATION, counter, Time slowed by temperature (ns).",
  "DCGM_FI_DEV_RELIABILITY_VIOLATION, counter, Time slowed by reliability limits (ns).",
  "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION, counter, Time slowed by the board's limits (ns).",
  "DCGM_FI_DEV_GPU_UTIL, gauge, Time with a kernel running (%).",
  "DCGM_FI_DEV_MEM_COPY_UTIL, gauge, Time with memory read or written (%).",
  "DCGM_FI_DEV_FB_USED, gauge, Memory used (MiB).",
  "DCGM_FI_DEV_FB_FREE, gauge, Memory free (MiB).",
  "DCGM_FI_DEV_XID_ERRORS, gauge, Number of the last XID error.",
  "DCGM_EXP_XID_ERRORS_COUNT, gauge, XID errors in the window by number.",
  "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL, counter, Single-bit ECC errors since boot.",
  "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL, counter, Double-bit ECC errors since boot.",
  "DCGM_FI_DEV_PCIE_REPLAY_COUNTER, counter, PCIe retries.",
  "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL, counter, NVLink traffic over all lanes.",
  "DCGM_FI_PROF_GR_ENGINE_ACTIVE, gauge, Share of time with the graphics engine active.",
  "DCGM_FI_PROF_SM_ACTIVE, gauge, Share of cycles with a warp on the SMs.",
  "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE, gauge, Share of cycles with the tensor pipe active.",
  "DCGM_FI_PROF_DRAM_ACTIVE, gauge, Share of cycles with memory active.",
  "DCGM_FI_PROF_PCIE_TX_BYTES, gauge, PCIe traffic from the GPU (bytes/s).",
  "DCGM_FI_PROF_PCIE_RX_BYTES, gauge, PCIe traffic to the GPU (bytes/s).",
  "DCGM_FI_DRIVER_VERSION, label, Driver version.",
] as const;

/** The DCGM exporter's list of fields. */
export function toDcgmFields(config: GpuOperatorConfig): string {
  return `${[...dcgmFields, ...config.dcgm.extraFields].join("\n")}\n`;
}

/** The device plugin's configuration; none when each GPU has one pod. */
export function toSharing(config: GpuOperatorConfig): Record<string, unknown> | undefined {
  const replicas = config.timeSlicingReplicas;
  if (replicas === undefined) return undefined;
  return {
    version: "v1",
    sharing: {
      timeSlicing: {
        // Two shares would be of one GPU or of two, as it comes, and never twice the speed.
        failRequestsGreaterThanOne: true,
        resources: [{ name: "nvidia.com/gpu", replicas }],
      },
    },
  };
}

/** Names of the ConfigMaps that the values point at. */
export interface GpuConfigMaps {
  readonly dcgm: string;
  readonly sharing?: string;
}

/** Values of the chart. */
export function toGpuOperatorValues(
  config: GpuOperatorConfig,
  configMaps: GpuConfigMaps,
): Record<string, unknown> {
  const { dcgm, mig } = config;
  const nri = config.containerRuntime === "nri";
  const small = toResources("10m", "64Mi", "256Mi");
  return {
    driver: {
      enabled: config.driver === "operator",
      ...(config.driverVersion === undefined ? {} : { version: config.driverVersion }),
    },
    cdi: { enabled: true, nriPluginEnabled: nri },
    toolkit: {
      enabled: true,
      resources: small,
      // Only the socket is K3s's own, under any data directory. Its containerd configuration is not named: K3s writes it
      // anew at each start, and finds the runtime where the toolkit installs it.
      ...(nri ? {} : { env: [{ name: "CONTAINERD_SOCKET", value: "/run/k3s/containerd/containerd.sock" }] }),
    },
    devicePlugin: {
      resources: small,
      ...(configMaps.sharing === undefined
        ? {}
        : { config: { name: configMaps.sharing, default: "default" } }),
    },
    mig: { strategy: mig?.strategy ?? "single" },
    // Without a wish for MIG nothing may reset GPUs to another mode.
    migManager:
      mig === undefined
        ? { enabled: false }
        : { enabled: true, resources: small, config: { default: mig.profile } },
    dcgmExporter: {
      enabled: true,
      config: { name: configMaps.dcgm },
      env: [
        { name: "DCGM_EXPORTER_INTERVAL", value: String(dcgm.intervalMilliseconds) },
        { name: "DCGM_EXPORTER_CLOCK_EVENTS_COUNT_WINDOW_SIZE", value: String(countWindowMilliseconds) },
        { name: "DCGM_EXPORTER_XID_COUNT_WINDOW_SIZE", value: String(countWindowMilliseconds) },
      ],
      ...(dcgm.podLabels.length > 0
        ? { enablePodLabels: true, podLabelAllowlistRegex: [...dcgm.podLabels] }
        : {}),
      resources: toResources("100m", "256Mi", "1Gi"),
      serviceMonitor: { enabled: false },
    },
    gfd: { resources: small },
    validator: { resources: small },
    "node-feature-discovery": {
      master: { resources: small },
      worker: { resources: small },
      gc: { resources: small },
    },
    ...(config.kubeletRootDir === undefined ? {} : { hostPaths: { kubeletRootDir: config.kubeletRootDir } }),
  };
}

/** How many nvidia.com/gpu each node must offer; with MIG that depends on the GPUs' type, so nothing is asked. */
export function toExpectedGpus(config: GpuOperatorConfig, facts: GpuFacts): Record<string, number> {
  if (config.mig !== undefined) return {};
  const shares = config.timeSlicingReplicas ?? 1;
  return Object.fromEntries(Object.entries(facts.gpus).map(([node, count]) => [node, count * shares]));
}

/** What the waiting Job may read. */
const checkRules: k8s.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: ["nvidia.com"], resources: ["clusterpolicies"], verbs: ["get"] },
  { apiGroups: [""], resources: ["nodes"], verbs: ["get"] },
];

/**
 * Waits until the operator says that all is ready and each node offers its GPUs. The operator says so too when it has
 * found no GPU at all, and Helm does not look at it. Restarts of K3s, during which the API does not answer, are expected.
 */
export const gpuReadyScript = `import { readFileSync } from "node:fs";
const { API_URL, TOKEN_FILE, EXPECTED_GPUS, TIMEOUT_SECONDS, STEADY_SECONDS, POLL_SECONDS } = process.env;
async function get(path) {
  const headers = { authorization: "Bearer " + readFileSync(TOKEN_FILE, "utf8").trim() };
  const response = await fetch(API_URL + path, { headers, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error("GET " + path + ": HTTP " + response.status);
  return response.json();
}
async function problem() {
  const { status } = await get("/apis/nvidia.com/v1/clusterpolicies/cluster-policy");
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  if (status?.state !== "ready" || ready?.status !== "True") {
    const error = status?.conditions?.find(({ type, status }) => type === "Error" && status === "True");
    return "the GPU operator is " + (status?.state ?? "starting") + (error ? ": " + error.message : "");
  }
  if (ready.reason !== "Reconciled") return "the GPU operator sees no GPU: " + ready.message;
  for (const [node, expected] of Object.entries(JSON.parse(EXPECTED_GPUS))) {
    const offered = (await get("/api/v1/nodes/" + node)).status.allocatable?.["nvidia.com/gpu"] ?? "0";
    if (offered !== String(expected)) return "node " + node + " offers " + offered + " of " + expected + " nvidia.com/gpu";
  }
}
const end = Date.now() + TIMEOUT_SECONDS * 1000;
let last = null;
let readySince;
while (Date.now() < end) {
  const now = await problem().catch((error) => "the API server does not answer: " + (error.cause?.message ?? error.message));
  if (now !== last) console.log(now ?? "ready");
  readySince = now === undefined ? (readySince ?? Date.now()) : undefined;
  if (readySince !== undefined && Date.now() - readySince >= STEADY_SECONDS * 1000) process.exit(0);
  last = now;
  await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000));
}
console.error("not ready within " + TIMEOUT_SECONDS + " s: " + (last ?? "ready, but not for long enough"));
process.exit(1);
`;

const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

export class GpuOperator extends pulumi.ComponentResource {
  /** Complete when every node offers its GPUs. */
  readonly ready: pulumi.Resource;

  constructor(name: string, args: GpuOperatorArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:GpuOperator", name, {}, opts);
    const { config } = args;
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: gpuNamespace,
          labels: {
            ...objectLabels("gpu-operator"),
            "pod-security.kubernetes.io/enforce": "privileged",
          },
        },
      },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    const dcgm = this.#configMap(
      `${name}-dcgm`,
      "dcgm-metrics",
      "dcgm-metrics.csv",
      toDcgmFields(config),
      child,
    );
    const sharing = toSharing(config);
    const plugin =
      sharing === undefined
        ? undefined
        : this.#configMap(`${name}-sharing`, "device-plugin", "default", yaml.stringify(sharing), child);
    const values = toGpuOperatorValues(config, { dcgm: dcgm.name, sharing: plugin?.name });
    const release = new k8s.helm.v3.Release(
      `${name}-release`,
      toRelease({ chart: config.chart, name: "gpu-operator", namespace: gpuNamespace, values }),
      childOptions(this, args, {
        dependsOn: [dcgm.resource, ...(plugin === undefined ? [] : [plugin.resource])],
      }),
    );
    this.ready = this.#ready(name, args, values, child, release);
    this.registerOutputs({});
  }

  /** A ConfigMap whose name changes with its content: then the operator rolls out the pods that read it. */
  #configMap(
    name: string,
    prefix: string,
    key: string,
    content: string,
    child: pulumi.CustomResourceOptions,
  ): { name: string; resource: pulumi.Resource } {
    const physicalName = `${prefix}-${contentHash(content)}`;
    const metadata = { name: physicalName, namespace: gpuNamespace, labels: objectLabels("gpu-operator") };
    return {
      name: physicalName,
      resource: new k8s.core.v1.ConfigMap(name, { metadata, data: { [key]: content } }, child),
    };
  }

  #ready(
    name: string,
    args: GpuOperatorArgs,
    values: Record<string, unknown>,
    child: pulumi.CustomResourceOptions,
    release: pulumi.Resource,
  ): pulumi.Resource {
    const { config } = args;
    const metadata = { name: checkName, namespace: gpuNamespace, labels: objectLabels(checkName) };
    const clusterName = `llmeval-${checkName}`;
    const account = new k8s.core.v1.ServiceAccount(`${name}-ready-account`, { metadata }, child);
    const role = new k8s.rbac.v1.ClusterRole(
      `${name}-ready-role`,
      { metadata: { name: clusterName, labels: metadata.labels }, rules: checkRules },
      child,
    );
    const binding = new k8s.rbac.v1.ClusterRoleBinding(
      `${name}-ready-binding`,
      {
        metadata: { name: clusterName, labels: metadata.labels },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterName },
        subjects: [{ kind: "ServiceAccount", name: checkName, namespace: gpuNamespace }],
      },
      child,
    );
    const program = this.#configMap(`${name}-ready-program`, checkName, "main.mjs", gpuReadyScript, child);
    const spec = toCheckJobSpec({
      name: checkName,
      image: args.image,
      configMapName: program.name,
      env: {
        API_URL: "https://kubernetes.default.svc",
        NODE_EXTRA_CA_CERTS: `${tokenFolder}/ca.crt`,
        TOKEN_FILE: `${tokenFolder}/token`,
        EXPECTED_GPUS: JSON.stringify(toExpectedGpus(config, args.facts)),
        TIMEOUT_SECONDS: String(config.readyTimeoutSeconds),
        STEADY_SECONDS: String(steadySeconds),
        POLL_SECONDS: "5",
      },
      timeoutSeconds: config.readyTimeoutSeconds,
      serviceAccount: checkName,
    });
    const revision = contentHash(JSON.stringify([config.chart, values, spec]));
    return new k8s.batch.v1.Job(
      `${name}-ready`,
      {
        metadata: {
          ...metadata,
          // What is asked for is checked anew whenever it changes.
          name: `${checkName}-${revision}`,
          // A failed check is made again by the next `up`, and not just looked at.
          annotations: { "pulumi.com/replaceUnready": "true" },
        },
        spec,
      },
      childOptions(this, args, {
        dependsOn: [release, account, role, binding, program.resource],
        customTimeouts: checkTimeouts(config.readyTimeoutSeconds),
      }),
    );
  }
}
