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
}

/** A log's first bytes up to here are kept; a cut log is told in quality.json. */
const logLimitBytes = 64 * 1024 * 1024;

/** File name in objects/ -> path of the list; further kinds (fault objects, routes) are further lines. */
function objectLists(namespace: string): readonly (readonly [string, string])[] {
  const own = (group: string, kind: string): string => `/${group}/namespaces/${namespace}/${kind}`;
  return [
    ["pods", own("api/v1", "pods")],
    ["events", own("api/v1", "events")],
    ["services", own("api/v1", "services")],
    ["jobs", own("apis/batch/v1", "jobs")],
    ["rayservices", own("apis/ray.io/v1", "rayservices")],
    ["rayclusters", own("apis/ray.io/v1", "rayclusters")],
    ["nodes", "/api/v1/nodes"],
  ];
}

export async function exportCluster(
  kube: KubeClient,
  namespace: string,
  folder: string,
  patience: Patience,
  /** Puts what speaks of the faults below faults/. @default false */
  apart = false,
): Promise<ClusterExport> {
  const problems: string[] = [];
  const notes: string[] = [];
  let pods: readonly Pod[] = [];
  for (const [name, path] of objectLists(namespace)) {
    try {
      const items = await patience.run(() => kube.list<KubeObject>(path));
      const ofFaults = apart ? items.filter(isObjectOfFaults) : [];
      const observed = items.filter((item) => !ofFaults.includes(item));
      await writeJsonAtomic(join(folder, "objects", `${name}.json`), {
        items: observed.map(withoutManagedFields),
      });
      if (ofFaults.length > 0) {
        await writeJsonAtomic(join(folder, "faults", "objects", `${name}.json`), {
          items: ofFaults.map(withoutManagedFields),
        });
      }
      if (name === "pods") pods = items as readonly Pod[];
    } catch (error) {
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
  return { pods: pods.length, logs, problems, notes };
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
