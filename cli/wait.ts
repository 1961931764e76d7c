// `llmeval t0` and `llmeval results`: wait for what the Jobs in the cluster do, and tell how far they are.
import { UserError } from "../components/errors.ts";
import { describe } from "../workloads/shared/errors.ts";
import type { KubeClient } from "../workloads/shared/kube.ts";
import type { Timeline } from "../workloads/shared/rows.ts";
import { rfc3339 } from "../workloads/shared/time.ts";
import { found, type Look, missing, waitFor } from "../workloads/shared/wait.ts";
import { type ClusterAccess, ResultsReader, Tolerance } from "./connect.ts";
import { deliver, fetchInto, isComplete } from "./fetch.ts";
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
    `T0 of ${access.experimentId}`,
    () => tolerance.look(look),
    progress,
  );
  const t0 = BigInt(timeline.t0UnixNs);
  progress.always(
    `T0 of ${access.experimentId} is ${rfc3339(t0)}, ${timeline.replicas.length} replicas have answered`,
  );
  const result = {
    t0UnixNs: timeline.t0UnixNs,
    t0: rfc3339(t0),
    gatePassedUnixNs: timeline.gatePassedUnixNs,
    replicas: timeline.replicas,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

export async function waitForResults(
  access: ClusterAccess,
  output: string,
  connect: () => Promise<KubeClient>,
): Promise<void> {
  const progress = new Progress(access.progressSeconds);
  if (await isComplete(output, access.experimentId)) {
    progress.always(`${access.experimentId} is fetched already, all files verified`);
    return deliver(output, access.experimentId);
  }
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
    `the results of ${access.experimentId}`,
    () => tolerance.look(look),
    progress,
  );
  const leftSeconds = Math.max(60, access.timeoutSeconds - (performance.now() - started) / 1000);
  await fetchInto({ ...access, timeoutSeconds: leftSeconds }, output, reader, manifest, progress);
  await deliver(output, access.experimentId, loadFailure);
}

async function bounded<T>(
  access: ClusterAccess,
  what: string,
  look: () => Promise<Look<T>>,
  progress: Progress,
): Promise<T> {
  try {
    return await waitFor({
      what,
      timeoutSeconds: access.timeoutSeconds,
      intervalSeconds: access.pollSeconds,
      look,
      progress: (text) => progress.say(text),
    });
  } catch (error) {
    throw error instanceof UserError ? error : new UserError(describe(error));
  }
}
