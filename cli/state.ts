// Says in one line how far an experiment is, from its Jobs, its pods, and what the programs have written.
import { UserError } from "../components/errors.ts";
import {
  failureOf,
  type Job,
  jobOfRole,
  type KubeClient,
  type Pod,
  podsOfJob,
} from "../workloads/shared/kube.ts";
import type { LoadProgress } from "../workloads/shared/rows.ts";
import { nowUnixNs, secondsBetween } from "../workloads/shared/time.ts";
import type { ResultsReader } from "./connect.ts";

export type Role = "gate" | "load" | "conductor" | "collector";

/** One look at the namespace. */
export class Namespace {
  readonly #kube: KubeClient;
  readonly #name: string;
  readonly #experimentId: string | undefined;
  readonly pods: readonly Pod[];
  readonly jobs: readonly Job[];

  private constructor(
    kube: KubeClient,
    name: string,
    experimentId: string | undefined,
    pods: readonly Pod[],
    jobs: readonly Job[],
  ) {
    this.#experimentId = experimentId;
    this.#kube = kube;
    this.#name = name;
    this.pods = pods;
    this.jobs = jobs;
  }

  static async look(kube: KubeClient, name: string, experimentId?: string): Promise<Namespace> {
    return new Namespace(kube, name, experimentId, await kube.pods(name), await kube.jobs(name));
  }

  job(role: Role): Job | undefined {
    return jobOfRole(this.jobs, role, this.#experimentId);
  }

  /** Throws, with the last lines of the log, where the Job of a role has failed for good. */
  async throwIfFailed(role: Role): Promise<void> {
    const text = await this.failure(role);
    if (text !== undefined) throw new UserError(text);
  }

  async failure(role: Role): Promise<string | undefined> {
    const job = this.job(role);
    const reason = job === undefined ? undefined : failureOf(job);
    if (job === undefined || reason === undefined) return undefined;
    const lines = await this.logTail(job, 10);
    const log =
      lines.length === 0 ? "its pod has left no log" : `last lines of its log:\n  ${lines.join("\n  ")}`;
    return `Job ${job.metadata.name} in namespace ${this.#name} has failed (${reason}); ${log}`;
  }

  /** Why there will be no file, where the Job of a role is complete and has not written it. */
  endedWithout(role: Role, file: string): string | undefined {
    const job = this.job(role);
    const complete = job?.status?.conditions?.some(
      ({ type, status }) => type === "Complete" && status === "True",
    );
    return job === undefined || complete !== true
      ? undefined
      : `Job ${job.metadata.name} in namespace ${this.#name} is complete, but has left no ${file}`;
  }

  /** What the Job of a role is at: the last line that it has logged, or the state of its pod. */
  async activity(role: Role): Promise<string> {
    const job = this.job(role);
    if (job === undefined) return `${role}: no such Job yet`;
    const pod = podsOfJob(this.pods, job.metadata.name)[0];
    if (pod === undefined) return `${role}: no pod yet`;
    if (pod.status?.phase === "Running" || pod.status?.phase === "Succeeded") {
      const last = (await this.logTail(job, 1)).at(-1);
      if (last !== undefined) return `${role}: ${withoutPrefix(last, role)}`;
    }
    // The first sentence: what follows is about preemption.
    const why = unschedulable(pod)?.message?.split(". ")[0];
    return `${role}: pod ${podState(pod)}${why === undefined ? "" : `: ${why}`}`;
  }

  /** "3 Running, 1 Pending (ImagePullBackOff)". */
  podSummary(): string {
    if (this.pods.length === 0) return "none";
    const counts = new Map<string, number>();
    for (const pod of this.pods) counts.set(podState(pod), (counts.get(podState(pod)) ?? 0) + 1);
    return [...counts]
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([state, count]) => `${count} ${state}`)
      .join(", ");
  }

  async logTail(job: Job, lines: number): Promise<readonly string[]> {
    const pod = podsOfJob(this.pods, job.metadata.name)[0];
    if (pod === undefined) return [];
    const container = pod.spec.containers[0]?.name ?? "";
    const query = new URLSearchParams({ container, tailLines: String(lines) });
    try {
      const text = await this.#kube.text(
        `/api/v1/namespaces/${this.#name}/pods/${pod.metadata.name}/log?${query}`,
      );
      return text.split("\n").filter((line) => line !== "");
    } catch {
      // A log is a help, never a condition.
      return [];
    }
  }
}

/** Phase of a pod, with the reason where a container waits or has died. */
export function podState(pod: Pod): string {
  const phase = pod.status?.phase ?? "Unknown";
  const states = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const reasons = states.map(({ state }) => state?.waiting?.reason ?? state?.terminated?.reason);
  const reason =
    reasons.find((text) => text !== undefined && text !== "Completed") ?? unschedulable(pod)?.reason;
  return reason === undefined ? phase : `${phase} (${reason})`;
}

function unschedulable(pod: Pod) {
  return pod.status?.conditions?.find(({ type, status }) => type === "PodScheduled" && status === "False");
}

/** What is known of the load and of what comes before and after it. */
export async function progressLine(namespace: Namespace, reader: ResultsReader): Promise<string> {
  if ((await reader.text("timeline.json")) === undefined) {
    return `${await namespace.activity("gate")}; pods: ${namespace.podSummary()}`;
  }
  if ((await reader.text("load/load.json")) !== undefined)
    return `collecting: ${await namespace.activity("collector")}`;
  const progress = await reader.json<LoadProgress>("load/progress.json");
  if (progress === undefined) return namespace.activity("load");
  const { scheduled, sent, completed, failed, endsUnixNs } = progress;
  const open = sent - completed - failed;
  const waiting = sent === scheduled && open > 0 ? `, ${open} not answered yet` : "";
  const left = endsUnixNs === null ? "" : `, ${secondsUntil(BigInt(endsUnixNs))} s left`;
  return `load: ${sent}/${scheduled} requests sent, ${failed} failed${waiting}${left}`;
}

function secondsUntil(unixNs: bigint): number {
  return Math.max(0, Math.ceil(secondsBetween(nowUnixNs(), unixNs)));
}

function withoutPrefix(line: string, role: Role): string {
  return line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /, "").replace(new RegExp(`^${role}: `), "");
}
