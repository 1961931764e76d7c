// Collector: when the load has ended, exports metrics, logs and objects, makes the summary, and writes the manifest last.
import { createReadStream } from "node:fs";
import { copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createGunzip } from "node:zlib";
import { Env } from "../shared/env.ts";
import { describe, runMain, say } from "../shared/errors.ts";
import type { ConductorReport, FaultPlan } from "../shared/faults.ts";
import { filesBelow, readJsonIfThere, sha256OfFile, sizeIfThere, writeJsonAtomic } from "../shared/files.ts";
import { failureOf, jobOfRole, KubeClient } from "../shared/kube.ts";
import type {
  LoadProgress,
  LoadReport,
  LoadSpec,
  Manifest,
  ManifestFile,
  Quality,
  Timeline,
} from "../shared/rows.ts";
import { nowUnixNs, plusSeconds, rfc3339, secondsBetween } from "../shared/time.ts";
import { found, type Look, missing, waitFor } from "../shared/wait.ts";
import { type ClusterExport, exportCluster } from "./cluster.ts";
import { isOfFaults } from "./labels.ts";
import { Patience } from "./patience.ts";
import { type JobExport, Prometheus, type TargetHealth, type Window } from "./prometheus.ts";
import { qualityChecks } from "./quality.ts";
import { exportRequests, requestColumns } from "./requests.ts";
import { measurementOf, type StandIn, standInTexts } from "./stand-ins.ts";
import { Summarizer, type Summary } from "./summary.ts";
import { judgeRun, verdictCheck } from "./verdicts.ts";

interface Settings {
  readonly experimentId: string;
  readonly resultsDir: string;
  readonly namespace: string;
  readonly prometheusUrl: string;
  readonly loadTimeoutSeconds: number;
  readonly scrapeIntervalSeconds: number;
  readonly experimentFile: string;
  readonly loadSpecFile: string;
  /** Empty in a run without faults. */
  readonly faultPlanFile: string;
  readonly conductorTimeoutSeconds: number;
  readonly pollSeconds: number;
  readonly retrySeconds: number;
}

/** EXPERIMENT_FILE: written by the experiment stack. */
interface ExperimentFile {
  readonly experiment: unknown;
  readonly images?: Readonly<Record<string, string>>;
  readonly stack?: unknown;
  readonly standIns?: readonly StandIn[];
}

const program = "collector";
const leadInSeconds = 30;
const scrapesAfter = 2;

function readSettings(): Settings {
  const env = new Env();
  const settings: Settings = {
    experimentId: env.text("EXPERIMENT_ID"),
    resultsDir: env.text("RESULTS_DIR"),
    namespace: env.text("NAMESPACE"),
    prometheusUrl: env.url("PROMETHEUS_URL"),
    loadTimeoutSeconds: env.number("LOAD_TIMEOUT_SECONDS", { minimum: 1 }),
    scrapeIntervalSeconds: env.number("SCRAPE_INTERVAL_SECONDS", { minimum: 0.1 }),
    experimentFile: env.text("EXPERIMENT_FILE"),
    loadSpecFile: env.text("LOAD_SPEC_FILE", "/config/load.json"),
    faultPlanFile: env.text("FAULT_PLAN_FILE", ""),
    conductorTimeoutSeconds: env.number("CONDUCTOR_TIMEOUT_SECONDS", { minimum: 0, fallback: 0 }),
    pollSeconds: env.number("POLL_SECONDS", { minimum: 0.01, fallback: 2 }),
    retrySeconds: env.number("RETRY_SECONDS", { minimum: 0, fallback: 60 }),
  };
  env.check();
  return settings;
}

/** Runs one part of the export; its failure is told and does not stop the others. */
class Parts {
  readonly problems: string[] = [];

  async run<T>(name: string, part: () => Promise<T>): Promise<T | undefined> {
    say(program, name);
    try {
      return await part();
    } catch (error) {
      this.problems.push(`${name}: ${describe(error)}`);
      say(program, `${name} failed: ${describe(error)}`);
      return undefined;
    }
  }
}

/** The load's report, or why there is none. */
async function waitForLoad(
  settings: Settings,
  kube: KubeClient,
): Promise<{ readonly report?: LoadReport; readonly problem?: string }> {
  const folder = join(settings.resultsDir, "load");
  let failure: string | undefined;
  const look = async (): Promise<Look<LoadReport>> => {
    const report = await readJsonIfThere<LoadReport>(join(folder, "load.json"));
    if (report !== undefined) return found(report);
    if (failure !== undefined) throw new Error(`Job load has failed (${failure}) and left no load.json`);
    try {
      const job = jobOfRole(await kube.jobs(settings.namespace), "load", settings.experimentId);
      // The file may have come between the two looks: one more look decides.
      failure = job === undefined ? undefined : failureOf(job);
    } catch {
      // The API server may be away for a while; the file decides anyway.
    }
    const progress = await readJsonIfThere<LoadProgress>(join(folder, "progress.json")).catch(
      () => undefined,
    );
    if (progress === undefined) return missing("the load has not begun");
    return missing(`the load plays: ${progress.sent} of ${progress.scheduled} requests sent`);
  };
  try {
    const report = await waitFor({
      what: "load/load.json",
      timeoutSeconds: settings.loadTimeoutSeconds,
      intervalSeconds: settings.pollSeconds,
      look,
      progress: (text) => say(program, text),
    });
    return { report };
  } catch (error) {
    say(program, describe(error));
    return { problem: describe(error) };
  }
}

/** The faults are over when the conductor has ended, well or not. */
async function waitForConductor(settings: Settings, kube: KubeClient): Promise<void> {
  const file = join(settings.resultsDir, "faults", "conductor.json");
  let failure: string | undefined;
  const report = await waitFor({
    what: "faults/conductor.json",
    timeoutSeconds: settings.conductorTimeoutSeconds,
    intervalSeconds: settings.pollSeconds,
    look: async (): Promise<Look<ConductorReport>> => {
      const ended = await readJsonIfThere<ConductorReport>(file);
      if (ended !== undefined) return found(ended);
      if (failure !== undefined) throw new Error(`Job conductor has failed (${failure})`);
      const jobs = await kube.jobs(settings.namespace).catch(() => []);
      const job = jobOfRole(jobs, "conductor", settings.experimentId);
      failure = job === undefined ? undefined : failureOf(job);
      return missing("the conductor has not ended");
    },
    progress: (text) => say(program, text),
  });
  say(program, `${report.delivered} of ${report.faults} faults were delivered`);
}

async function readPlan(settings: Settings): Promise<FaultPlan> {
  const text = await readFile(settings.faultPlanFile, "utf8");
  await mkdir(join(settings.resultsDir, "faults"), { recursive: true });
  await copyFile(settings.faultPlanFile, join(settings.resultsDir, "faults", "plan.json"));
  return JSON.parse(text) as FaultPlan;
}

async function exportMetrics(
  settings: Settings,
  window: Window,
  parts: Parts,
): Promise<{
  readonly jobs: readonly JobExport[];
  readonly health: readonly TargetHealth[];
  readonly version?: string;
}> {
  const prometheus = new Prometheus(settings.prometheusUrl, new Patience(settings.retrySeconds));
  const names = await parts.run("metrics: jobs of the window", () => prometheus.jobs(window));
  if (names === undefined) return { jobs: [], health: [] };
  const jobs: JobExport[] = [];
  for (const [index, name] of names.entries()) {
    const job = await parts.run(`metrics: job ${name} (${index + 1} of ${names.length})`, () =>
      prometheus.exportJob(
        name,
        window,
        settings.resultsDir,
        settings.faultPlanFile === "" ? undefined : isOfFaults,
      ),
    );
    if (job === undefined) continue;
    jobs.push(job);
    if (job.problem !== undefined) parts.problems.push(`metrics: job ${name}: ${job.problem}`);
  }
  // From T0 on: before it, a target may still have been starting.
  const judged = { ...window, startUnixSeconds: window.startUnixSeconds + leadInSeconds };
  const health = await parts.run("metrics: health of the scrapes", () =>
    prometheus.health(judged, settings.scrapeIntervalSeconds),
  );
  const targets = await parts.run("metrics: targets", () => prometheus.targets());
  const version = await parts.run("metrics: version", () => prometheus.version());
  await writeJsonAtomic(join(settings.resultsDir, "metrics", "scrape-health.json"), {
    schemaVersion: 1,
    window,
    scrapeIntervalSeconds: settings.scrapeIntervalSeconds,
    jobs,
    up: health ?? [],
    targets: targets ?? null,
  });
  return { jobs, health: health ?? [], ...(version === undefined ? {} : { version }) };
}

function windowOf(
  settings: Settings,
  timeline: Timeline | undefined,
  report: LoadReport | undefined,
  lastDoneUnixNs: bigint | undefined,
): Window | undefined {
  if (timeline === undefined) return undefined;
  const t0 = BigInt(timeline.t0UnixNs);
  const ended = report?.endedUnixNs == null ? (lastDoneUnixNs ?? nowUnixNs()) : BigInt(report.endedUnixNs);
  const end = plusSeconds(ended, scrapesAfter * settings.scrapeIntervalSeconds);
  return {
    startUnixSeconds: Number(plusSeconds(t0, -leadInSeconds) / 1_000_000n) / 1000,
    endUnixSeconds: Number((end > t0 ? end : plusSeconds(t0, 1)) / 1_000_000n) / 1000,
  };
}

async function countLines(file: string): Promise<number> {
  const raw = createReadStream(file);
  let lines = 0;
  for await (const chunk of file.endsWith(".gz") ? raw.pipe(createGunzip()) : raw) {
    for (const byte of chunk as Buffer) if (byte === 10) lines += 1;
  }
  return lines;
}

async function listFiles(
  folder: string,
  rowsOf: ReadonlyMap<string, number>,
): Promise<readonly ManifestFile[]> {
  const files: ManifestFile[] = [];
  for (const path of await filesBelow(folder)) {
    if (path === "manifest.json" || path.endsWith(".tmp")) continue;
    const file = join(folder, path);
    const rows = rowsOf.get(path) ?? (/\.jsonl(\.gz)?$/.test(path) ? await countLines(file) : undefined);
    const sizeBytes = (await sizeIfThere(file)) ?? 0;
    files.push({
      path,
      sizeBytes,
      sha256: await sha256OfFile(file),
      ...(rows === undefined ? {} : { rows }),
    });
  }
  return files;
}

async function main(): Promise<void> {
  const settings = readSettings();
  const { experimentId, resultsDir } = settings;
  const manifestFile = join(resultsDir, "manifest.json");
  const earlier = await readJsonIfThere<Manifest>(manifestFile);
  if (earlier?.complete === true) {
    say(program, "manifest.json is there already: nothing to do");
    return;
  }
  // What a killed run of this program has left would otherwise enter the manifest.
  for (const leftover of [
    "manifest.json",
    "metrics",
    "logs",
    "objects",
    "requests.csv",
    "summary.json",
    "quality.json",
    "verdicts.json",
    "faults/metrics",
    "faults/logs",
    "faults/objects",
  ]) {
    await rm(join(resultsDir, leftover), { recursive: true, force: true });
  }
  const kube = KubeClient.inCluster();
  const load = await waitForLoad(settings, kube);
  const parts = new Parts();
  const withFaults = settings.faultPlanFile !== "";
  if (withFaults) await parts.run("conductor", () => waitForConductor(settings, kube));
  await mkdir(join(resultsDir, "load"), { recursive: true });

  const experiment = await parts.run("experiment", () => readExperiment(settings));
  const spec = await parts.run("load specification", () => readSpec(settings));
  const plan = withFaults ? await parts.run("fault plan", () => readPlan(settings)) : undefined;
  const timeline = await parts.run("timeline", () => readTimeline(resultsDir));
  const t0 = timeline === undefined ? undefined : BigInt(timeline.t0UnixNs);

  // Requests.
  const summarizer = new Summarizer(spec?.cells ?? [], t0);
  const tokens = { ok: 0, promptOverheads: new Map<number, number>(), outputAsExpected: 0 };
  let lastDoneUnixNs: bigint | undefined;
  const requests = (await parts.run("requests", async () => {
    const result = await exportRequests(
      join(resultsDir, "load", "requests.jsonl"),
      join(resultsDir, "requests.csv"),
      (row) => {
        summarizer.add(row);
        if (row.sentUnixNs !== null) {
          const done = BigInt(row.sentUnixNs) + BigInt(Math.round(row.doneNs ?? 0));
          if (lastDoneUnixNs === undefined || done > lastDoneUnixNs) lastDoneUnixNs = done;
        }
        if (row.status !== "ok") return;
        tokens.ok += 1;
        if (row.promptTokens !== null) {
          const overhead = row.promptTokens - row.expectedPromptTokens;
          tokens.promptOverheads.set(overhead, (tokens.promptOverheads.get(overhead) ?? 0) + 1);
        }
        if (row.outputTokens === row.expectedOutputTokens) tokens.outputAsExpected += 1;
      },
    );
    await writeJsonAtomic(
      join(resultsDir, "requests.columns.json"),
      requestColumns.map(({ name, meaning }) => ({ name, meaning })),
    );
    return result;
  })) ?? { rows: 0, unreadableLines: 0 };

  // Metrics: the last scrapes must have been taken and stored.
  const window = windowOf(settings, timeline, load.report, lastDoneUnixNs);
  if (window !== undefined) {
    const waitMs = Math.min(
      window.endUnixSeconds * 1000 - Date.now(),
      scrapesAfter * settings.scrapeIntervalSeconds * 1000,
    );
    if (waitMs > 0) {
      say(program, `waiting ${(waitMs / 1000).toFixed(1)} s for the last scrapes`);
      await sleep(waitMs);
    }
  }
  const metrics =
    window === undefined ? { jobs: [], health: [] } : await exportMetrics(settings, window, parts);

  // Kubernetes.
  const patience = new Patience(settings.retrySeconds);
  const cluster = await parts.run<ClusterExport>("objects and logs", () =>
    exportCluster(kube, settings.namespace, resultsDir, patience, withFaults),
  );
  const verdicts =
    plan === undefined || spec === undefined || t0 === undefined
      ? undefined
      : await parts.run("verdicts", () =>
          judgeRun({
            experimentId,
            namespace: settings.namespace,
            resultsDir,
            plan,
            cells: spec.cells,
            t0UnixNs: t0,
          }),
        );
  if (verdicts !== undefined) await writeJsonAtomic(join(resultsDir, "verdicts.json"), verdicts);
  const kubernetes = await parts.run("version of Kubernetes", () =>
    kube.get<{ gitVersion: string }>("/version"),
  );

  // Quality and summary.
  const verdictOf = new Map(verdicts?.cells.map(({ cell, verdict }) => [cell, verdict]));
  const measured = qualityChecks({
    report: load.report,
    reportProblem: load.problem,
    requests,
    tokens,
    overall: summarizer.overall(),
    randomArrivals: (spec?.cells ?? []).some(({ arrivals }) => arrivals !== "constant"),
    jobs: metrics.jobs,
    health: metrics.health,
    cluster,
    problems: parts.problems,
  });
  const checks = verdicts === undefined ? measured : [...measured, verdictCheck(verdicts)];
  const failed = checks.filter(({ pass }) => !pass).map(({ check }) => check);
  const verdict = failed.length === 0 ? "pass" : "fail";
  const quality: Quality & { notes: readonly string[] } = {
    schemaVersion: 1,
    experimentId,
    verdict,
    checks,
    notes: cluster?.notes ?? [],
  };
  // Without the experiment's file nobody knows what answered: then it must not pass for an engine.
  const standIns =
    experiment === undefined ? ["unknown (there is no experiment file)"] : (experiment.standIns ?? []);
  const summary: Summary = {
    schemaVersion: 1,
    experimentId,
    ...measurementOf(standIns),
    standIns: standInTexts(standIns),
    model: spec?.target.model ?? "(unknown)",
    t0UnixNs: timeline?.t0UnixNs ?? null,
    t0: t0 === undefined ? null : rfc3339(t0),
    endedUnixNs: load.report?.endedUnixNs ?? (lastDoneUnixNs === undefined ? null : String(lastDoneUnixNs)),
    cells: summarizer.cells().map((cell) => {
      const cellVerdict = verdictOf.get(cell.id);
      return cellVerdict === undefined ? cell : { ...cell, verdict: cellVerdict };
    }),
    overall: summarizer.overall(),
    quality: { verdict, failed, checks: checks.length },
  };
  await writeJsonAtomic(join(resultsDir, "quality.json"), quality);
  await writeJsonAtomic(join(resultsDir, "summary.json"), summary);

  // The manifest is the marker: nothing may change after it.
  say(program, "hashing");
  const rowsOf = new Map([
    ["requests.csv", requests.rows],
    ...metrics.jobs.map(({ path, lines }) => [path, lines] as const),
  ]);
  const manifest: Manifest = {
    schemaVersion: 1,
    experimentId,
    completedUnixNs: String(nowUnixNs()),
    standIns: standInTexts(standIns),
    complete: load.report !== undefined,
    files: await listFiles(resultsDir, rowsOf),
    versions: {
      node: process.version,
      loadGenerator: load.report?.loadGenerator ?? "(unknown)",
      kubernetes: kubernetes?.gitVersion ?? "(unknown)",
      prometheus: ("version" in metrics ? metrics.version : undefined) ?? "(unknown)",
      ...Object.fromEntries(
        Object.entries(experiment?.images ?? {}).map(([key, image]) => [`image.${key}`, image]),
      ),
    },
  };
  await writeJsonAtomic(manifestFile, manifest);
  const seconds = t0 === undefined ? "" : `, ${secondsBetween(t0, nowUnixNs()).toFixed(0)} s after T0`;
  say(
    program,
    `done: ${manifest.files.length} files, ${requests.rows} requests, quality ${verdict}${seconds}`,
  );
  if (failed.length > 0) say(program, `failed checks: ${failed.join(", ")}`);
}

/** Without it there is no window, and so there are no metrics. */
async function readTimeline(resultsDir: string): Promise<Timeline> {
  return JSON.parse(await readFile(join(resultsDir, "timeline.json"), "utf8")) as Timeline;
}

async function readExperiment(settings: Settings): Promise<ExperimentFile> {
  const text = await readFile(settings.experimentFile, "utf8");
  const experiment = JSON.parse(text) as ExperimentFile;
  await copyFile(settings.experimentFile, join(settings.resultsDir, "experiment.json"));
  return experiment;
}

async function readSpec(settings: Settings): Promise<LoadSpec> {
  const spec = JSON.parse(await readFile(settings.loadSpecFile, "utf8")) as LoadSpec;
  await copyFile(settings.loadSpecFile, join(settings.resultsDir, "load", "spec.json"));
  return spec;
}

await runMain(program, main);
