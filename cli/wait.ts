// `llmeval t0`, `load` and `results`: wait for what the Jobs in the cluster do, and tell how far they are.
import { UserError } from "../components/errors.ts";
import { describe } from "../workloads/shared/errors.ts";
import type { KubeClient } from "../workloads/shared/kube.ts";
import type { LoadReport, Timeline } from "../workloads/shared/rows.ts";
import { rfc3339 } from "../workloads/shared/time.ts";
import { found, type Look, missing, waitFor } from "../workloads/shared/wait.ts";
import { type ClusterAccess, ResultsReader, Tolerance } from "./connect.ts";
import { deliver, deliverFetched, fetchInto } from "./fetch.ts";
import { lastLines, lookInCommands } from "./look-in.ts";
import { Progress } from "./progress.ts";
import { Namespace, progressLine } from "./state.ts";

export async function waitForT0(access: ClusterAccess, kube: KubeClient): Promise<void> {
  const reader = new ResultsReader(kube, access.namespace, access.experimentId);
  const tolerance = new Tolerance();
  const progress = new Progress(access.progressSeconds);
  const look = async (): Promise<Look<Timeline>> => {
    const timeline = await reader.json<Timeline>("timeline.json");
    if (timeline !== undefined) return found(timeline);
    const namespace = await Namespace.look(kube, access.namespace, access.experimentId);
    await namespace.throwIfFailed("gate");
    return missing(`${await namespace.activity("gate")}; pods: ${namespace.podSummary()}`);
  };
  const timeline = await bounded(
    access,
    kube,
    `T0 of ${access.experimentId}`,
    () => tolerance.look(look),
    progress,
  );
  const t0 = BigInt(timeline.t0UnixNs);
  const { length } = timeline.replicas;
  const answered =
    length === 0
      ? "the service has answered, its replicas cannot be seen"
      : `${length} replicas have answered`;
  progress.always(`T0 of ${access.experimentId} is ${rfc3339(t0)}, ${answered}`);
  const result = {
    t0UnixNs: timeline.t0UnixNs,
    t0: rfc3339(t0),
    gatePassedUnixNs: timeline.gatePassedUnixNs,
    replicas: timeline.replicas,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/**
 * Prints how the load has ended: what it sent and how late. With `keepGoing`, null where it has failed: then the
 * collector saves what there is, and whoever waits for that tells the failure.
 */
export async function waitForLoad(
  access: ClusterAccess,
  kube: KubeClient,
  keepGoing: boolean,
): Promise<void> {
  const { experimentId } = access;
  const reader = new ResultsReader(kube, access.namespace, experimentId);
  const tolerance = new Tolerance();
  const progress = new Progress(access.progressSeconds);
  let failure: string | undefined;
  const look = async (): Promise<Look<LoadReport | string>> => {
    const report = await reader.json<LoadReport>("load/load.json");
    if (report !== undefined) return found(report);
    // The file may have come between the two looks: one more look decides.
    if (failure !== undefined && keepGoing) return found(failure);
    if (failure !== undefined) throw new UserError(failure);
    const namespace = await Namespace.look(kube, access.namespace, experimentId);
    await namespace.throwIfFailed("gate");
    failure = (await namespace.failure("load")) ?? namespace.endedWithout("load", "load/load.json");
    return missing(await progressLine(namespace, reader));
  };
  const report = await bounded(
    access,
    kube,
    `the load of ${experimentId}`,
    () => tolerance.look(look),
    progress,
  );
  if (typeof report === "string") {
    progress.always(report);
    process.stdout.write("null\n");
    return;
  }
  const { requests, lagNs, endedUnixNs, aborted, abortReason } = report;
  const lagP99Ms = lagNs === null ? null : lagNs.p99 / 1e6;
  const lag = lagP99Ms === null ? "" : `, lag p99 ${lagP99Ms.toFixed(2)} ms`;
  const ended = endedUnixNs === null ? "has ended" : `ended at ${rfc3339(BigInt(endedUnixNs))}`;
  progress.always(
    `the load of ${experimentId} ${aborted ? `was aborted (${abortReason})` : ended}: ` +
      `${requests.sent} of ${requests.scheduled} requests sent, ${requests.failed} failed${lag}`,
  );
  process.stdout.write(`${JSON.stringify({ requests, lagP99Ms, aborted, abortReason })}\n`);
}

export async function waitForResults(
  access: ClusterAccess,
  output: string,
  connect: () => Promise<KubeClient>,
): Promise<void> {
  const progress = new Progress(access.progressSeconds);
  if (await deliverFetched(access, output, progress)) return;
  const kube = await connect();
  const reader = new ResultsReader(kube, access.namespace, access.experimentId);
  const tolerance = new Tolerance();
  let loadFailure: string | undefined;
  const look = async (): Promise<Look<string>> => {
    const manifest = await reader.text("manifest.json");
    if (manifest !== undefined) return found(manifest);
    const namespace = await Namespace.look(kube, access.namespace, access.experimentId);
    await namespace.throwIfFailed("gate");
    await namespace.throwIfFailed("collector");
    // After a failed load the collector saves what there is: wait for that, then tell both.
    loadFailure = await namespace.failure("load");
    if (loadFailure !== undefined && namespace.job("collector") === undefined)
      throw new UserError(loadFailure);
    if (loadFailure !== undefined)
      return missing(`the load has failed; ${await namespace.activity("collector")}`);
    return missing(await progressLine(namespace, reader));
  };
  const started = performance.now();
  const manifest = await bounded(
    access,
    kube,
    `the results of ${access.experimentId}`,
    () => tolerance.look(look),
    progress,
  );
  const leftSeconds = Math.max(60, access.timeoutSeconds - (performance.now() - started) / 1000);
  await fetchInto({ ...access, timeoutSeconds: leftSeconds }, output, reader, manifest, progress);
  await explained(access, kube, () => deliver(output, access.experimentId, loadFailure));
}

async function bounded<T>(
  access: ClusterAccess,
  kube: KubeClient,
  what: string,
  look: () => Promise<Look<T>>,
  progress: Progress,
): Promise<T> {
  return await explained(access, kube, () =>
    waitFor({
      what,
      timeoutSeconds: access.timeoutSeconds,
      intervalSeconds: access.pollSeconds,
      look,
      progress: (text) => progress.say(text),
    }),
  );
}

/** Adds to a failure how to look in. */
async function explained<T>(access: ClusterAccess, kube: KubeClient, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    const text = error instanceof UserError ? error.message : describe(error);
    const logs = access.debug ? `\n${await lastLines(access, kube)}` : "";
    throw new UserError(`${text}\n${lookInCommands(access.namespace, access.experimentId)}${logs}`);
  }
}
