// Dashboards as data: rows of panels with their queries, and helpers that write PromQL.

/** One query of a panel and the name of its lines. */
export interface Target {
  /** PromQL; each metric is written with braces, so that its name can be found: `up{}`. */
  readonly expr: string;
  /** Labels in double braces: `{{pod}}`. */
  readonly legend: string;
}

/** How Grafana writes a value. */
export type Unit =
  | "bytes"
  | "celsius"
  | "cores"
  | "count"
  | "hertz"
  | "perSecond"
  | "bytesPerSecond"
  | "milliseconds"
  | "seconds"
  | "share"
  | "percent"
  | "watts";

export interface Panel {
  readonly title: string;
  /** What a reader should know to judge the values. @default none */
  readonly description?: string;
  readonly unit: Unit;
  readonly targets: readonly Target[];
  /** @default "lines" */
  readonly kind?: "lines" | "stacked" | "number" | "table";
  /** Of 24 columns. @default 8 */
  readonly width?: 6 | 8 | 12 | 24;
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** A choice at the top of a dashboard, filled with the values of one label. */
export interface Variable {
  readonly name: string;
  readonly label: string;
  /** The series that the label is taken from. */
  readonly selector: string;
}

/** Marks in all panels from the first to the last moment at which a query has a value above 0. */
export interface Annotation {
  readonly name: string;
  readonly expr: string;
  readonly title: string;
  readonly text: string;
  readonly color: string;
}

export interface Dashboard {
  /** Part of its address; stays as it is. */
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly Row[];
  readonly variables: readonly Variable[];
  readonly annotations: readonly Annotation[];
}

/** Window of rates: four scrapes, or more when a pixel is longer. */
const rateWindow = "$__rate_interval";
/** Window of rates of what is scraped every 15 s only: see scrape-config.ts. */
export const slowWindow = "1m";

const inNamespace = 'namespace=~"$namespace"';
const ofPod = `${inNamespace},pod=~"$pod"`;
const ofRayPod = `${ofPod},ray_io_cluster=~"$ray_io_cluster"`;

/** Variables of all dashboards. */
export const variables: readonly Variable[] = [
  { name: "namespace", label: "Namespace", selector: 'container_memory_working_set_bytes{container!=""}' },
  {
    name: "ray_io_cluster",
    label: "Ray cluster",
    selector: `up{ray_io_cluster!="",${inNamespace}}`,
  },
  { name: "pod", label: "Pod", selector: `container_memory_working_set_bytes{${inNamespace}}` },
];

/** Windows in which a fault acts, and in which load is played. */
export const annotations: readonly Annotation[] = [
  {
    name: "Faults",
    expr:
      `llmeval_fault_condition{condition="AllInjected",${inNamespace}}` +
      ` * on (kind, name, namespace) group_left (action, duration) llmeval_fault_info{${inNamespace}} > 0`,
    title: "{{kind}} {{action}}",
    text: "{{name}} in {{namespace}}, planned for {{duration}}",
    color: "red",
  },
  {
    name: "Load",
    expr: `kube_job_status_active{job_name=~"load-.+",${inNamespace}} > 0`,
    title: "Load",
    text: "{{job_name}} in {{namespace}}",
    color: "blue",
  },
];

/** A metric of the chosen pods. `more` is further matchers. */
export function ofPods(metric: string, more = ""): string {
  return `${metric}{${join(ofPod, more)}}`;
}

/** A metric of the chosen namespaces. */
export function ofNamespaces(metric: string, more = ""): string {
  return `${metric}{${join(inNamespace, more)}}`;
}

/** A metric of the chosen Ray pods. */
export function ofRay(metric: string, more = ""): string {
  return `${metric}{${join(ofRayPod, more)}}`;
}

/** A metric of the engine: `vllm:x` when it answers itself, `ray_vllm_x` when Ray does. May be a regular expression. */
export function ofEngine(metric: string, more = ""): string {
  return `{${join(`__name__=~"(ray_)?vllm[:_]${metric}",${ofRayPod}`, more)}}`;
}

/** A metric of any labels. */
export function ofAll(metric: string, more = ""): string {
  return `${metric}{${more}}`;
}

export function rate(selector: string, window = rateWindow): string {
  return `rate(${selector}[${window}])`;
}

export function increase(selector: string, window = rateWindow): string {
  return `increase(${selector}[${window}])`;
}

export function sumBy(labels: string, expr: string): string {
  return labels === "" ? `sum(${expr})` : `sum by (${labels}) (${expr})`;
}

export function maxBy(labels: string, expr: string): string {
  return `max by (${labels}) (${expr})`;
}

/** Median, 90th and 99th percentile of a histogram, by labels. */
export function percentiles(labels: string, legend: string, buckets: string): Target[] {
  const by = ["le", labels].filter((part) => part !== "").join(", ");
  return [0.5, 0.9, 0.99].map((share) => ({
    expr: `histogram_quantile(${share}, ${sumBy(by, rate(buckets))})`,
    legend: `p${share * 100} ${legend}`.trim(),
  }));
}

/** All PromQL of a dashboard, as written. */
export function expressions(dashboard: Dashboard): readonly string[] {
  return [
    ...dashboard.rows.flatMap(({ panels }) =>
      panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    ),
    ...dashboard.annotations.map(({ expr }) => expr),
    ...dashboard.variables.map(({ selector }) => selector),
  ];
}

/** Names of all metrics that a dashboard asks for, each a regular expression for the whole name; most match one. */
export function metricNames(dashboard: Dashboard): readonly string[] {
  const names = expressions(dashboard).flatMap((expr) => [
    ...[...expr.matchAll(/([a-zA-Z_:][\w:]*)\{/g)].map(([, name]) => name ?? ""),
    ...[...expr.matchAll(/__name__=~"([^"]+)"/g)].map(([, pattern]) => pattern ?? ""),
  ]);
  return [...new Set(names)].sort();
}

function join(matchers: string, more: string): string {
  return more === "" ? matchers : `${matchers},${more}`;
}
