// What Prometheus scrapes, how often and up to how many series: the jobs of its configuration file.

import {
  apiServerFilter,
  cadvisorFilter,
  kubeletFilter,
  kubeletResourceFilter,
  rayFilter,
} from "./metric-filters.ts";
import { nodeExporterPort } from "./node-exporter.ts";
import { type PlatformJob, platformJobs, type ScrapedPart } from "./platform-jobs.ts";
import { copyLabel, drop, keep, podLabel, podTargetLabels, portName, type Relabeling } from "./relabeling.ts";

export interface ScrapeConfigArgs {
  /** Between two scrapes of what is under test. */
  readonly scrapeIntervalSeconds: number;
  /** Between two scrapes of the accelerators. */
  readonly acceleratorIntervalSeconds: number;
  /** The parts that are in the cluster. */
  readonly parts: readonly ScrapedPart[];
}

/** Port on which Prometheus answers. */
export const prometheusPort = 9090;

/** Scrapes of what is not under test are at least this far apart; rates of it need a window of a minute. */
const slowIntervalSeconds = 15;

const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

/** A scrape that would store more samples than this fails as a whole, and `up` says so. */
const sampleLimits = {
  cadvisor: 50_000,
  node: 20_000,
  kubelet: 20_000,
  apiserver: 20_000,
  ray: 20_000,
  engine: 10_000,
  pods: 10_000,
} as const;

/** The configuration file of Prometheus as an object. */
export function toScrapeConfig(args: ScrapeConfigArgs): Record<string, unknown> {
  const platform = platformJobs.filter(({ part }) => args.parts.includes(part));
  const slow = pace(Math.max(args.scrapeIntervalSeconds, slowIntervalSeconds));
  return {
    global: {
      ...pace(args.scrapeIntervalSeconds),
      // A program gone wild fails its own scrape, and not Prometheus.
      body_size_limit: "128MB",
      label_limit: 80,
      label_value_length_limit: 2048,
      // Every other pod is a target that some job drops; without a bound each is kept in memory by each job.
      keep_dropped_targets: 50,
    },
    scrape_configs: [
      { job_name: "prometheus", static_configs: [{ targets: [`localhost:${prometheusPort}`] }] },
      podJob(
        "ray",
        sampleLimits.ray,
        [
          keep(podLabel("ray.io/cluster"), ".+"),
          keep(portName, "(.+-)?metrics"),
          drop(portName, "engine-metrics"),
        ],
        rayFilter,
      ),
      podJob("engine", sampleLimits.engine, [keep(portName, "engine-metrics")]),
      podJob("pods", sampleLimits.pods, [
        keep(podLabel("ray.io/cluster"), ""),
        keep(portName, "(.+-)?metrics"),
        drop(portName, "engine-metrics"),
        // These have jobs of their own.
        ...[...new Map(platform.map((job) => [JSON.stringify(job.labels), job])).values()].map(({ labels }) =>
          drop(
            Object.keys(labels).map(podLabel),
            Object.values(labels)
              .map((value) => `(${value})`)
              .join(";"),
          ),
        ),
      ]),
      kubeletJob("cadvisor", "/metrics/cadvisor", {}, sampleLimits.cadvisor, cadvisorFilter),
      kubeletJob("kubelet-resource", "/metrics/resource", {}, sampleLimits.kubelet, kubeletResourceFilter),
      kubeletJob("kubelet", "/metrics", slow, sampleLimits.kubelet, kubeletFilter),
      apiServerJob(slow),
      {
        job_name: "node",
        sample_limit: sampleLimits.node,
        kubernetes_sd_configs: [{ role: "node" }],
        relabel_configs: [
          copyLabel("__meta_kubernetes_node_name", "node"),
          {
            source_labels: ["__meta_kubernetes_node_address_InternalIP"],
            target_label: "__address__",
            replacement: `$1:${nodeExporterPort}`,
          },
        ],
      },
      ...platform.map((job) => platformJob(job, args, slow)),
    ],
  };
}

function pace(seconds: number): Record<string, unknown> {
  return { scrape_interval: `${seconds}s`, scrape_timeout: `${Math.min(seconds, 5)}s` };
}

function podJob(
  job: string,
  sampleLimit: number,
  selection: readonly Relabeling[],
  filter: readonly Relabeling[] = [],
  labels: readonly Relabeling[] = podTargetLabels,
): Record<string, unknown> {
  return {
    job_name: job,
    sample_limit: sampleLimit,
    kubernetes_sd_configs: [{ role: "pod" }],
    // Some exporters send no or an unknown content type, which Prometheus 3 refuses without this.
    fallback_scrape_protocol: "PrometheusText0.0.4",
    relabel_configs: [
      ...selection,
      // Pods that have ended keep their address for a while; their scrapes would only fail.
      keep("__meta_kubernetes_pod_phase", "Pending|Running"),
      ...labels,
    ],
    ...(filter.length === 0 ? {} : { metric_relabel_configs: filter }),
  };
}

function platformJob(
  job: PlatformJob,
  args: ScrapeConfigArgs,
  slow: Record<string, unknown>,
): Record<string, unknown> {
  const paces = { test: {}, accelerator: pace(args.acceleratorIntervalSeconds), slow };
  const selection = [
    ...Object.entries(job.labels).map(([label, regex]) => keep(podLabel(label), regex)),
    keep(portName, job.port),
  ];
  const { about = "pod" } = job;
  const labels = {
    pod: podTargetLabels,
    node: [copyLabel("__meta_kubernetes_pod_node_name", "node")],
    sample: [],
  };
  return {
    ...podJob(job.job, job.sampleLimit, selection, job.filter, labels[about]),
    ...(job.path === undefined ? {} : { metrics_path: job.path }),
    ...(about === "pod" ? {} : { honor_labels: true }),
    ...paces[job.pace],
  };
}

function kubeletJob(
  job: string,
  path: string,
  interval: Record<string, unknown>,
  sampleLimit: number,
  filter: readonly Relabeling[],
): Record<string, unknown> {
  return {
    job_name: job,
    ...interval,
    sample_limit: sampleLimit,
    scheme: "https",
    metrics_path: path,
    authorization: { credentials_file: `${tokenFolder}/token` },
    // Kubelets serve with certificates of their own; the token is what authorises.
    tls_config: { insecure_skip_verify: true },
    // cAdvisor stamps samples when it reads the cgroup, which is what fault windows are compared with.
    honor_timestamps: true,
    kubernetes_sd_configs: [{ role: "node" }],
    relabel_configs: [copyLabel("__meta_kubernetes_node_name", "node")],
    metric_relabel_configs: filter,
  };
}

/** Each API server by its own address: behind the Service's one address the counters of several would mix. */
function apiServerJob(interval: Record<string, unknown>): Record<string, unknown> {
  return {
    job_name: "apiserver",
    ...interval,
    sample_limit: sampleLimits.apiserver,
    scheme: "https",
    authorization: { credentials_file: `${tokenFolder}/token` },
    tls_config: { ca_file: `${tokenFolder}/ca.crt`, server_name: "kubernetes.default.svc" },
    kubernetes_sd_configs: [{ role: "endpointslice", namespaces: { names: ["default"] } }],
    relabel_configs: [
      keep(
        ["__meta_kubernetes_service_name", "__meta_kubernetes_endpointslice_port_name"],
        "kubernetes;https",
      ),
    ],
    metric_relabel_configs: apiServerFilter,
  };
}
