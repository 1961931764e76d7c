// What shows a fault: for each kind the indicators on a pod, read from the exported metrics and the conductor's probes.
import { createReadStream, existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createGunzip } from "node:zlib";
import type { ProbeLine } from "../shared/faults.ts";
import { toMs } from "../shared/time.ts";
import type { Sample, Scale } from "./measure.ts";
import type { Series } from "./prometheus.ts";

export interface Indicator extends Scale {
  readonly name: string;
  readonly unit: string;
}

const up = { direction: "up" } as const;
const indicators = {
  cpu: { name: "cpu", unit: "cores", ...up, absoluteFloor: 0.02, relativeFloor: 0.05 },
  throttling: {
    name: "cpu-throttled",
    unit: "share of periods",
    ...up,
    absoluteFloor: 0.01,
    relativeFloor: 0,
  },
  memory: { name: "memory-working-set", unit: "bytes", ...up, absoluteFloor: 2 ** 21, relativeFloor: 0.01 },
  connect: { name: "connect-time", unit: "ms", ...up, absoluteFloor: 0.2, relativeFloor: 0.1 },
  lost: { name: "connects-lost", unit: "share", ...up, absoluteFloor: 0.01, relativeFloor: 0 },
  sent: {
    name: "network-sent",
    unit: "bytes/s",
    direction: "either",
    absoluteFloor: 1024,
    relativeFloor: 0.05,
  },
  io: { name: "io-waiting", unit: "s/s", ...up, absoluteFloor: 0.005, relativeFloor: 0.05 },
  gpuPowerLimit: {
    name: "gpu-power-limit",
    unit: "W",
    direction: "down",
    absoluteFloor: 1,
    relativeFloor: 0,
  },
  gpuClock: { name: "gpu-clock", unit: "MHz", direction: "down", absoluteFloor: 15, relativeFloor: 0.01 },
} as const satisfies Readonly<Record<string, Indicator>>;

/** What shows each kind directly on its target; kinds that show in a pod's life have none, a wrong clock shows nowhere. */
const indicatorsOfKind: Readonly<Record<string, readonly Indicator[]>> = {
  cpu: [indicators.cpu, indicators.throttling],
  memory: [indicators.memory],
  "network-delay": [indicators.connect],
  "network-loss": [indicators.lost],
  "network-corrupt": [indicators.lost],
  "network-bandwidth": [indicators.sent],
  "network-partition": [indicators.lost, indicators.sent],
  "io-latency": [indicators.io],
  "io-error": [indicators.io],
  "gpu-power-cap": [indicators.gpuPowerLimit],
  "gpu-clock-cap": [indicators.gpuClock],
};

export function indicatorsOf(kind: string): readonly Indicator[] {
  return indicatorsOfKind[kind] ?? [];
}

/** What must stay still in a cell without a fault. */
export const controlIndicators: readonly Indicator[] = [indicators.cpu, indicators.memory, indicators.lost];

type Labels = Readonly<Record<string, string>>;

/** One metric that holds an indicator; the first with samples enough is used. */
interface Source {
  readonly indicator: string;
  readonly metric: string;
  /** A counter becomes a rate per second. */
  readonly counter: boolean;
  /** Counted against another counter of the same labels. */
  readonly per?: string;
  readonly accepts: (labels: Labels) => boolean;
}

const isEngine = ({ container }: Labels): boolean => container === "ray-worker" || container === "ray-head";
const isWholePod = ({ container }: Labels): boolean => container === undefined || container === "";
const sources: readonly Source[] = [
  // The kubelet makes these anew for each scrape; cAdvisor's own are up to 15 s old.
  { indicator: "cpu", metric: "pod_cpu_usage_seconds_total", counter: true, accepts: () => true },
  { indicator: "cpu", metric: "container_cpu_usage_seconds_total", counter: true, accepts: isEngine },
  { indicator: "cpu", metric: "container_cpu_usage_seconds_total", counter: true, accepts: isWholePod },
  {
    indicator: "cpu-throttled",
    metric: "container_cpu_cfs_throttled_periods_total",
    per: "container_cpu_cfs_periods_total",
    counter: true,
    accepts: isEngine,
  },
  {
    indicator: "memory-working-set",
    metric: "pod_memory_working_set_bytes",
    counter: false,
    accepts: () => true,
  },
  {
    indicator: "memory-working-set",
    metric: "container_memory_working_set_bytes",
    counter: false,
    accepts: isEngine,
  },
  {
    indicator: "memory-working-set",
    metric: "container_memory_working_set_bytes",
    counter: false,
    accepts: isWholePod,
  },
  {
    indicator: "network-sent",
    metric: "container_network_transmit_bytes_total",
    counter: true,
    accepts: (labels) => labels["interface"] === undefined || labels["interface"] === "eth0",
  },
  {
    indicator: "io-waiting",
    metric: "container_pressure_io_waiting_seconds_total",
    counter: true,
    accepts: isEngine,
  },
  {
    indicator: "gpu-power-limit",
    metric: "DCGM_FI_DEV_POWER_MGMT_LIMIT",
    counter: false,
    accepts: () => true,
  },
  { indicator: "gpu-clock", metric: "DCGM_FI_DEV_SM_CLOCK", counter: false, accepts: () => true },
];

/** All series that an indicator needs, by pod; read once. */
export class MetricFiles {
  /** Key: metric, pod, and the other labels. */
  readonly #series = new Map<
    string,
    { readonly labels: Labels; readonly values: (readonly [number, number])[] }
  >();

  static async read(folder: string): Promise<MetricFiles> {
    const files = new MetricFiles();
    const wanted = [
      ...new Set(sources.flatMap(({ metric, per }) => (per === undefined ? [metric] : [metric, per]))),
    ];
    const marks = wanted.map((name) => `"__name__":"${name}"`);
    if (!existsSync(folder)) return files;
    for (const name of (await readdir(folder)).filter((file) => file.endsWith(".jsonl.gz")).sort()) {
      const input = createReadStream(join(folder, name)).pipe(createGunzip());
      for await (const line of createInterface({ input })) {
        if (marks.some((mark) => line.includes(mark))) files.add(JSON.parse(line) as Series);
      }
    }
    return files;
  }

  add({ metric, values = [] }: Series): void {
    const key = JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
    const known = this.#series.get(key) ?? { labels: metric, values: [] };
    for (const [at, value] of values) known.values.push([at * 1000, Number(value)]);
    this.#series.set(key, known);
  }

  /** The indicator's samples on a pod, from the source that has most of them. */
  samples(indicator: string, namespace: string, pod: string): readonly Sample[] {
    const candidates = sources
      .filter((source) => source.indicator === indicator)
      .map((source) => this.#fromSource(source, namespace, pod));
    return candidates.reduce<readonly Sample[]>((most, one) => (one.length > most.length ? one : most), []);
  }

  #fromSource(source: Source, namespace: string, pod: string): readonly Sample[] {
    const own = (metric: string) =>
      [...this.#series.values()].filter(({ labels }) => {
        // The accelerators' exporter has a pod of its own; the one that uses the GPU has the other labels there.
        const podOf = labels["exported_pod"] ?? labels["pod"];
        const namespaceOf = labels["exported_namespace"] ?? labels["namespace"];
        return (
          labels["__name__"] === metric &&
          podOf === pod &&
          namespaceOf === namespace &&
          source.accepts(labels)
        );
      });
    const samples = own(source.metric).flatMap(({ labels, values }) => {
      if (!source.counter) return values.map(([atMs, value]) => ({ atMs, value }));
      const rates = ratesOf(values);
      if (source.per === undefined) return rates;
      const periods = own(source.per).find((other) => other.labels["id"] === labels["id"]);
      const of = new Map(ratesOf(periods?.values ?? []).map(({ atMs, value }) => [atMs, value]));
      return rates.flatMap(({ atMs, value }) => {
        const all = of.get(atMs);
        return all === undefined || all === 0 ? [] : [{ atMs, value: value / all }];
      });
    });
    return samples.filter(({ value }) => Number.isFinite(value)).sort((a, b) => a.atMs - b.atMs);
  }
}

/** Rates between two samples at a time, each at the middle of its interval; a counter that fell has begun anew. */
export function ratesOf(values: readonly (readonly [number, number])[]): readonly Sample[] {
  const ordered = values.toSorted(([a], [b]) => a - b);
  return ordered.slice(1).flatMap(([atMs, value], index) => {
    const [beforeMs, before] = ordered[index] as readonly [number, number];
    if (atMs <= beforeMs || value < before) return [];
    return [{ atMs: (atMs + beforeMs) / 2, value: ((value - before) * 1000) / (atMs - beforeMs) }];
  });
}

/** Probes that got no answer within the limit count as that long. */
const lostMs = 900;
/** Single connections are lost or not; a share needs some of them. Lost ones come at longer intervals than others. */
const shareMs = 2000;

export function probeSamples(
  probes: readonly ProbeLine[],
  indicator: string,
  pod: string,
): readonly Sample[] {
  const own = probes
    .filter((line) => line.pod === pod)
    .map(({ unixNs, connectMs }) => ({ atMs: toMs(unixNs), connectMs }));
  if (indicator === "connect-time") {
    return own.map(({ atMs, connectMs }) => ({ atMs, value: connectMs ?? lostMs }));
  }
  const groups = new Map<number, typeof own>();
  for (const one of own) {
    const number = Math.floor(one.atMs / shareMs);
    groups.set(number, [...(groups.get(number) ?? []), one]);
  }
  return [...groups].map(([number, group]) => ({
    atMs: (number + 0.5) * shareMs,
    value: group.filter(({ connectMs }) => connectMs === null).length / group.length,
  }));
}
