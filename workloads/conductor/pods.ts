// Watches the Ray pods while faults are played: a line whenever a pod is another than before, restarts, or changes its state.
import { appendFile } from "node:fs/promises";
import type { PodLine } from "../shared/faults.ts";
import type { KubeClient, Pod } from "../shared/kube.ts";
import { nowUnixNs } from "../shared/time.ts";

function toPodLine(pod: Pod, unixNs: bigint): PodLine {
  const statuses = pod.status?.containerStatuses ?? [];
  return {
    unixNs: String(unixNs),
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
  readonly #path: string;
  readonly #file: string;
  #known = new Map<string, PodLine>();

  constructor(kube: KubeClient, namespace: string, file: string) {
    this.#kube = kube;
    this.#path = `/api/v1/namespaces/${namespace}/pods?labelSelector=ray.io%2Fcluster`;
    this.#file = file;
  }

  /** One look; the pods' addresses, for who wants to reach them. */
  async look(): Promise<readonly { readonly pod: string; readonly address: string }[]> {
    const pods = await this.#kube.list<Pod>(this.#path);
    const now = nowUnixNs();
    const lines = new Map(pods.map((pod) => [pod.metadata.uid ?? "", toPodLine(pod, now)]));
    const changed = [...lines.values()].filter((line) => !isSame(line, this.#known.get(line.uid)));
    const gone = [...this.#known.values()]
      .filter(({ uid }) => !lines.has(uid))
      .map((line) => ({ ...line, unixNs: String(now), phase: "gone", ready: false }));
    this.#known = lines;
    const news = [...changed, ...gone];
    if (news.length > 0)
      await appendFile(this.#file, news.map((line) => `${JSON.stringify(line)}\n`).join(""));
    return pods.flatMap((pod) =>
      pod.status?.podIP === undefined ? [] : [{ pod: pod.metadata.name, address: pod.status.podIP }],
    );
  }
}

function isSame(left: PodLine, right: PodLine | undefined): boolean {
  return JSON.stringify({ ...left, unixNs: "" }) === JSON.stringify({ ...right, unixNs: "" });
}
