// What the tests of the conductor share: a run's folder and plan, the child process, and its records.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished } from "vitest";
import type { FaultRecord, PlanEntry } from "../../workloads/shared/faults.ts";
import { type FakeChaos, namespace } from "./fake-chaos.ts";
import { root, stable, temporaryFolder } from "./support.ts";

const id = "smoke-r1-3f9ac2";
export const cell = "rate-4-iteration-1";

interface Run {
  readonly folder: string;
  /** Sets T0, so many milliseconds from now. */
  setT0(offsetMs: number): void;
  start(): Conductor;
  /** Starts a conductor, and sets T0 when it waits for it: how long a program takes to start is no part of a test. */
  play(offsetMs?: number): Promise<Conductor>;
}

interface Conductor {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output(): string;
}

/** One entry of a plan: a cpu fault on the one worker, from 0.6 s to 1.6 s. */
export function entry(overrides: Partial<PlanEntry> = {}): PlanEntry {
  const object = {
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "StressChaos",
    metadata: { name: "fault-cpu", namespace },
    spec: { mode: "all" },
  };
  return {
    fault: "cpu",
    cell,
    kind: "cpu",
    startOffsetSeconds: 0.6,
    durationSeconds: 1,
    selector: "ray.io/node-type=worker",
    container: "ray-worker",
    expectedTargets: 1,
    oneShot: false,
    parameters: { workers: 2 },
    object,
    ...overrides,
  };
}

/** The folder and the environment of one run of the conductor, or of several one after the other. */
export function prepare(
  fake: FakeChaos,
  faults: readonly PlanEntry[],
  env: Record<string, string> = {},
): Run {
  const base = temporaryFolder();
  const folder = join(base, id);
  mkdirSync(folder);
  writeFileSync(join(base, "plan.json"), JSON.stringify({ schemaVersion: 1, experimentId: id, faults }));
  const setT0 = (offsetMs: number): void => {
    const t0UnixNs = `${Date.now() + offsetMs}000000`;
    writeFileSync(join(folder, "timeline.tmp"), JSON.stringify({ t0UnixNs }));
    renameSync(join(folder, "timeline.tmp"), join(folder, "timeline.json"));
  };
  const start = (): Conductor => {
    const child = spawn(process.execPath, ["--no-warnings", join(root, "workloads/conductor/main.ts")], {
      env: {
        PATH: process.env["PATH"] ?? "",
        EXPERIMENT_ID: id,
        RESULTS_DIR: folder,
        NAMESPACE: namespace,
        PLAN_FILE: join(base, "plan.json"),
        T0_TIMEOUT_SECONDS: "30",
        PLAY_SECONDS: "1.6",
        RECOVERY_SECONDS: "2",
        GRACE_SECONDS: "5",
        PROBE_PORT: "1",
        POLL_SECONDS: "0.05",
        WATCH_SECONDS: "0.1",
        KUBE_API_URL: fake.url,
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
    }
    onTestFinished(() => {
      child.kill("SIGKILL");
    });
    const ended = new Promise<number | null>((done) => child.once("close", (code) => done(code)));
    return { child, ended, output: () => stable(text) };
  };
  const play = async (offsetMs = 100): Promise<Conductor> => {
    const conductor = start();
    await until("the conductor", () => conductor.output().includes("T0 is not known yet"));
    setT0(offsetMs);
    return conductor;
  };
  return { folder, setT0, start, play };
}

export function recordOf({ folder }: Run, fault = "cpu", ofCell = cell): FaultRecord {
  return JSON.parse(readFileSync(join(folder, "faults", ofCell, `${fault}.json`), "utf8")) as FaultRecord;
}

export const ms = (unixNs: string | undefined | null): number => Number(BigInt(unixNs ?? "0") / 1_000_000n);

/** Waits at most 8 s. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let n = 0; n < 400; n++) {
    if (holds()) return;
    await sleep(20);
  }
  throw new Error(`${what} has not come`);
}

export const inState =
  (run: Run, state: string, fault = "cpu") =>
  () => {
    try {
      return recordOf(run, fault).state === state;
    } catch {
      return false;
    }
  };
