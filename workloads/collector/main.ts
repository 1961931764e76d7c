// Collector: when the load has ended, exports metrics, logs, spans and objects, makes the summary, and writes the manifest last.
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { runMain, say } from "../shared/errors.ts";
import { readJsonIfThere, writeJsonAtomic } from "../shared/files.ts";
import { KubeClient } from "../shared/kube.ts";
import type { Manifest, Quality } from "../shared/rows.ts";
import { nowUnixNs, rfc3339, secondsBetween } from "../shared/time.ts";
import { cellsIndex, RowCounts } from "./cells.ts";
import { type ClusterExport, exportCluster } from "./cluster.ts";
import { writeDiverse } from "./diverse.ts";
import { readFaultWindows } from "./fault-windows.ts";
import { readExperiment, readPlan, readSpec, readTimeline } from "./inputs.ts";
import { listFiles } from "./manifest.ts";
import { exportMetrics, type MetricsExport, waitForScrapes, windowOf } from "./metrics.ts";
import { exportObservability, Parts } from "./parts.ts";
import { Patience } from "./patience.ts";
import { qualityChecks, TokenCounts } from "./quality.ts";
import { exportRequests, requestColumns } from "./requests.ts";
import { readSettings } from "./settings.ts";
import { measurementOf, standInTexts } from "./stand-ins.ts";
import { Summarizer, type Summary } from "./summary.ts";
import { judgeRun, verdictCheck } from "./verdicts.ts";
import { waitForConductor, waitForLoad } from "./waiting.ts";

const program = "collector";

/** What a killed run of this program has left would otherwise enter the manifest. */
const outputs = [
  "manifest.json",
  ...["metrics", "logs", "objects", "loki", "traces", "flows", "grafana", "diverse"],
  ...["requests.csv", "requests.columns.json", "summary.json", "quality.json", "verdicts.json"],
  ...["cells.json", "exports.json"],
  ...["metrics", "logs", "objects", "loki", "flows"].map((folder) => `faults/${folder}`),
];

async function main(): Promise<void> {
  const settings = readSettings();
  const { experimentId, resultsDir } = settings;
  const manifestFile = join(resultsDir, "manifest.json");
  const earlier = await readJsonIfThere<Manifest>(manifestFile);
  if (earlier?.complete === true) {
    say(program, "manifest.json is there already: nothing to do");
    return;
  }
  for (const leftover of outputs) await rm(join(resultsDir, leftover), { recursive: true, force: true });
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
  const faults =
    plan === undefined
      ? []
      : ((await parts.run("fault records", () => readFaultWindows(resultsDir, plan))) ?? []);

  // Requests.
  const skippedCells = load.report?.skippedCells ?? [];
  const summarizer = new Summarizer({
    plan: spec?.cells ?? [],
    t0UnixNs: t0,
    slo: experiment?.experiment.slo,
    skippedCells,
    saturatedCells: load.report?.saturatedCells ?? [],
    faultCells: new Set(plan?.faults.map(({ cell }) => cell)),
  });
  const tokens = new TokenCounts();
  const rowCounts = new RowCounts();
  let lastDoneUnixNs: bigint | undefined;
  const requests = (await parts.run("requests", async () => {
    const jsonl = join(resultsDir, "load", "requests.jsonl");
    const csv = join(resultsDir, "requests.csv");
    const result = await exportRequests(
      jsonl,
      csv,
      (row) => {
        summarizer.add(row);
        tokens.add(row);
        rowCounts.add(row);
        if (row.sentUnixNs === null) return;
        const done = BigInt(row.sentUnixNs) + BigInt(Math.round(row.doneNs ?? 0));
        if (lastDoneUnixNs === undefined || done > lastDoneUnixNs) lastDoneUnixNs = done;
      },
      faults,
    );
    await writeJsonAtomic(
      join(resultsDir, "requests.columns.json"),
      requestColumns.map(({ name, meaning }) => ({ name, meaning })),
    );
    return result;
  })) ?? { rows: 0, unreadableLines: 0 };

  // Metrics: the last scrapes must have been taken and stored.
  const window = windowOf(settings, timeline, load.report, lastDoneUnixNs);
  if (window !== undefined) await waitForScrapes(settings, window);
  const metrics: MetricsExport =
    window === undefined ? { jobs: [], health: [] } : await exportMetrics(settings, window, parts);

  // The cluster.
  const chaos = plan?.faults.some(({ object }) => object !== undefined) ?? false;
  const cluster = await parts.run<ClusterExport>("objects and logs", () =>
    exportCluster(
      kube,
      settings.namespace,
      resultsDir,
      new Patience(settings.retrySeconds),
      withFaults ? { chaos } : undefined,
    ),
  );
  const kubernetes = await parts.run("version of Kubernetes", () =>
    kube.get<{ gitVersion: string }>("/version"),
  );
  const versions: Manifest["versions"] = {
    node: process.version,
    loadGenerator: load.report?.loadGenerator ?? "(unknown)",
    kubernetes: kubernetes?.gitVersion ?? "(unknown)",
    prometheus: metrics.version ?? "(unknown)",
    ...Object.fromEntries(
      Object.entries(experiment?.images ?? {}).map(([key, image]) => [`image.${key}`, image]),
    ),
  };
  if (cluster !== undefined) {
    await parts.run("diverse", () =>
      writeDiverse({
        folder: resultsDir,
        objects: cluster.objects,
        versions,
        capabilities: experiment?.stack?.capabilities,
      }),
    );
  }
  const exports = await exportObservability(settings, experiment?.stack ?? {}, window, kube, parts);
  await writeJsonAtomic(join(resultsDir, "exports.json"), { schemaVersion: 1, parts: exports });

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
  if (spec !== undefined && t0 !== undefined) {
    await writeJsonAtomic(
      join(resultsDir, "cells.json"),
      cellsIndex({
        experimentId,
        plan: spec.cells,
        t0UnixNs: t0,
        skippedCells,
        faults,
        plannedFaults: plan?.faults ?? [],
        rows: rowCounts,
      }),
    );
  }

  // Quality and summary.
  const verdictOf = new Map(verdicts?.cells.map(({ cell, verdict }) => [cell, verdict]));
  const cells = spec?.cells ?? [];
  const measured = qualityChecks({
    report: load.report,
    reportProblem: load.problem,
    requests,
    tokens,
    overall: summarizer.overall(),
    randomArrivals: cells.some(({ arrivals }) => arrivals !== "constant"),
    closedLoop: cells.some(({ ratePerSecond }) => ratePerSecond === null),
    jobs: metrics.jobs,
    health: metrics.health,
    faultedNamespace: withFaults ? settings.namespace : undefined,
    cluster,
    problems: parts.problems,
  });
  const checks = verdicts === undefined ? measured : [...measured, verdictCheck(verdicts)];
  const failed = checks.filter(({ pass }) => !pass).map(({ check }) => check);
  const verdict = failed.length === 0 ? "pass" : "fail";
  // A part that has failed is a problem already.
  const partNotes = exports
    .filter(({ state }) => state !== "failed")
    .flatMap(({ part, reasons }) => reasons.map((reason) => `${part}: ${reason}`));
  const notes = [...(cluster?.notes ?? []), ...partNotes];
  const quality: Quality & { notes: readonly string[] } = {
    schemaVersion: 1,
    experimentId,
    verdict,
    checks,
    notes,
  };
  // Without the experiment's file nobody knows what answered: then it must not pass for an engine.
  const standIns =
    experiment === undefined ? ["unknown (there is no experiment file)"] : (experiment.standIns ?? []);
  const answered = experiment?.experiment;
  const existingUrl = answered?.engine === "existing" ? (answered.existing?.url ?? undefined) : undefined;
  const self = load.report?.selfCheck ?? undefined;
  const summary: Summary = {
    schemaVersion: 1,
    experimentId,
    ...measurementOf(standIns, existingUrl),
    standIns: standInTexts(standIns),
    model: spec?.target.model ?? "(unknown)",
    t0UnixNs: timeline?.t0UnixNs ?? null,
    t0: t0 === undefined ? null : rfc3339(t0),
    endedUnixNs: load.report?.endedUnixNs ?? (lastDoneUnixNs === undefined ? null : String(lastDoneUnixNs)),
    slo: experiment?.experiment.slo ?? null,
    loadGenerator: self === undefined ? null : { bottleneck: self.bottleneck, reasons: self.reasons },
    cells: summarizer.cells().map((cell) => {
      const cellVerdict = verdictOf.get(cell.id);
      return cellVerdict === undefined ? cell : { ...cell, verdict: cellVerdict };
    }),
    overall: summarizer.overall(),
    saturation: summarizer.saturation(),
    impact: summarizer.impact(),
    quality: { verdict, failed, checks: checks.length },
  };
  await writeJsonAtomic(join(resultsDir, "quality.json"), quality);
  await writeJsonAtomic(join(resultsDir, "summary.json"), summary);

  // The manifest is the marker: nothing may change after it.
  say(program, "hashing");
  const manifest: Manifest = {
    schemaVersion: 1,
    experimentId,
    completedUnixNs: String(nowUnixNs()),
    standIns: standInTexts(standIns),
    complete: load.report?.aborted === false,
    notes,
    files: await listFiles(
      resultsDir,
      new Map([
        ["requests.csv", requests.rows],
        ...metrics.jobs.map(({ path, lines }) => [path, lines] as const),
        ...exports.flatMap(({ files }) =>
          files.flatMap(({ path, rows }) => (rows === undefined ? [] : [[path, rows] as const])),
        ),
      ]),
    ),
    versions,
  };
  await writeJsonAtomic(manifestFile, manifest);
  const seconds = t0 === undefined ? "" : `, ${secondsBetween(t0, nowUnixNs()).toFixed(0)} s after T0`;
  say(
    program,
    `done: ${manifest.files.length} files, ${requests.rows} requests, quality ${verdict}${seconds}`,
  );
  if (failed.length > 0) say(program, `failed checks: ${failed.join(", ")}`);
}

await runMain(program, main);
