// Schema of configs/clusters/*.yaml: strict, every default explicit. Each part's own schema stands in the part's file;
// here are the checks that need more than one part.

import * as z from "zod";
import { UserError } from "../errors.ts";
import { chaosMeshSchema } from "./chaos-mesh.ts";
import { kubernetesProblems } from "./compatibility.ts";
import { gpuOperatorSchema } from "./gpu/gpu-operator-config.ts";
import { hostsOf, k3sSchema, k3sStorageClass } from "./hosts/k3s-config.ts";
import { kuberaySchema } from "./kuberay.ts";
import { ciliumSchema } from "./network/cilium.ts";
import { entrySchema } from "./network/entry.ts";
import { gatewayApiSchema } from "./network/gateway-api.ts";
import { istioSchema } from "./network/istio.ts";
import { deepflowSchema } from "./observability/deepflow.ts";
import { grafanaSchema } from "./observability/grafana.ts";
import { kubeStateMetricsSchema } from "./observability/kube-state-metrics.ts";
import { lokiSchema } from "./observability/loki.ts";
import { opentelemetrySchema } from "./observability/opentelemetry-config.ts";
import { prometheusSchema } from "./observability/prometheus.ts";
import { rbacSchema } from "./rbac.ts";

const partsSchema = z.strictObject({
  /** Hosts to install K3s on. Not needed when the stack names an existing cluster by `llmeval:kubeconfig`. */
  k3s: k3sSchema.optional(),
  /** JSON map from image key to reference; relative to the project. */
  imagesFile: z.string().min(1).optional(),
  storage: z.strictObject({ className: z.string().min(1).default(k3sStorageClass) }).prefault({}),
  /** Whether a destroy refuses to delete what holds data, until `llmeval:protectData` or this key says otherwise. */
  protectData: z.boolean().default(true),
  cilium: ciliumSchema.prefault({}),
  gatewayApi: gatewayApiSchema.prefault({}),
  istio: istioSchema.prefault({}),
  gpuOperator: gpuOperatorSchema.prefault({}),
  prometheus: prometheusSchema.prefault({}),
  kubeStateMetrics: kubeStateMetricsSchema.prefault({}),
  grafana: grafanaSchema.prefault({}),
  loki: lokiSchema.prefault({}),
  opentelemetry: opentelemetrySchema.prefault({}),
  deepflow: deepflowSchema.prefault({}),
  kuberay: kuberaySchema.prefault({}),
  chaosMesh: chaosMeshSchema.prefault({}),
  rbac: rbacSchema.prefault({}),
  entry: entrySchema.prefault({}),
  /** Accelerators of a cluster that is not described by hosts. */
  accelerators: z.record(z.string(), z.int().min(1)).default({}),
});

type Parts = z.output<typeof partsSchema>;

export const clusterConfigSchema = partsSchema.superRefine((config, context) => {
  for (const { path, message } of partProblems(config)) {
    context.addIssue({ code: "custom", path: [...path], message });
  }
});

export type ClusterConfig = z.output<typeof clusterConfigSchema>;

/** The configuration for a cluster that is there already: its hosts are not this stack's, and parts may need them. */
export function withoutHosts(config: ClusterConfig, file: string): ClusterConfig {
  const rest: ClusterConfig = { ...config, k3s: undefined, accelerators: toAccelerators(config) };
  const lines = partProblems(rest).map(({ path, message }) => `  - ${path.join(".")}: ${message}`);
  if (lines.length > 0) {
    throw new UserError(`${file} with llmeval:kubeconfig: ${lines.length} problem(s)\n${lines.join("\n")}`);
  }
  return rest;
}

/** Accelerators by type over all hosts, plus those named for the cluster as a whole. */
export function toAccelerators(config: Pick<ClusterConfig, "k3s" | "accelerators">): Record<string, number> {
  const parts = [config.accelerators, ...hostsOf(config.k3s).map((host) => host.accelerators)];
  const totals: Record<string, number> = {};
  for (const [type, count] of parts.flatMap((part) => Object.entries(part))) {
    totals[type] = (totals[type] ?? 0) + count;
  }
  return totals;
}

interface PartProblem {
  readonly path: readonly string[];
  readonly message: string;
}

/** What does not fit together. */
function partProblems(config: Parts): PartProblem[] {
  const { k3s, cilium, gatewayApi, istio, gpuOperator, prometheus, grafana } = config;
  const problems: PartProblem[] = [];
  const report = (path: string, message: string): void => {
    problems.push({ path: path.split("."), message });
  };
  if (k3s !== undefined && cilium.mode === "on" && k3s.flannelBackend !== "none") {
    report(
      "k3s.flannelBackend",
      `${k3s.flannelBackend ?? "missing"}, but cilium.mode is on and brings the network; set flannelBackend: none`,
    );
  }
  if (k3s?.kubeProxy === true && cilium.mode === "on") {
    report("k3s.kubeProxy", "true, but cilium.mode is on and takes its place; set kubeProxy: false");
  }
  if (k3s?.flannelBackend === "none" && cilium.mode === "off") {
    report(
      "cilium.mode",
      "off, but k3s.flannelBackend is none, so that pods have no network; set it to on, or to external where you install another network",
    );
  }
  if (k3s === undefined && cilium.mode === "on") {
    report(
      "cilium.mode",
      "on, but there are no hosts; an existing cluster has a network: use external or off",
    );
  }
  if (k3s === undefined && gatewayApi.mode === "on") {
    report(
      "gatewayApi.mode",
      "on, but there are no hosts on which to apply the CRDs; on an existing cluster use external or off",
    );
  }
  if (istio.mode === "on" && gatewayApi.mode === "off") {
    report(
      "gatewayApi.mode",
      "off, but istio.mode is on and needs the API for waypoints; set it to on or external",
    );
  }
  if (gpuOperator.mode === "on" && Object.keys(toAccelerators(config)).length === 0) {
    report(
      "gpuOperator.mode",
      "on, but no host has accelerators; name them at the hosts (accelerators: { H100: 8 }), or set mode: off",
    );
  }
  if (grafana.mode === "on" && prometheus.mode === "off") {
    report(
      "grafana.mode",
      "on, but prometheus.mode is off, so that dashboards stay empty; switch one of the two",
    );
  }
  if (k3s !== undefined) {
    const versioned = [
      { part: "cilium", section: cilium, version: cilium.chart.version },
      { part: "istio", section: istio, version: istio.charts.istiod.version },
      { part: "gpuOperator", section: gpuOperator, version: gpuOperator.chart.version },
    ].filter(({ section }) => section.mode === "on");
    for (const { part, text } of kubernetesProblems(k3s.version, versioned)) {
      report(part, text);
    }
  }
  return problems;
}
