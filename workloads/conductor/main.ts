// Conductor: plays the faults of a run at their offsets from T0, and takes each back. Safe to be killed at any instant.
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Env } from "../shared/env.ts";
import { describe, runMain, StopError, say } from "../shared/errors.ts";
import type { ConductorReport, FaultPlan, PlanEntry } from "../shared/faults.ts";
import { readJsonIfThere, writeJsonAtomic } from "../shared/files.ts";
import { KubeClient } from "../shared/kube.ts";
import type { Timeline } from "../shared/rows.ts";
import { nowUnixNs, plusSeconds, rfc3339 } from "../shared/time.ts";
import { found, missing, waitFor } from "../shared/wait.ts";
import { ChaosInjector } from "./chaos.ts";
import { GpuInjector } from "./gpu.ts";
import type { Injector } from "./injector.ts";
import { LoadWatch } from "./load.ts";
import { Player } from "./player.ts";
import { PodWatch, placesOf } from "./pods.ts";
import { probeAll } from "./probes.ts";
import { FaultFile } from "./record.ts";

const program = "conductor";

function readSettings() {
  const env = new Env();
  const settings = {
    experimentId: env.text("EXPERIMENT_ID"),
    resultsDir: env.text("RESULTS_DIR"),
    namespace: env.text("NAMESPACE"),
    planFile: env.text("PLAN_FILE"),
    t0TimeoutSeconds: env.number("T0_TIMEOUT_SECONDS", { minimum: 1 }),
    /** From T0 to the end of the last cell. */
    playSeconds: env.number("PLAY_SECONDS", { minimum: 1 }),
    recoverySeconds: env.number("RECOVERY_SECONDS", { minimum: 0.1 }),
    graceSeconds: env.number("GRACE_SECONDS", { minimum: 0.1 }),
    pollSeconds: env.number("POLL_SECONDS", { minimum: 0.01, fallback: 0.25 }),
    watchSeconds: env.number("WATCH_SECONDS", { minimum: 0.01, fallback: 1 }),
    probePort: env.number("PROBE_PORT", { minimum: 1, maximum: 65535, integer: true }),
    probeSeconds: env.number("PROBE_SECONDS", { minimum: 0.01, fallback: 0.2 }),
  };
  env.check();
  return settings;
}

type Settings = ReturnType<typeof readSettings>;

async function main(): Promise<void> {
  const settings = readSettings();
  const { experimentId, resultsDir } = settings;
  const stopping = new AbortController();
  process.on("SIGTERM", () => {
    say(program, "told to stop: takes back what it has made");
    stopping.abort();
    setTimeout(() => process.exit(143), settings.graceSeconds * 1000).unref();
  });
  const kube = KubeClient.inCluster();
  const plan = JSON.parse(await readFile(settings.planFile, "utf8")) as FaultPlan;
  const folder = join(resultsDir, "faults");
  await mkdir(folder, { recursive: true });
  const t0 = await waitForT0(settings, stopping.signal);
  if (t0 === undefined) return stop();
  say(program, `${experimentId}: ${plan.faults.length} faults, T0 is ${rfc3339(t0)}`);

  const files = await Promise.all(
    plan.faults.map((entry) => FaultFile.open(resultsDir, experimentId, entry, t0)),
  );
  const load = new LoadWatch(resultsDir);
  // One that fails is told below.
  await load.look().catch(() => undefined);
  const players = plan.faults.map(
    (entry, index) =>
      new Player({
        kube,
        namespace: settings.namespace,
        entry,
        file: files[index] as FaultFile,
        injector: injectorOf(kube, entry, t0),
        whyNoLoad: () => load.whyNot(entry.cell),
        stopping: stopping.signal,
        pollSeconds: settings.pollSeconds,
        recoverySeconds: settings.recoverySeconds,
        say: (text) => say(program, text),
      }),
  );
  const watched = new AbortController();
  const watching = watch(settings, kube, load, plan, AbortSignal.any([watched.signal, stopping.signal]));
  const results = await Promise.allSettled(players.map((player) => player.play()));
  const failed = results.find((result) => result.status === "rejected");
  // To the end of the last cell: what a pod does after its fault counts too.
  const end = plusSeconds(t0, settings.playSeconds);
  while (!stopping.signal.aborted && load.aborted === undefined && nowUnixNs() < end) {
    const leftMs = Number((end - nowUnixNs()) / 1_000_000n) + 1;
    await sleep(Math.min(leftMs, 1000), undefined, { signal: stopping.signal }).catch(() => undefined);
  }
  watched.abort();
  await watching;
  if (failed !== undefined) throw failed.reason;
  if (files.some(({ record }) => record.state !== "done") || stopping.signal.aborted) return stop();
  const report: ConductorReport = {
    schemaVersion: 1,
    experimentId,
    endedUnixNs: String(nowUnixNs()),
    faults: files.length,
    delivered: files.filter(({ record }) => record.delivery === "delivered").length,
  };
  await writeJsonAtomic(join(folder, "conductor.json"), report);
  say(program, `done: ${report.delivered} of ${report.faults} faults delivered`);
}

/** Another conductor may follow and go on; the status says that this one has not come to its end. */
function stop(): void {
  process.exitCode = 143;
}

function injectorOf(kube: KubeClient, entry: PlanEntry, t0UnixNs: bigint): Injector {
  if (entry.object !== undefined) return new ChaosInjector(kube, entry.object, entry.oneShot);
  if (entry.jobs === undefined)
    throw new StopError(`fault ${entry.fault} of ${entry.cell} has neither object nor jobs`);
  const end = plusSeconds(t0UnixNs, entry.startOffsetSeconds + entry.durationSeconds);
  return new GpuInjector(kube, entry.jobs, Number(end / 1_000_000n) / 1000);
}

async function waitForT0(settings: Settings, stopping: AbortSignal): Promise<bigint | undefined> {
  return waitFor({
    what: "timeline.json",
    timeoutSeconds: settings.t0TimeoutSeconds,
    intervalSeconds: settings.pollSeconds,
    look: async () => {
      if (stopping.aborted) return found(undefined);
      const timeline = await readJsonIfThere<Timeline>(join(settings.resultsDir, "timeline.json"));
      return timeline === undefined ? missing("T0 is not known yet") : found(BigInt(timeline.t0UnixNs));
    },
    progress: (text) => say(program, text),
  });
}

/** Looks at the load and at the pods, and probes them where a fault of the network is planned; a look that fails is left out. */
async function watch(
  settings: Settings,
  kube: KubeClient,
  load: LoadWatch,
  plan: FaultPlan,
  end: AbortSignal,
): Promise<void> {
  const folder = join(settings.resultsDir, "faults");
  const pods = new PodWatch(kube, placesOf(plan, settings.namespace), join(folder, "pods.jsonl"));
  const probes = plan.faults.some(({ kind }) => kind.startsWith("network-"));
  let addresses: Awaited<ReturnType<PodWatch["look"]>> = [];
  const every = async (what: string, seconds: number, act: () => Promise<void>): Promise<void> => {
    let said = "";
    while (!end.aborted) {
      const next = performance.now() + seconds * 1000;
      try {
        await act();
        said = "";
      } catch (error) {
        if (describe(error) !== said) say(program, `${what}: ${describe(error)}`);
        said = describe(error);
      }
      await sleep(Math.max(0, next - performance.now()), undefined, { signal: end }).catch(() => undefined);
    }
  };
  await Promise.all([
    every("load", settings.watchSeconds, () => load.look()),
    every("pods", settings.watchSeconds, async () => {
      addresses = await pods.look();
    }),
    ...(probes
      ? [
          every("probes", settings.probeSeconds, () =>
            probeAll(addresses, settings.probePort, join(folder, "probes.jsonl")),
          ),
        ]
      : []),
  ]);
}

await runMain(program, main);
