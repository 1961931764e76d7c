// Where the parts of the platform have their metrics: one scrape job each, found by labels and port names of their pods.

import { ciliumFilter, istioFilter, kubeStateMetricsFilter, platformFilter } from "./metric-filters.ts";
import type { Relabeling } from "./relabeling.ts";

/** Parts of the cluster that bring targets of their own. */
export type ScrapedPart =
  | "kubeStateMetrics"
  | "cilium"
  | "istio"
  | "gpuOperator"
  | "kuberay"
  | "chaosMesh"
  | "opentelemetry"
  | "loki";

/** Targets that belong to a part of the platform, found by the labels and port names of its pods. */
export interface PlatformJob {
  readonly part: ScrapedPart;
  readonly job: string;
  /** Values of the pods' labels, as regular expressions. */
  readonly labels: Readonly<Record<string, string>>;
  readonly port: string;
  /** @default "/metrics" */
  readonly path?: string;
  readonly pace: "test" | "accelerator" | "slow";
  readonly sampleLimit: number;
  readonly filter: readonly Relabeling[];
  /**
   * What a sample is about: the pod that it comes from, that pod's node, or what the sample itself says.
   * @default "pod"
   */
  readonly about?: "pod" | "node" | "sample";
}

const name = "app.kubernetes.io/name";

export const platformJobs: readonly PlatformJob[] = [
  {
    part: "kubeStateMetrics",
    job: "kube-state-metrics",
    labels: { [name]: "kube-state-metrics" },
    port: "http(-metrics)?",
    pace: "test",
    sampleLimit: 100_000,
    filter: kubeStateMetricsFilter,
    about: "sample",
  },
  {
    part: "gpuOperator",
    job: "dcgm-exporter",
    labels: { app: "nvidia-dcgm-exporter" },
    port: "metrics",
    pace: "accelerator",
    sampleLimit: 10_000,
    filter: [],
    about: "node",
  },
  {
    part: "cilium",
    job: "cilium-agent",
    labels: { "k8s-app": "cilium" },
    port: "prometheus",
    pace: "test",
    sampleLimit: 10_000,
    filter: ciliumFilter,
  },
  {
    part: "cilium",
    job: "hubble",
    labels: { "k8s-app": "cilium" },
    port: "hubble-metrics",
    pace: "test",
    sampleLimit: 50_000,
    filter: [],
  },
  {
    part: "cilium",
    job: "cilium-envoy",
    labels: { "k8s-app": "cilium-envoy" },
    port: "envoy-metrics",
    pace: "slow",
    sampleLimit: 10_000,
    filter: ciliumFilter,
  },
  {
    part: "cilium",
    job: "cilium-operator",
    labels: { "io.cilium/app": "operator" },
    port: "prometheus",
    pace: "slow",
    sampleLimit: 10_000,
    filter: ciliumFilter,
  },
  {
    part: "istio",
    job: "ztunnel",
    labels: { app: "ztunnel" },
    port: "ztunnel-stats",
    pace: "test",
    sampleLimit: 50_000,
    filter: istioFilter,
  },
  {
    part: "istio",
    job: "waypoint",
    labels: { "gateway.networking.k8s.io/gateway-name": ".+" },
    port: "http-envoy-prom",
    path: "/stats/prometheus",
    pace: "test",
    sampleLimit: 50_000,
    filter: istioFilter,
  },
  {
    part: "istio",
    job: "istiod",
    labels: { app: "istiod" },
    port: "http-monitoring",
    pace: "slow",
    sampleLimit: 10_000,
    filter: istioFilter,
  },
  {
    part: "kuberay",
    job: "kuberay-operator",
    labels: { [name]: "kuberay-operator" },
    port: "http",
    pace: "slow",
    sampleLimit: 10_000,
    filter: platformFilter,
  },
  {
    part: "chaosMesh",
    job: "chaos-mesh",
    // Not the daemon: each look at its metrics runs iptables, ipset and tc in all pods of its node.
    labels: { [name]: "chaos-mesh", "app.kubernetes.io/component": "controller-manager" },
    port: "http",
    pace: "slow",
    sampleLimit: 10_000,
    filter: platformFilter,
  },
  {
    part: "opentelemetry",
    job: "otel-collector",
    labels: { [name]: "(otel|opentelemetry).*" },
    port: "(.+-)?metrics",
    pace: "slow",
    sampleLimit: 10_000,
    filter: platformFilter,
  },
  {
    part: "loki",
    job: "loki",
    labels: { [name]: "loki" },
    port: "http(-metrics)?",
    pace: "slow",
    sampleLimit: 20_000,
    filter: platformFilter,
  },
];
