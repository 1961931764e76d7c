// `llmeval capacity`: what the platform asks of each node, and what is left for models.
import { parseQuantity } from "../components/quantity.ts";
import type { KubeClient } from "../workloads/shared/kube.ts";

/** Amounts of one resource name each: CPU in cores, memory in bytes, the rest in pieces. */
type Amounts = Readonly<Record<string, number>>;

interface ResourceList {
  readonly requests?: Readonly<Record<string, string>>;
  readonly limits?: Readonly<Record<string, string>>;
}
interface Container {
  readonly restartPolicy?: string;
  readonly resources?: ResourceList;
}
/** What is read of a pod. */
export interface PlacedPod {
  readonly metadata: { readonly namespace: string };
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly Container[];
    readonly initContainers?: readonly Container[];
    readonly overhead?: Readonly<Record<string, string>>;
  };
  readonly status?: { readonly phase?: string };
}
/** What is read of a node. */
export interface CapacityNode {
  readonly metadata: { readonly name: string };
  readonly status: { readonly allocatable: Readonly<Record<string, string>> };
}

/** One node: what can be asked of it, and what is asked by whom. */
export interface NodeCapacity {
  readonly node: string;
  readonly allocatable: Amounts;
  readonly platform: { readonly requests: Amounts; readonly limits: Amounts };
  readonly experiments: { readonly requests: Amounts };
}

interface List<T> {
  readonly items: readonly T[];
}

/** Prints a table with one row per node. */
export async function printCapacity(kube: KubeClient): Promise<void> {
  const [nodes, pods, namespaces] = await Promise.all([
    kube.get<List<CapacityNode>>("/api/v1/nodes"),
    kube.get<List<PlacedPod>>("/api/v1/pods"),
    kube.get<List<{ readonly metadata: { readonly name: string } }>>(
      "/api/v1/namespaces?labelSelector=app.kubernetes.io%2Fname%3Dexperiment",
    ),
  ]);
  const experiments = new Set(namespaces.items.map(({ metadata }) => metadata.name));
  process.stdout.write(formatCapacity(toCapacity(nodes.items, pods.items, experiments)));
}

/** Sums requests and limits of the pods of each node; pods of the named namespaces count as experiments. */
export function toCapacity(
  nodes: readonly CapacityNode[],
  pods: readonly PlacedPod[],
  experiments: ReadonlySet<string>,
): NodeCapacity[] {
  return nodes
    .map(({ metadata: { name }, status }) => {
      const here = pods.filter(
        ({ spec, status }) =>
          spec.nodeName === name && status?.phase !== "Succeeded" && status?.phase !== "Failed",
      );
      const platform = here.filter(({ metadata }) => !experiments.has(metadata.namespace));
      const others = here.filter(({ metadata }) => experiments.has(metadata.namespace));
      return {
        node: name,
        allocatable: toAmounts(status.allocatable),
        platform: {
          requests: sum(platform.map((pod) => podAmounts(pod, "requests"))),
          limits: sum(platform.map((pod) => podAmounts(pod, "limits"))),
        },
        experiments: { requests: sum(others.map((pod) => podAmounts(pod, "requests"))) },
      };
    })
    .sort((left, right) => left.node.localeCompare(right.node));
}

/** The table: CPU in cores, memory in GiB, and a column for every accelerator resource. */
export function formatCapacity(nodes: readonly NodeCapacity[]): string {
  const accelerators = [
    ...new Set(
      nodes.flatMap(({ allocatable }) => Object.keys(allocatable).filter((key) => key.includes("/"))),
    ),
  ].filter((key) => !key.startsWith("hugepages"));
  const columns = ["cpu", "memory", ...accelerators];
  const header = ["node", "", ...columns.map((key) => (key === "memory" ? "memory GiB" : key))];
  const rows = nodes.flatMap(({ node, allocatable, platform, experiments }) => {
    const free = subtract(allocatable, sum([platform.requests, experiments.requests]));
    const line = (name: string, what: string, amounts: Amounts): string[] => [
      name,
      what,
      ...columns.map((key) => show(key, amounts[key] ?? 0)),
    ];
    return [
      line(node, "allocatable", allocatable),
      line("", "platform requests", platform.requests),
      line("", "platform limits", platform.limits),
      line("", "experiments request", experiments.requests),
      line("", "left for models", free),
    ];
  });
  const table = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...table.map((row) => (row[column] ?? "").length)));
  return `${table
    .map((row) =>
      row
        .map((cell, column) =>
          column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n")}\n`;
}

/** As the scheduler counts: init containers run before the others, sidecars beside them. */
function podAmounts(pod: PlacedPod, kind: keyof ResourceList): Amounts {
  const amounts = (containers: readonly Container[]): Amounts[] =>
    containers.map(({ resources }) => toAmounts(resources?.[kind] ?? {}));
  const init = pod.spec.initContainers ?? [];
  const sidecars = init.filter(({ restartPolicy }) => restartPolicy === "Always");
  const before = init.filter(({ restartPolicy }) => restartPolicy !== "Always");
  const running = sum([...amounts(pod.spec.containers), ...amounts(sidecars)]);
  const peak = amounts(before).reduce((left, right) => merge(left, right, Math.max), running);
  return sum([peak, toAmounts(kind === "requests" ? (pod.spec.overhead ?? {}) : {})]);
}

function toAmounts(list: Readonly<Record<string, string>>): Amounts {
  return Object.fromEntries(Object.entries(list).map(([key, quantity]) => [key, parseQuantity(quantity)]));
}

function sum(all: readonly Amounts[]): Amounts {
  return all.reduce((left, right) => merge(left, right, (a, b) => a + b), {});
}

function subtract(left: Amounts, right: Amounts): Amounts {
  return merge(left, right, (a, b) => a - b);
}

function merge(left: Amounts, right: Amounts, combine: (a: number, b: number) => number): Amounts {
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  return Object.fromEntries([...keys].map((key) => [key, combine(left[key] ?? 0, right[key] ?? 0)]));
}

function show(key: string, amount: number): string {
  if (key === "memory") return (amount / 2 ** 30).toFixed(1);
  return key === "cpu" ? amount.toFixed(2) : String(amount);
}
