// Gate: passes when the engine has answered real completions and the load is ready, then sets T0. Of an engine that the
// stack has deployed every replica must have answered.
import { join } from "node:path";
import { Env } from "../shared/env.ts";
import { describe, runMain, StopError, say } from "../shared/errors.ts";
import { readJsonIfThere, sizeIfThere, writeJsonAtomic } from "../shared/files.ts";
import { request } from "../shared/http.ts";
import { KubeClient, type Pod } from "../shared/kube.ts";
import type { Replica, Timeline } from "../shared/rows.ts";
import { nowUnixNs, plusSeconds, rfc3339 } from "../shared/time.ts";
import { found, type Look, missing, waitFor } from "../shared/wait.ts";
import { Completions } from "./completions.ts";
import { ExistingEngine } from "./existing.ts";
import {
  answeredByReplica,
  applicationTrouble,
  llmReplicas,
  readApplications,
  replicaNamed,
  type ServeReplica,
} from "./serve.ts";

interface Settings {
  readonly experimentId: string;
  readonly resultsDir: string;
  readonly serveUrl: string;
  readonly model: string;
  readonly api: "chat" | "completions";
  /** Of an engine whose replicas cannot be seen: answers in a row. 0 where each replica must answer. */
  readonly expectedAnswers: number;
  readonly serveApi: string;
  readonly expectedReplicas: number;
  readonly leadSeconds: number;
  readonly timeoutSeconds: number;
  readonly namespace: string;
  readonly intervalSeconds: number;
  readonly metricsPort: number;
  readonly requestTimeoutSeconds: number;
  readonly debug: boolean;
}

const program = "gate";

function readSettings(): Settings {
  const env = new Env();
  const expectedAnswers = env.number("EXPECTED_ANSWERS", { integer: true, fallback: 0 });
  const deployed = expectedAnswers === 0;
  const settings: Settings = {
    experimentId: env.text("EXPERIMENT_ID"),
    resultsDir: env.text("RESULTS_DIR"),
    serveUrl: env.url("SERVE_URL"),
    model: env.text("MODEL"),
    api: env.oneOf("API", ["chat", "completions"], "chat"),
    expectedAnswers,
    serveApi: deployed ? env.url("SERVE_API") : "",
    expectedReplicas: deployed ? env.number("EXPECTED_REPLICAS", { minimum: 1, integer: true }) : 0,
    leadSeconds: env.number("LEAD_SECONDS", { minimum: 0, maximum: 3600 }),
    timeoutSeconds: env.number("TIMEOUT_SECONDS", { minimum: 1 }),
    namespace: env.text("NAMESPACE"),
    intervalSeconds: env.number("INTERVAL_SECONDS", { minimum: 0.01, fallback: 1 }),
    metricsPort: env.number("METRICS_PORT", { minimum: 1, maximum: 65535, integer: true, fallback: 8080 }),
    requestTimeoutSeconds: env.number("REQUEST_TIMEOUT_SECONDS", { minimum: 0.1, fallback: 60 }),
    debug: env.oneOf("LOG_LEVEL", ["info", "debug"], "info") === "debug",
  };
  env.check();
  return settings;
}

/** The engine that the stack has deployed, replica by replica. */
class DeployedEngine {
  readonly #settings: Settings;
  readonly #completions: Completions;
  readonly #kube = KubeClient.inCluster();
  readonly #answered = new Set<string>();
  /** Counters of each replica when it was first seen; only used where no response names its replica. */
  #baseline: ReadonlyMap<string, number> | undefined;
  #pods: readonly Pod[] = [];
  #podsProblem: string | undefined;

  constructor(settings: Settings, completions: Completions) {
    this.#settings = settings;
    this.#completions = completions;
  }

  /** One look at everything: all conditions must hold in the same look. */
  async look(): Promise<Look<readonly Replica[]>> {
    const { expectedReplicas } = this.#settings;
    let serve: Awaited<ReturnType<typeof readApplications>>;
    try {
      serve = await readApplications(this.#settings.serveApi);
    } catch (error) {
      return missing(`the Serve API has not answered: ${describe(error)}`);
    }
    const llm = llmReplicas(serve);
    if (llm === undefined) return missing(applicationTrouble(serve));
    if (llm.running.length !== expectedReplicas) {
      const trouble = llm.trouble === undefined ? "" : ` (${llm.trouble})`;
      return missing(
        `${llm.running.length} of ${expectedReplicas} replicas of ${llm.deployment} run${trouble}`,
      );
    }
    await this.#readPods();
    const waiting = (): readonly ServeReplica[] =>
      llm.running.filter((r) => !this.#answered.has(r.replica_id));
    if (waiting().length > 0) {
      const problem = await this.#sendCompletions(llm.running);
      const silent = waiting().map((replica) => replica.replica_id);
      if (silent.length > 0) {
        const answers = `${llm.running.length - silent.length} of ${expectedReplicas} replicas have answered a completion`;
        const reason = problem === undefined ? "" : `; last problem: ${problem}`;
        return missing(`${answers}, silent: ${silent.join(", ")}${reason}`);
      }
    }
    return found(llm.running.map((replica) => this.#place(replica)));
  }

  /** Enough completions for a fair chance that each replica gets one; returns the last problem. */
  async #sendCompletions(replicas: readonly ServeReplica[]): Promise<string | undefined> {
    this.#baseline ??= await this.#counters();
    const results = await Promise.all(
      Array.from({ length: Math.min(2 * replicas.length, 32) }, () => this.#completions.send()),
    );
    let problem: string | undefined;
    let nameless = false;
    for (const result of results) {
      if (typeof result === "string") {
        problem = result;
        continue;
      }
      const name = result.headers["x-llmeval-replica"];
      if (typeof name !== "string") {
        nameless = true;
        continue;
      }
      const replica = replicaNamed(name, replicas, this.#pods);
      if (replica === undefined)
        problem = `a response names the replica ${name}, which the Serve API does not list`;
      else this.#answered.add(replica.replica_id);
    }
    if (nameless) problem = (await this.#creditByCounters(replicas)) ?? problem;
    return problem;
  }

  /** Where responses name no replica: a replica has answered when its own counter has grown. */
  async #creditByCounters(replicas: readonly ServeReplica[]): Promise<string | undefined> {
    const now = await this.#counters();
    if (now === undefined) return `no metrics page of a Ray pod could be read${this.#podsProblem ?? ""}`;
    for (const replica of replicas) {
      // Ray labels a replica by its id, by deployment#id, or by app#deployment#id, depending on the version.
      for (const [name, count] of now) {
        const same = name === replica.replica_id || name.endsWith(`#${replica.replica_id}`);
        if (same && count > (this.#baseline?.get(name) ?? 0)) this.#answered.add(replica.replica_id);
      }
    }
    return undefined;
  }

  async #counters(): Promise<ReadonlyMap<string, number> | undefined> {
    const rayPods = this.#pods.filter((pod) => pod.metadata.labels?.["ray.io/cluster"] !== undefined);
    const pages = await Promise.all(
      rayPods.map(async (pod) => {
        const host = pod.status?.podIP;
        if (host === undefined) return undefined;
        const url = `http://${host.includes(":") ? `[${host}]` : host}:${this.#settings.metricsPort}/metrics`;
        try {
          const response = await request({ url, timeoutSeconds: 10 });
          return response.status === 200 ? response.body.toString("utf8") : undefined;
        } catch {
          return undefined;
        }
      }),
    );
    const readable = pages.filter((page) => page !== undefined);
    return readable.length === 0 ? undefined : answeredByReplica(readable.join("\n"));
  }

  async #readPods(): Promise<void> {
    try {
      this.#pods = await this.#kube.pods(this.#settings.namespace);
      this.#podsProblem = undefined;
    } catch (error) {
      if (this.#podsProblem === undefined) say(program, `pods could not be listed: ${describe(error)}`);
      this.#podsProblem = ` (pods could not be listed: ${describe(error)})`;
    }
  }

  #place(replica: ServeReplica): Replica {
    // A Ray node's address is its pod's address.
    const pod = this.#pods.find((candidate) => candidate.status?.podIP === replica.node_ip);
    return { id: replica.replica_id, node: pod?.spec.nodeName ?? null, pod: pod?.metadata.name ?? null };
  }
}

async function main(): Promise<void> {
  const settings = readSettings();
  const file = join(settings.resultsDir, "timeline.json");
  const earlier = await readJsonIfThere<Timeline>(file);
  if (earlier !== undefined) {
    if (earlier.experimentId !== settings.experimentId) {
      throw new StopError(
        `${file} belongs to experiment ${earlier.experimentId}, not to ${settings.experimentId}: give each its own RESULTS_DIR`,
      );
    }
    say(program, `timeline.json is there already: T0 ${rfc3339(BigInt(earlier.t0UnixNs))} is kept`);
    return;
  }
  const { expectedAnswers, expectedReplicas, model } = settings;
  const existing = expectedAnswers > 0;
  const what = existing
    ? `${expectedAnswers} answers in a row of ${settings.serveUrl}`
    : `${expectedReplicas} replicas`;
  say(program, `${settings.experimentId}: waiting for ${what} ${existing ? "as" : "of"} ${model}`);
  const completions = new Completions(settings);
  const engine = existing
    ? new ExistingEngine(completions, expectedAnswers)
    : new DeployedEngine(settings, completions);
  const replicas = await waitFor({
    what: "the gate",
    timeoutSeconds: settings.timeoutSeconds,
    intervalSeconds: settings.intervalSeconds,
    look: async () => {
      const look = await engine.look();
      if (!look.done || (await sizeIfThere(join(settings.resultsDir, "load", "ready.json"))) !== undefined) {
        return look;
      }
      const answered = existing ? "the service has answered" : "every replica has answered";
      return missing(`${answered}; the load generator is not ready (no load/ready.json)`);
    },
    progress: (text) => say(program, text),
  });
  const passed = nowUnixNs();
  const t0 = plusSeconds(passed, settings.leadSeconds);
  const timeline: Timeline = {
    schemaVersion: 1,
    experimentId: settings.experimentId,
    gatePassedUnixNs: String(passed),
    t0UnixNs: String(t0),
    leadSeconds: settings.leadSeconds,
    replicas,
    attempts: completions.attempts,
  };
  await writeJsonAtomic(file, timeline);
  for (const { id, pod, node } of replicas) {
    say(program, `replica ${id} answered from pod ${pod ?? "(unknown)"} on node ${node ?? "(unknown)"}`);
  }
  if (existing) say(program, "the replicas behind the service cannot be seen from here");
  say(program, `passed after ${completions.attempts} completions; T0 is ${rfc3339(t0)}`);
}

await runMain(program, main);
