// Exports what Grafana shows: its dashboards and data sources, from the ConfigMaps that it is provisioned from.
import { join } from "node:path";
import { describe } from "../shared/errors.ts";
import { writeFileAtomic } from "../shared/files.ts";
import { HttpStatusError } from "../shared/http.ts";
import type { KubeClient, KubeObject } from "../shared/kube.ts";
import { absent, type PartExport } from "./export.ts";
import type { Patience } from "./patience.ts";

interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** As components/cluster/observability/grafana.ts names them; there are no secrets among them. */
const list = "/api/v1/namespaces/grafana/configmaps?labelSelector=app.kubernetes.io%2Fname%3Dgrafana";

/** The ConfigMaps rather than Grafana's API: the right to read them is no password, and they are all that it has. */
export async function exportGrafana(
  kube: KubeClient,
  folder: string,
  patience: Patience,
): Promise<PartExport> {
  let maps: readonly ConfigMap[];
  try {
    maps = await patience.run(() => kube.list<ConfigMap>(list));
  } catch (error) {
    if (!(error instanceof HttpStatusError) || error.status !== 403) throw error;
    return absent("grafana", `its configuration may not be read: ${describe(error)}`);
  }
  // Where one is being replaced there are two with the same file: the youngest is the one that counts.
  const oldestFirst = [...maps].sort((a, b) =>
    (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? ""),
  );
  const texts = new Map(oldestFirst.flatMap(({ data = {} }) => Object.entries(data)));
  const files: PartExport["files"][number][] = [];
  for (const [name, text] of [...texts].sort(([a], [b]) => a.localeCompare(b))) {
    const path = `grafana/${name.replace(/[^A-Za-z0-9._-]+/g, "_")}`;
    await writeFileAtomic(join(folder, path), text);
    files.push({ path });
  }
  const reasons = files.length === 0 ? ["there is no ConfigMap of Grafana's in namespace grafana"] : [];
  return { part: "grafana", state: "exported", files, reasons };
}
