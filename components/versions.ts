// Every vendor version and every default image reference, once. Cluster configurations may override; nothing else names one.

/** Versions that the defaults of the cluster configuration are built from. */
export const versions = {
  k3s: "v1.36.4+k3s1",
  cilium: "1.20.0",
  gatewayApi: "v1.6.1",
  istio: "1.31.0",
  gpuOperator: "v26.7.0",
  deepflow: "7.1.002",
  kuberay: "1.7.0",
  chaosMesh: "2.8.3",
  prometheus: "v3.14.0",
  nodeExporter: "v1.12.1",
  kubeStateMetrics: "v2.20.0",
  grafana: "13.2.0",
  loki: "3.7.6",
  otelCollector: "0.159.0",
  nginx: "1.28.0",
  node: "24.21.0",
  k6: "2.2.0",
  ray: "2.58.0",
  /** Ray in the image of the simulator. */
  raySimulator: "2.55.0",
} as const;

/**
 * Minor versions of Kubernetes with which a vendor tests a series of its part: cilium from its compatibility page,
 * istio from its supported releases, gpuOperator from its platform support (K3s column).
 */
export const testedKubernetes: readonly {
  readonly part: string;
  readonly series: string;
  readonly from: number;
  readonly to: number;
}[] = [
  { part: "cilium", series: "1.20", from: 33, to: 36 },
  { part: "istio", series: "1.29", from: 31, to: 35 },
  { part: "istio", series: "1.30", from: 32, to: 36 },
  { part: "istio", series: "1.31", from: 32, to: 36 },
  { part: "gpuOperator", series: "26.7", from: 33, to: 36 },
];

/** Version of the images that this repository builds itself. */
const ownImages = "0.1.0";

/**
 * Default image references. A cluster configuration's `imagesFile` replaces them, normally by references with a
 * digest; the images of this repository (load, serveSimulator) are in no public registry and need that.
 */
export const images = {
  prometheus: `quay.io/prometheus/prometheus:${versions.prometheus}`,
  nodeExporter: `quay.io/prometheus/node-exporter:${versions.nodeExporter}`,
  kubeStateMetrics: `registry.k8s.io/kube-state-metrics/kube-state-metrics:${versions.kubeStateMetrics}`,
  grafana: `docker.io/grafana/grafana:${versions.grafana}`,
  loki: `docker.io/grafana/loki:${versions.loki}`,
  otelCollector: `ghcr.io/open-telemetry/opentelemetry-collector-releases/opentelemetry-collector-contrib:${versions.otelCollector}`,
  nginx: `docker.io/nginxinc/nginx-unprivileged:${versions.nginx}-bookworm`,
  /** Takes the place of a container that a fault makes fail. */
  pause: "registry.k8s.io/pause:3.10",
  chaosController: `ghcr.io/chaos-mesh/chaos-mesh:v${versions.chaosMesh}`,
  chaosDaemon: `ghcr.io/chaos-mesh/chaos-daemon:v${versions.chaosMesh}`,
  chaosDashboard: `ghcr.io/chaos-mesh/chaos-dashboard:v${versions.chaosMesh}`,
  kuberayOperator: `quay.io/kuberay/operator:v${versions.kuberay}`,
  node: `docker.io/library/node:${versions.node}-bookworm-slim`,
  load: `docker.io/llm-serving-eval/load:${ownImages}`,
  rayLlm: `docker.io/rayproject/ray-llm:${versions.ray}-py312-cu130`,
  serveSimulator: `docker.io/llm-serving-eval/serve-simulator:${ownImages}`,
} as const;

/** Name of an image that a stack can ask for. */
type ImageKey = keyof typeof images;

/** One reference for every image. */
export type Images = Readonly<Record<ImageKey, string>>;
