// A GPU fault: on the node of each target a Job that caps the GPU and puts it back, and a Job that guards it.
import type { IntendedTarget, Manifest } from "../shared/faults.ts";
import { HttpStatusError } from "../shared/http.ts";
import { failureOf, type Job, type KubeClient, type Pod, podsOfJob } from "../shared/kube.ts";
import { allRecovered, type Injector, type Observation, type TargetState } from "./injector.ts";

interface PodTemplateSpec {
  readonly containers: readonly {
    readonly env?: readonly { readonly name: string; readonly value: string }[];
  }[];
}

/** The Job for one target: pinned to its node, and told which pod it means and when it ends. */
export function toTargetJob(
  job: Manifest,
  target: IntendedTarget,
  index: number,
  endUnixSeconds: number,
): Manifest {
  const template = job.spec["template"] as { readonly spec: PodTemplateSpec };
  const stateOf = (env: readonly { readonly name: string; readonly value: string }[]) =>
    env.map((entry) => (entry.name === "STATE_DIR" ? { ...entry, value: `${entry.value}-${index}` } : entry));
  return {
    ...job,
    metadata: { ...job.metadata, name: `${job.metadata.name}-${index}` },
    spec: {
      ...job.spec,
      template: {
        ...template,
        spec: {
          ...template.spec,
          // Not left to the scheduler: the node is full, and the pod asks for no GPU.
          nodeName: target.node,
          containers: template.spec.containers.map((container) => ({
            ...container,
            env: [
              ...stateOf(container.env ?? []),
              { name: "TARGET_POD_UID", value: target.uid },
              { name: "END_UNIX_SECONDS", value: String(endUnixSeconds) },
            ],
          })),
        },
      },
    },
  };
}

export class GpuInjector implements Injector {
  readonly #kube: KubeClient;
  readonly #jobs: { readonly act: Manifest; readonly guard: Manifest };
  readonly #namespace: string;
  readonly #collection: string;
  readonly #endUnixSeconds: number;

  constructor(
    kube: KubeClient,
    jobs: { readonly act: Manifest; readonly guard: Manifest },
    endUnixSeconds: number,
  ) {
    this.#kube = kube;
    this.#endUnixSeconds = endUnixSeconds;
    this.#jobs = jobs;
    this.#namespace = jobs.act.metadata.namespace;
    this.#collection = `/apis/batch/v1/namespaces/${this.#namespace}/jobs`;
  }

  async create(targets: readonly IntendedTarget[]): Promise<boolean> {
    let adopted = false;
    for (const [index, target] of targets.entries()) {
      // The guard first: nothing is changed before it stands.
      for (const job of [this.#jobs.guard, this.#jobs.act]) {
        try {
          await this.#kube.post(this.#collection, toTargetJob(job, target, index, this.#endUnixSeconds));
        } catch (error) {
          if (!(error instanceof HttpStatusError) || error.status !== 409) throw error;
          adopted = true;
        }
      }
    }
    return adopted;
  }

  async look(): Promise<Observation | undefined> {
    const jobs = await this.#own();
    if (jobs.length === 0) return undefined;
    const pods = await this.#kube.pods(this.#namespace);
    const acting = jobs.filter(({ metadata }) =>
      metadata.name.startsWith(`${this.#jobs.act.metadata.name}-`),
    );
    const states = acting.map((job) => ({ job, ...stateOf(job, podsOfJob(pods, job.metadata.name)[0]) }));
    const targets = states.map(({ target }) => target);
    return {
      targets,
      allInjected: targets.length > 0 && targets.every(({ injected }) => injected),
      allRecovered: allRecovered(targets),
      failures: states.flatMap(({ failure }) => (failure === undefined ? [] : [failure])),
      dead: states.length > 0 && states.every(({ target, ended }) => ended && !target.injected),
      status: states.map(({ job, message }) => ({
        job: job.metadata.name,
        status: job.status ?? null,
        message,
      })),
      objects: jobs.map(({ metadata }) => ({
        kind: "Job",
        metadata: { ...metadata, managedFields: undefined },
      })),
    };
  }

  /** It knows its end and comes to it by itself: deleted earlier, it would take its own report with it. */
  stop(): Promise<boolean> {
    return Promise.resolve(true);
  }

  async remove(): Promise<void> {
    for (const { metadata } of await this.#own()) {
      await this.#kube.remove(`${this.#collection}/${metadata.name}?propagationPolicy=Foreground`);
    }
  }

  free(): Promise<void> {
    return this.remove();
  }

  async #own(): Promise<readonly Job[]> {
    const jobs = await this.#kube.jobs(this.#namespace);
    const prefixes = [this.#jobs.act, this.#jobs.guard].map(({ metadata }) => `${metadata.name}-`);
    return jobs.filter(({ metadata }) => prefixes.some((prefix) => metadata.name.startsWith(prefix)));
  }
}

function stateOf(
  job: Job,
  pod: Pod | undefined,
): { target: TargetState; failure: string | undefined; ended: boolean; message: string | null } {
  const end = pod?.status?.containerStatuses?.[0]?.state?.terminated;
  const message = end?.message ?? null;
  // The program's own lines, written as it acts, tell more than the Job's state.
  const injected = job.status?.ready === 1 || /^set /m.test(message ?? "");
  const recovered = /^restored /m.test(message ?? "") && !/not /.test(message ?? "");
  const said = (message ?? failureOf(job) ?? "ended").trim().replaceAll("\n", "; ");
  const ended = end !== undefined || failureOf(job) !== undefined;
  return {
    target: {
      id: job.metadata.name,
      pod: job.metadata.name,
      isTarget: true,
      injected,
      recovered,
      injectedStamp: null,
      recoveredStamp: null,
    },
    failure: ended && !recovered ? `${job.metadata.name}: ${said}` : undefined,
    ended,
    message,
  };
}
