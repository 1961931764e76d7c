// Every vendor version and every default image reference, once. Cluster configurations may override; nothing else names one.

/** Versions that the defaults of the cluster configuration are built from. */
export const versions = {
  k3s: "v1.36.4+k3s1",
  kuberay: "1.7.0",
  prometheus: "v3.14.0",
  nodeExporter: "v1.12.1",
  node: "24.21.0",
  k6: "2.2.0",
  ray: "2.58.0",
  /** Ray in the image of the simulator. */
  raySimulator: "2.55.0",
} as const;

/** Version of the images that this repository builds itself. */
const ownImages = "0.1.0";

/**
 * Default image references. A cluster configuration's `imagesFile` replaces them, normally by references with a
 * digest; the images of this repository (load, serveSimulator) are in no public registry and need that.
 */
export const images = {
  prometheus: `quay.io/prometheus/prometheus:${versions.prometheus}`,
  nodeExporter: `quay.io/prometheus/node-exporter:${versions.nodeExporter}`,
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
