// `llmeval status`: one page that says how far the experiment of a namespace is.
import { UserError } from "../components/errors.ts";
import { describe } from "../workloads/shared/errors.ts";
import { HttpStatusError } from "../workloads/shared/http.ts";
import { failureOf, type Job, type KubeClient } from "../workloads/shared/kube.ts";
import type { Manifest } from "../workloads/shared/rows.ts";
import { ResultsReader } from "./connect.ts";
import { Namespace, podState, progressLine, type Role } from "./state.ts";

export async function printStatus(
  name: string,
  experimentId: string | undefined,
  kube: KubeClient,
): Promise<void> {
  let namespace: Namespace;
  try {
    await kube.get(`/api/v1/namespaces/${name}`);
    namespace = await Namespace.look(kube, name, experimentId);
  } catch (error) {
    const absent = error instanceof HttpStatusError && error.status === 404;
    throw new UserError(absent ? `namespace ${name} does not exist in ${kube.baseUrl}` : describe(error));
  }
  const lines = [`namespace ${name}`];
  for (const role of ["gate", "load", "collector"] satisfies Role[]) {
    const job = namespace.job(role);
    lines.push(`  ${role.padEnd(9)}  ${job === undefined ? "no such Job" : jobState(job)}`);
  }
  const width = Math.max(0, ...namespace.pods.map((pod) => pod.metadata.name.length));
  lines.push("pods");
  for (const pod of namespace.pods) {
    lines.push(`  ${pod.metadata.name.padEnd(width)}  ${podState(pod)}  ${pod.spec.nodeName ?? "(no node)"}`);
  }
  if (experimentId !== undefined)
    lines.push(
      `experiment ${experimentId}`,
      `  ${await experimentLine(kube, namespace, name, experimentId)}`,
    );
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function experimentLine(
  kube: KubeClient,
  namespace: Namespace,
  name: string,
  experimentId: string,
): Promise<string> {
  const reader = new ResultsReader(kube, name, experimentId);
  try {
    const manifest = await reader.json<Manifest>("manifest.json");
    if (manifest === undefined) return await progressLine(namespace, reader);
    return manifest.complete ? `complete: ${manifest.files.length} files` : "ended without complete results";
  } catch (error) {
    return `results reader: ${describe(error)}`;
  }
}

function jobState(job: Job): string {
  const failure = failureOf(job);
  if (failure !== undefined) return `failed: ${failure}`;
  if (job.status?.conditions?.some(({ type, status }) => type === "Complete" && status === "True"))
    return "complete";
  return (job.status?.active ?? 0) > 0 ? "running" : "waiting";
}
