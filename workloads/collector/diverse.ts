// diverse/: what one looks up by hand else, in the shape in which it is looked up: nodes, images, pods, events, versions.
import { join } from "node:path";
import { writeFileAtomic, writeJsonAtomic } from "../shared/files.ts";
import type { KubeObject, Pod } from "../shared/kube.ts";

interface Node extends KubeObject {
  readonly status?: {
    readonly capacity?: Readonly<Record<string, string>>;
    readonly allocatable?: Readonly<Record<string, string>>;
    readonly nodeInfo?: Readonly<Record<string, string>>;
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
  };
}

interface Event extends KubeObject {
  readonly type?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly count?: number;
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  readonly eventTime?: string | null;
  readonly involvedObject?: { readonly kind?: string; readonly name?: string };
}

interface DescribedPod extends Omit<Pod, "spec" | "status"> {
  readonly spec: Omit<Pod["spec"], "containers"> & {
    readonly containers: readonly { readonly name: string; readonly resources?: unknown }[];
  };
  readonly status?: Omit<NonNullable<Pod["status"]>, "containerStatuses"> & {
    readonly qosClass?: string;
    readonly startTime?: string;
    readonly containerStatuses?: readonly {
      readonly name: string;
      readonly image?: string;
      readonly imageID?: string;
      readonly restartCount?: number;
    }[];
  };
}

export interface DiverseArgs {
  readonly folder: string;
  /** What was observed in the namespace, by the name of its list, and the nodes. */
  readonly objects: ReadonlyMap<string, readonly KubeObject[]>;
  /** Versions of programs, and the parts of the cluster as its stack stated them. */
  readonly versions: Readonly<Record<string, string>>;
  readonly capabilities: unknown;
}

export async function writeDiverse(args: DiverseArgs): Promise<void> {
  const { folder, objects } = args;
  const pods = (objects.get("pods") ?? []) as readonly DescribedPod[];
  const events = (objects.get("events") ?? []) as readonly Event[];
  const nodes = (objects.get("nodes") ?? []) as readonly Node[];
  const file = (name: string): string => join(folder, "diverse", name);
  await writeJsonAtomic(file("nodes.json"), nodes.map(toNodeFacts));
  await writeJsonAtomic(file("images.json"), pods.flatMap(toImages));
  await writeFileAtomic(file("pods.txt"), pods.map((pod) => toPodText(pod, events)).join("\n"));
  await writeFileAtomic(file("events.txt"), [...events].sort(byTime).map(toEventLine).join(""));
  await writeJsonAtomic(file("versions.json"), {
    versions: args.versions,
    cluster: args.capabilities ?? null,
  });
}

function toNodeFacts({ metadata, status }: Node): Record<string, unknown> {
  const { kernelVersion, osImage, containerRuntimeVersion, kubeletVersion, architecture } =
    status?.nodeInfo ?? {};
  return {
    name: metadata.name,
    labels: metadata.labels ?? {},
    addresses: status?.addresses ?? [],
    capacity: status?.capacity ?? {},
    allocatable: status?.allocatable ?? {},
    kernelVersion,
    osImage,
    containerRuntimeVersion,
    kubeletVersion,
    architecture,
  };
}

/** One entry per container: what was asked for, and the digest of what ran. */
function toImages(pod: DescribedPod): Record<string, unknown>[] {
  return (pod.status?.containerStatuses ?? []).map(({ name, image, imageID }) => ({
    pod: pod.metadata.name,
    node: pod.spec.nodeName ?? null,
    container: name,
    image: image ?? null,
    imageId: imageID ?? null,
  }));
}

/** What `kubectl describe pod` is looked at for. */
function toPodText(pod: DescribedPod, events: readonly Event[]): string {
  const { metadata, spec, status } = pod;
  const lines = [
    `${metadata.name}`,
    `  node ${spec.nodeName ?? "(none)"}, address ${status?.podIP ?? "(none)"}, phase ${status?.phase ?? "(none)"}, ` +
      `class ${status?.qosClass ?? "(none)"}, started ${status?.startTime ?? "(never)"}`,
    `  labels ${Object.entries(metadata.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(", ")}`,
    ...(status?.conditions ?? []).map(
      ({ type, status: state, reason, message }) =>
        `  condition ${type} ${state}${[reason, message].map((text) => (text ? `, ${text}` : "")).join("")}`,
    ),
    ...spec.containers.map(({ name, resources }) => {
      const ran = status?.containerStatuses?.find((one) => one.name === name);
      return `  container ${name}: restarts ${ran?.restartCount ?? 0}, resources ${JSON.stringify(resources ?? {})}, image ${ran?.imageID ?? "(unknown)"}`;
    }),
    ...[...events]
      .filter(({ involvedObject }) => involvedObject?.kind === "Pod" && involvedObject.name === metadata.name)
      .sort(byTime)
      .map((event) => `  event ${toEventLine(event).trimEnd()}`),
  ];
  return `${lines.join("\n")}\n`;
}

function toEventLine(event: Event): string {
  const { involvedObject = {}, type = "", reason = "", message = "", count = 1 } = event;
  const text = message.replace(/\s*\n\s*/g, " ");
  return `${timeOf(event)}  ${type}  ${reason}  ${involvedObject.kind ?? ""}/${involvedObject.name ?? ""}  x${count}  ${text}\n`;
}

function timeOf({ lastTimestamp, eventTime, firstTimestamp, metadata }: Event): string {
  return lastTimestamp ?? eventTime ?? firstTimestamp ?? metadata.creationTimestamp ?? "(no time)";
}

function byTime(a: Event, b: Event): number {
  return timeOf(a).localeCompare(timeOf(b));
}
