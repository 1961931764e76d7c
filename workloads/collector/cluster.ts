// Exports what the Kubernetes API knows of the experiment's namespace: objects as received, and the logs of every pod.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { describe } from "../shared/errors.ts";
import { writeJsonAtomic } from "../shared/files.ts";
import { HttpStatusError } from "../shared/http.ts";
import type { KubeClient, KubeObject, Pod } from "../shared/kube.ts";
import { isObjectOfFaults } from "./labels.ts";
import type { Patience } from "./patience.ts";

export interface ClusterExport {
  readonly pods: number;
  readonly logs: number;
  readonly problems: readonly string[];
  readonly notes: readonly string[];
  /** What was observed, by the name of its list; nothing of the faults. */
  readonly objects: ReadonlyMap<string, readonly KubeObject[]>;
}

/** A log's first bytes up to here are kept; a cut log is told in quality.json. */
const logLimitBytes = 64 * 1024 * 1024;

/** Chaos objects that are still there when the faults are over: there should be none. */
const chaosKinds = ["iochaos", "networkchaos", "podchaos", "stresschaos", "timechaos"];

/** File name in objects/ -> path of the list. */
function objectLists(namespace: string, withChaos: boolean): readonly (readonly [string, string])[] {
  const own = (group: string, kind: string): string => `/${group}/namespaces/${namespace}/${kind}`;
  return [
    ["pods", own("api/v1", "pods")],
    ["events", own("api/v1", "events")],
    ["services", own("api/v1", "services")],
    ["persistentvolumeclaims", own("api/v1", "persistentvolumeclaims")],
    ["endpointslices", own("apis/discovery.k8s.io/v1", "endpointslices")],
    ["deployments", own("apis/apps/v1", "deployments")],
    ["jobs", own("apis/batch/v1", "jobs")],
    ["rayservices", own("apis/ray.io/v1", "rayservices")],
    ["rayclusters", own("apis/ray.io/v1", "rayclusters")],
    ["nodes", "/api/v1/nodes"],
    ...(withChaos
      ? chaosKinds.map((kind) => [kind, own("apis/chaos-mesh.org/v1alpha1", kind)] as const)
      : []),
  ];
}

export async function exportCluster(
  kube: KubeClient,
  namespace: string,
  folder: string,
  patience: Patience,
  /** Puts what speaks of the faults below faults/; `chaos` where some are made of chaos objects. @default none */
  faults: { readonly chaos: boolean } | undefined = undefined,
): Promise<ClusterExport> {
  const apart = faults !== undefined;
  const problems: string[] = [];
  const notes: string[] = [];
  const objects = new Map<string, readonly KubeObject[]>();
  let pods: readonly Pod[] = [];
  for (const [name, path] of objectLists(namespace, faults?.chaos === true)) {
    try {
      const items = await patience.run(() => kube.list<KubeObject>(path));
      const ofChaos = chaosKinds.includes(name);
      const ofFaults = apart ? items.filter((item) => ofChaos || isObjectOfFaults(item)) : [];
      const observed = items.filter((item) => !ofFaults.includes(item));
      if (!ofChaos) {
        objects.set(name, observed);
        await writeJsonAtomic(join(folder, "objects", `${name}.json`), {
          items: observed.map(withoutManagedFields),
        });
      }
      if (ofFaults.length > 0) {
        await writeJsonAtomic(join(folder, "faults", "objects", `${name}.json`), {
          items: ofFaults.map(withoutManagedFields),
        });
      }
      if (name === "pods") pods = items as readonly Pod[];
    } catch (error) {
      // An existing service needs no KubeRay in the cluster.
      if (name.startsWith("ray") && isStatus(error, 404)) {
        notes.push(`objects/${name}.json: this cluster has no KubeRay`);
        continue;
      }
      // Nodes are cluster-wide: a service account that sees its own namespace only is a valid set-up.
      const list = name === "nodes" && isStatus(error, 403) ? notes : problems;
      list.push(`objects/${name}.json: ${describe(error)}`);
    }
  }
  let logs = 0;
  for (const pod of pods) {
    const place = apart && isObjectOfFaults(pod) ? "faults/logs" : "logs";
    for (const { container, previous } of containersOf(pod)) {
      const path = `${place}/${pod.metadata.name}/${container}${previous ? ".previous" : ""}.log`;
      const query = new URLSearchParams({ container, timestamps: "true", limitBytes: String(logLimitBytes) });
      if (previous) query.set("previous", "true");
      try {
        await mkdir(join(folder, place, pod.metadata.name), { recursive: true });
        const log = `/api/v1/namespaces/${namespace}/pods/${pod.metadata.name}/log?${query}`;
        const sizeBytes = await patience.run(() => kube.download(log, join(folder, path)));
        logs += 1;
        if (sizeBytes >= logLimitBytes) notes.push(`${path} was cut after ${logLimitBytes} bytes`);
      } catch (error) {
        // 400: the container has not started, so it has no log.
        (isStatus(error, 400) ? notes : problems).push(`${path}: ${describe(error)}`);
      }
    }
  }
  return { pods: pods.length, logs, problems, notes, objects };
}

function containersOf(pod: Pod): readonly { readonly container: string; readonly previous: boolean }[] {
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers].flatMap(({ name }) => {
    const restarts = statuses.find((status) => status.name === name)?.restartCount ?? 0;
    const current = { container: name, previous: false };
    return restarts > 0 ? [{ container: name, previous: true }, current] : [current];
  });
}

function withoutManagedFields(object: KubeObject): unknown {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function isStatus(error: unknown, status: number): boolean {
  return error instanceof HttpStatusError && error.status === status;
}
