// Helm charts: which ones, from where, and the inputs of their releases. Files come from the cache (charts-cache.ts).

import * as z from "zod";
import { versions } from "../../versions.ts";
import { pinFields, urlSchema } from "../common/part.ts";
import { checkPin } from "../common/pin.ts";

/** One version of a chart and the repository that serves it. */
export interface ChartRef {
  /** Address of the folder that holds the repository's index.yaml. */
  readonly repository: string;
  readonly name: string;
  readonly version: string;
  /** Of the .tgz. @default the digest in the lock file */
  readonly sha256?: string;
  /** File in sha256sum's format that names `<name>-<version>.tgz`. @default the digest in the lock file */
  readonly sha256File?: string;
}

const istioRepository = "https://istio-release.storage.googleapis.com/charts";

/** Every chart of the project at its default. */
export const charts = {
  cilium: { repository: "https://helm.cilium.io", name: "cilium", version: versions.cilium },
  istioBase: { repository: istioRepository, name: "base", version: versions.istio },
  istiod: { repository: istioRepository, name: "istiod", version: versions.istio },
  istioCni: { repository: istioRepository, name: "cni", version: versions.istio },
  ztunnel: { repository: istioRepository, name: "ztunnel", version: versions.istio },
  gpuOperator: {
    repository: "https://helm.ngc.nvidia.com/nvidia",
    name: "gpu-operator",
    version: versions.gpuOperator,
  },
  deepflow: {
    repository: "https://deepflowio.github.io/deepflow",
    name: "deepflow",
    version: versions.deepflow,
  },
  kuberay: {
    repository: "https://ray-project.github.io/kuberay-helm",
    name: "kuberay-operator",
    version: versions.kuberay,
  },
  chaosMesh: {
    repository: "https://charts.chaos-mesh.org",
    name: "chaos-mesh",
    version: versions.chaosMesh,
  },
} as const satisfies Readonly<Record<string, ChartRef>>;

/** Schema of a section's key `chart`; its value also carries the chart's name. */
export function chartSchema(key: keyof typeof charts) {
  const { repository, name, version } = charts[key];
  return z
    .strictObject({
      /** Helm repository: the folder of its index.yaml. */
      repository: urlSchema.default(repository),
      version: z
        .string()
        .regex(/^v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?$/, "expected an exact chart version")
        .default(version),
      ...pinFields,
    })
    .superRefine(checkPin)
    .transform((chart): ChartRef => ({ ...chart, name }))
    .prefault({});
}

/** Cache of charts; relative to the project. */
export const chartsFolder = ".charts";

/** File name of a packed chart. */
export function chartFile(chart: ChartRef): string {
  return `${chart.name}-${chart.version}.tgz`;
}

/** Charts in the sections of a cluster's configuration whose mode is on, each file once. */
export function chartsOf(config: object): ChartRef[] {
  const sections = Object.values(config).filter((section) => section?.mode === "on");
  const found = sections.flatMap((section) => findCharts(section));
  return [...new Map(found.map((chart) => [chartFile(chart), chart])).values()];
}

/** A part may have several charts, in a map of its own. */
function findCharts(value: unknown): ChartRef[] {
  if (typeof value !== "object" || value === null) {
    return [];
  }
  const { repository, name, version } = value as Partial<ChartRef>;
  return repository !== undefined && name !== undefined && version !== undefined
    ? [value as ChartRef]
    : Object.values(value).flatMap(findCharts);
}

export interface ReleaseArgs {
  readonly chart: ChartRef;
  /** Name of the release. */
  readonly name: string;
  readonly namespace: string;
  readonly values: Record<string, unknown>;
  /** How long the release's objects may take to become ready. @default 600 */
  readonly timeoutSeconds?: number;
  /** Leave out the chart's crds/ folder. @default false */
  readonly skipCrds?: boolean;
}

/** Inputs of a helm.v3.Release that reads its chart from the cache. */
export function toRelease(args: ReleaseArgs) {
  return {
    name: args.name,
    namespace: args.namespace,
    // Relative to the project, where plug-ins run: the state must not name a folder of one machine.
    chart: `${chartsFolder}/${chartFile(args.chart)}`,
    version: args.chart.version,
    values: args.values,
    timeout: args.timeoutSeconds ?? 600,
    skipCrds: args.skipCrds ?? false,
    // A failed install stays for inspection; the next `up` upgrades it.
    atomic: false,
    maxHistory: 5,
    dependencyUpdate: false,
  };
}
