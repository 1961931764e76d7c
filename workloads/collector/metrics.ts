// metrics/: every scrape job of the window, and the health of the scrapes.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { say } from "../shared/errors.ts";
import { writeJsonAtomic } from "../shared/files.ts";
import type { LoadReport, Timeline } from "../shared/rows.ts";
import { nowUnixNs, plusSeconds } from "../shared/time.ts";
import { isOfFaults } from "./labels.ts";
import type { Parts } from "./parts.ts";
import { Patience } from "./patience.ts";
import { type JobExport, Prometheus, type TargetHealth, type Window } from "./prometheus.ts";
import type { Settings } from "./settings.ts";

/** The window begins so long before T0 ... */
const leadInSeconds = 30;
/** ... and ends so many scrapes after the load. */
const scrapesAfter = 2;

export interface MetricsExport {
  readonly jobs: readonly JobExport[];
  readonly health: readonly TargetHealth[];
  /** Of Prometheus. */
  readonly version?: string;
}

/** Undefined where T0 is not known. */
export function windowOf(
  settings: Pick<Settings, "scrapeIntervalSeconds">,
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

/** The last scrapes must have been taken and stored. */
export async function waitForScrapes(
  { scrapeIntervalSeconds }: Pick<Settings, "scrapeIntervalSeconds">,
  window: Window,
): Promise<void> {
  const leftMs = window.endUnixSeconds * 1000 - Date.now();
  const waitMs = Math.min(leftMs, scrapesAfter * scrapeIntervalSeconds * 1000);
  if (waitMs <= 0) return;
  say("collector", `waiting ${(waitMs / 1000).toFixed(1)} s for the last scrapes`);
  await sleep(waitMs);
}

export async function exportMetrics(
  settings: Settings,
  window: Window,
  parts: Parts,
): Promise<MetricsExport> {
  const prometheus = new Prometheus(settings.prometheusUrl, new Patience(settings.retrySeconds));
  let others: ReadonlySet<string> = new Set();
  const names = await parts.run("metrics: jobs of the window", async () => {
    const found = await prometheus.jobs(window);
    if (found?.length > 0) others = await prometheus.otherExperiments(settings.namespace, window);
    return found;
  });
  if (names === undefined) return { jobs: [], health: [] };
  const jobs: JobExport[] = [];
  for (const [index, name] of names.entries()) {
    const job = await parts.run(`metrics: job ${name} (${index + 1} of ${names.length})`, () =>
      prometheus.exportJob(
        name,
        window,
        settings.resultsDir,
        settings.faultPlanFile === "" ? undefined : isOfFaults,
        others,
      ),
    );
    if (job === undefined) continue;
    jobs.push(job);
    if (job.problem !== undefined) parts.problems.push(`metrics: job ${name}: ${job.problem}`);
  }
  // From T0 on: before it, a target may still have been starting.
  const judged = { ...window, startUnixSeconds: window.startUnixSeconds + leadInSeconds };
  const health = await parts.run("metrics: health of the scrapes", () =>
    prometheus.health(judged, settings.scrapeIntervalSeconds, others),
  );
  const targets = await parts.run("metrics: targets", () => prometheus.targets(others));
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
