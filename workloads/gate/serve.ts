// Ray Serve as the gate sees it: the replicas of the LLM deployment, and which of them have answered.
import { requestJson } from "../shared/http.ts";
import type { Pod } from "../shared/kube.ts";

/** The answer of GET /api/serve/applications/, as far as the gate reads it. */
export interface ServeApplications {
  readonly applications: Readonly<Record<string, ServeApplication>>;
}

interface ServeApplication {
  readonly status: string;
  readonly message?: string;
  readonly deployments: Readonly<Record<string, ServeDeployment>>;
}

interface ServeDeployment {
  readonly status: string;
  readonly message?: string;
  readonly replicas: readonly ServeReplica[];
}

export interface ServeReplica {
  readonly replica_id: string;
  readonly state: string;
  readonly node_ip?: string | null;
  readonly actor_name?: string | null;
}

export interface LlmReplicas {
  readonly deployment: string;
  readonly running: readonly ServeReplica[];
  /** Why it does not run wholly, where Serve says so. */
  readonly trouble: string | undefined;
}

// ray.serve.llm puts an ingress in front of the engine's deployments; it holds no model.
const ingressOnly = /ingress|router|proxy/i;

export function readApplications(serveApi: string): Promise<ServeApplications> {
  return requestJson<ServeApplications>({ url: `${serveApi}/api/serve/applications/`, timeoutSeconds: 10 });
}

/** Finds the deployment that runs the engine: any named LLM, else the one that is not an ingress alone. */
export function llmReplicas(serve: ServeApplications): LlmReplicas | undefined {
  const all = Object.entries(serve.applications).flatMap(([application, { deployments, ...rest }]) =>
    Object.entries(deployments).map(([name, deployment]) => ({ application, rest, name, deployment })),
  );
  const engines = all.filter(({ name }) => !ingressOnly.test(name));
  const chosen = engines.find(({ name }) => /llm/i.test(name)) ?? engines[0] ?? all[0];
  if (chosen === undefined) return undefined;
  const { deployment, rest } = chosen;
  const troubles = [rest.status === "RUNNING" ? "" : `application ${chosen.application} is ${rest.status}`];
  if (rest.status !== "RUNNING") troubles.push(rest.message ?? "");
  if (deployment.status !== "HEALTHY") {
    troubles.push(`deployment ${chosen.name} is ${deployment.status}`, deployment.message ?? "");
  }
  const text = troubles.filter((part) => part !== "").join(": ");
  return {
    deployment: chosen.name,
    running: deployment.replicas.filter((replica) => replica.state === "RUNNING"),
    trouble: text === "" ? undefined : text.replace(/\s*\n\s*/g, " ").slice(0, 500),
  };
}

/** Why no application is there yet, from the applications that exist. */
export function applicationTrouble(serve: ServeApplications): string {
  const states = Object.entries(serve.applications).map(([name, { status, message }]) =>
    [`application ${name} is ${status}`, message ?? ""].filter((part) => part !== "").join(": "),
  );
  return states.length === 0
    ? "Serve has no application yet"
    : states
        .join("; ")
        .replace(/\s*\n\s*/g, " ")
        .slice(0, 500);
}

/** The replica that a response's `x-llmeval-replica` names: by id, by actor, by pod or by address. */
export function replicaNamed(
  name: string,
  replicas: readonly ServeReplica[],
  pods: readonly Pod[],
): ServeReplica | undefined {
  const exact = replicas.find((r) => r.replica_id === name || r.actor_name === name || r.node_ip === name);
  if (exact !== undefined) return exact;
  const byActor = replicas.filter((r) => name.endsWith(`#${r.replica_id}`));
  const address = pods.find((pod) => pod.metadata.name === name)?.status?.podIP;
  const byPod = address === undefined ? [] : replicas.filter((r) => r.node_ip === address);
  if (byActor.length === 1) return byActor[0];
  return byPod.length === 1 ? byPod[0] : undefined;
}

// Ray's exporter has one page per pod; a counter's name ends in _total from Ray 2.x on.
const answered =
  /^(?:ray_serve_deployment_request_counter(?:_total)?|ray_vllm_request_success(?:_total)?)\{([^}]*)\} (\S+)/;

/** Requests that each replica has answered, from the text of a metrics page. */
export function answeredByReplica(page: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const line of page.split("\n")) {
    const match = answered.exec(line);
    if (match === null) continue;
    const labels = match[1] as string;
    const replica = /(?:^|,)(?:replica|ReplicaId)="([^"]*)"/.exec(labels)?.[1];
    if (replica === undefined) continue;
    counts.set(replica, (counts.get(replica) ?? 0) + Number(match[2]));
  }
  return counts;
}
