// Watches the pods that faults can concern while they are played: a line for each change of their state.
import { appendFile } from "node:fs/promises";
import type { FaultPlan, PodLine } from "../shared/faults.ts";
import type { KubeClient, Pod } from "../shared/kube.ts";
import { nowUnixNs } from "../shared/time.ts";

/** Pods to watch. */
interface Place {
  readonly namespace: string;
  readonly selector: string;
  /** True where it is not the run's namespace. */
  readonly foreign: boolean;
}

/** The run's Ray pods, and the targets of faults that lie elsewhere. */
export function placesOf(plan: FaultPlan, namespace: string): readonly Place[] {
  const elsewhere = plan.faults.flatMap(({ targetNamespace, selector }) =>
    targetNamespace === undefined ? [] : [{ namespace: targetNamespace, selector, foreign: true }],
  );
  const distinct = new Map(elsewhere.map((place) => [`${place.namespace} ${place.selector}`, place]));
  return [{ namespace, selector: "ray.io/cluster", foreign: false }, ...distinct.values()];
}

function toPodLine(pod: Pod, place: Place, unixNs: bigint): PodLine {
  const statuses = pod.status?.containerStatuses ?? [];
  return {
    unixNs: String(unixNs),
    ...(place.foreign ? { namespace: place.namespace } : {}),
    pod: pod.metadata.name,
    uid: pod.metadata.uid ?? "",
    nodeType: pod.metadata.labels?.["ray.io/node-type"] ?? null,
    replica: pod.metadata.labels?.["llmeval/replica"] ?? null,
    node: pod.spec.nodeName ?? null,
    phase: pod.status?.phase ?? "Unknown",
    ready: statuses.length > 0 && statuses.every(({ ready }) => ready === true),
    containers: statuses.map(({ name, containerID, restartCount, ready }) => ({
      name,
      id: containerID ?? null,
      restartCount: restartCount ?? 0,
      ready: ready === true,
    })),
  };
}

export class PodWatch {
  readonly #kube: KubeClient;
  readonly #places: readonly Place[];
  readonly #file: string;
  #known = new Map<string, PodLine>();

  constructor(kube: KubeClient, places: readonly Place[], file: string) {
    this.#kube = kube;
    this.#places = places;
    this.#file = file;
  }

  /** One look; the pods' addresses, for who wants to reach them. */
  async look(): Promise<readonly { readonly pod: string; readonly address: string }[]> {
    const found = await Promise.all(
      this.#places.map(async (place) => {
        const query = new URLSearchParams({ labelSelector: place.selector });
        const pods = await this.#kube.list<Pod>(`/api/v1/namespaces/${place.namespace}/pods?${query}`);
        return pods.map((pod) => ({ pod, place }));
      }),
    );
    const now = nowUnixNs();
    const lines = new Map(
      found.flat().map(({ pod, place }) => [pod.metadata.uid ?? "", toPodLine(pod, place, now)]),
    );
    const changed = [...lines.values()].filter((line) => !isSame(line, this.#known.get(line.uid)));
    const gone = [...this.#known.values()]
      .filter(({ uid }) => !lines.has(uid))
      .map((line) => ({ ...line, unixNs: String(now), phase: "gone", ready: false }));
    this.#known = lines;
    const news = [...changed, ...gone];
    if (news.length > 0)
      await appendFile(this.#file, news.map((line) => `${JSON.stringify(line)}\n`).join(""));
    return found
      .flat()
      .flatMap(({ pod }) =>
        pod.status?.podIP === undefined ? [] : [{ pod: pod.metadata.name, address: pod.status.podIP }],
      );
  }
}

function isSame(left: PodLine, right: PodLine | undefined): boolean {
  return JSON.stringify({ ...left, unixNs: "" }) === JSON.stringify({ ...right, unixNs: "" });
}
