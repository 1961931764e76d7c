// What a cluster's stack says about its parts to those who build on it.

import { images as defaultImages, type Images, versions } from "../versions.ts";
import type { PartMode } from "./common/part.ts";
import type { ClusterConfig } from "./config.ts";
import { entryUrl } from "./network/entry.ts";
import { deepflowQuerierUrl } from "./observability/deepflow.ts";
import { grafanaUrl } from "./observability/grafana.ts";
import { lokiUrl } from "./observability/loki.ts";
import { otlpGrpcUrl, otlpHttpUrl, tracesUrl } from "./observability/opentelemetry.ts";
import { prometheusUrl } from "./observability/prometheus.ts";

/** Whether a part is in the cluster, and which version of it. */
export interface Capability {
  readonly mode: PartMode;
  readonly version?: string;
  /** Why it is off, or where it comes from. */
  readonly reason?: string;
}

/** Every part by its key in the configuration, and `k3s` and `storage`. */
export function toCapabilities(config: ClusterConfig, images: Images): Record<string, Capability> {
  const { k3s } = config;
  const hasStorage = k3s === undefined || !k3s.disable.includes("local-storage");
  const tagOf = (key: keyof Images): string => tag(images[key]) ?? tag(defaultImages[key]) ?? "unknown";
  const version: Readonly<Record<PartKey, string | undefined>> = {
    cilium: config.cilium.chart.version,
    gatewayApi: versions.gatewayApi,
    istio: config.istio.charts.istiod.version,
    gpuOperator: config.gpuOperator.chart.version,
    prometheus: tagOf("prometheus"),
    kubeStateMetrics: tagOf("kubeStateMetrics"),
    grafana: tagOf("grafana"),
    loki: tagOf("loki"),
    opentelemetry: tagOf("otelCollector"),
    deepflow: config.deepflow.chart.version,
    kuberay: config.kuberay.chart.version,
    chaosMesh: config.chaosMesh.chart.version,
    rbac: undefined,
    entry: tagOf("nginx"),
  };
  const parts = Object.entries(version).map(([key, value]) => [
    key,
    toCapability(config[key as PartKey].mode, value),
  ]);
  return {
    ...Object.fromEntries(parts),
    k3s:
      k3s === undefined
        ? { mode: "external", reason: "existing cluster, named by llmeval:kubeconfig" }
        : { mode: "on", version: k3s.version },
    storage: hasStorage
      ? { mode: k3s === undefined ? "external" : "on", version: config.storage.className }
      : { mode: "off", reason: "k3s.disable holds local-storage" },
  };
}

/** Addresses inside the cluster of the parts that have one. */
export function toEndpoints(config: ClusterConfig): Record<string, string> {
  const { prometheus, grafana, loki, opentelemetry, deepflow, entry } = config;
  const traces = opentelemetry.mode === "on" && opentelemetry.traces.enabled;
  const addresses: Readonly<Record<string, string | undefined>> = {
    prometheus: addressOf(prometheus, prometheusUrl),
    grafana: addressOf(grafana, grafanaUrl),
    loki: addressOf(loki, lokiUrl),
    otlpGrpc: traces ? otlpGrpcUrl : undefined,
    otlpHttp: traces ? otlpHttpUrl : undefined,
    traces: traces ? tracesUrl : undefined,
    deepflow: deepflow.mode === "on" ? deepflowQuerierUrl : undefined,
    entry: entry.mode === "on" ? entryUrl : undefined,
  };
  return Object.fromEntries(
    Object.entries(addresses).filter((pair): pair is [string, string] => pair[1] !== undefined),
  );
}

/** Address under which pods reach a part, or undefined when the cluster has none. */
export function addressOf(
  part: { readonly mode: PartMode; readonly url?: string },
  own: string,
): string | undefined {
  if (part.mode === "off") return undefined;
  return part.mode === "external" ? part.url?.replace(/\/+$/, "") : own;
}

/** Keys of the configuration that hold a part. */
type PartKey = {
  [Key in keyof ClusterConfig]-?: ClusterConfig[Key] extends { readonly mode: PartMode } ? Key : never;
}[keyof ClusterConfig];

function toCapability(mode: PartMode, version: string | undefined): Capability {
  switch (mode) {
    case "on":
      return { mode, ...(version === undefined ? {} : { version }) };
    case "off":
      return { mode, reason: "switched off in the cluster's configuration" };
    case "external":
      return { mode, reason: "there already, the stack does not install it" };
  }
}

/** The tag of an image reference; one by digest alone has none. */
function tag(reference: string): string | undefined {
  return /:([^:/@]+)(?:@|$)/.exec(reference.replace(/@sha256:.*$/, ""))?.[1];
}
