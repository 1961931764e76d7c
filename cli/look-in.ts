// What to do when a wait has failed: the commands that show what there is, and with --debug the last lines of each log.
import { physicalName } from "../components/naming.ts";
import { describe } from "../workloads/shared/errors.ts";
import type { KubeClient } from "../workloads/shared/kube.ts";
import type { ClusterAccess } from "./connect.ts";
import { Namespace, type Role } from "./state.ts";

const roles: readonly Role[] = ["gate", "load", "conductor", "collector"];

const logLines = 40;

/** The commands; they need kubectl and the cluster's kubeconfig. */
export function lookInCommands(namespace: string, experimentId: string): string {
  const jobs = roles.map((role) => `job/${physicalName([role, experimentId])}`);
  const files = `/api/v1/namespaces/${namespace}/services/http:results:8080/proxy/${experimentId}/`;
  return [
    "look in (kubeconfig: pulumi stack output kubeconfig --show-secrets -s CLUSTER):",
    `  kubectl -n ${namespace} get pods -o wide`,
    `  kubectl -n ${namespace} get events --sort-by=.metadata.creationTimestamp`,
    ...jobs.map((job) => `  kubectl -n ${namespace} logs ${job}`),
    `  kubectl get --raw ${files}`,
    `  npx llmeval status --namespace ${namespace} --experiment-id ${experimentId}`,
    "what each of them shows, and how to play on: docs/debugging.md",
  ].join("\n");
}

/** The last lines of the log of each Job that there is. */
export async function lastLines(
  { namespace, experimentId }: ClusterAccess,
  kube: KubeClient,
): Promise<string> {
  try {
    const found = await Namespace.look(kube, namespace, experimentId);
    const parts: string[] = [];
    for (const role of roles) {
      const job = found.job(role);
      if (job === undefined) continue;
      const lines = await found.logTail(job, logLines);
      parts.push(
        `last lines of ${role}:`,
        ...(lines.length === 0 ? ["  none"] : lines.map((line) => `  ${line}`)),
      );
    }
    return parts.length === 0 ? "no Job of this run is there" : parts.join("\n");
  } catch (error) {
    return `logs cannot be read: ${describe(error)}`;
  }
}
