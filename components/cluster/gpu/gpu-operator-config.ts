// The section `gpuOperator` of a cluster's configuration, and what it makes of the chart: values, metrics, sharing.

import * as z from "zod";
import { chartSchema } from "../charts/chart.ts";
import { partSchema, toResources } from "../common/part.ts";

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
