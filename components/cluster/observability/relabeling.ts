// Relabelling rules of Prometheus as plain objects: which targets a job scrapes, which labels they get, which samples stay.

/** One entry of `relabel_configs` or `metric_relabel_configs`. */
export type Relabeling = Readonly<Record<string, unknown>>;

/** Sets a label to another one's value. */
export function copyLabel(source: string, target: string): Relabeling {
  return { source_labels: [source], target_label: target };
}

/** Keeps what matches; the values of several labels are joined by `;`. */
export function keep(source: string | readonly string[], regex: string): Relabeling {
  return { action: "keep", source_labels: [source].flat(), regex };
}

/** Drops what matches; the values of several labels are joined by `;`. */
export function drop(source: string | readonly string[], regex: string): Relabeling {
  return { action: "drop", source_labels: [source].flat(), regex };
}

/** Removes labels from samples. The other labels must tell the samples apart, or some of them are lost. */
export function labelDrop(regex: string): Relabeling {
  return { action: "labeldrop", regex };
}

/** A label of a pod as service discovery names it: `app.kubernetes.io/name` -> `..._app_kubernetes_io_name`. */
export function podLabel(label: string): string {
  return `__meta_kubernetes_pod_label_${label.replace(/[^a-zA-Z0-9]/g, "_")}`;
}

export const portName = "__meta_kubernetes_pod_container_port_name";

/** Labels that say which pod a sample comes from. */
export const podTargetLabels: readonly Relabeling[] = [
  copyLabel("__meta_kubernetes_namespace", "namespace"),
  copyLabel("__meta_kubernetes_pod_name", "pod"),
  copyLabel("__meta_kubernetes_pod_container_name", "container"),
  copyLabel("__meta_kubernetes_pod_node_name", "node"),
  copyLabel(podLabel("ray.io/cluster"), "ray_io_cluster"),
  copyLabel(podLabel("ray.io/node-type"), "ray_io_node_type"),
];
