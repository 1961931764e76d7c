// Fills the cache of Helm charts, so that the engine reads them from disk: fetched once, checked against their pins.

import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { UserError } from "../../errors.ts";
import { readPin } from "../common/pin.ts";
import { type ChartRef, chartFile, chartsFolder } from "./chart.ts";
import { addToLock, lockedSha256, lockFile, readLock } from "./chart-lock.ts";
import { ChartIndexes, download } from "./chart-repository.ts";

export interface PullOptions {
  /** Folder of the cache, of the lock file and of relative paths; plug-ins must run there. */
  readonly projectDir: string;
  /** Takes the repository's digest of a chart that has no pin, and adds it to the lock file. @default false */
  readonly pin?: boolean;
  /** Name of the cluster's configuration, for messages. @default none is named */
  readonly cluster?: string;
  /** Longest time for all charts together, since they are fetched side by side. @default 60 */
  readonly timeoutSeconds?: number;
}

/** What became of one chart. */
export interface PulledChart {
  readonly chart: ChartRef;
  readonly sha256: string;
  /** Where it was fetched from; undefined when it was in the cache. */
  readonly address?: string;
  /** Whether its digest was new to the lock file. */
  readonly pinned: boolean;
}

export interface EnsureOptions extends Omit<PullOptions, "pin"> {
  readonly preview: boolean;
  /** Whether this preview knows the kubeconfig: only then does the provider load charts. `up` always needs them. */
  readonly needed: boolean;
}

/** Puts the charts of a deployment into the cache; a preview of a cluster that is not there yet touches nothing. */
export async function ensureCharts(charts: readonly ChartRef[], options: EnsureOptions): Promise<void> {
  if (options.preview && !options.needed) {
    return;
  }
  await pullCharts(charts, options);
}

/** Fetches what the cache lacks. All problems are one UserError; what did arrive stays. */
export async function pullCharts(charts: readonly ChartRef[], options: PullOptions): Promise<PulledChart[]> {
  const lock = readLock(options.projectDir);
  const signal = AbortSignal.timeout((options.timeoutSeconds ?? 60) * 1000);
  const indexes = new ChartIndexes(signal);
  const results = await Promise.allSettled(
    charts.map((chart) =>
      pull(chart, pinOf(chart, lockedSha256(lock, chart), options), indexes, signal, options),
    ),
  );
  const pulled = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const added = pulled.filter(({ pinned }) => pinned);
  if (added.length > 0) {
    addToLock(
      options.projectDir,
      added.map(({ chart: { name, version, repository }, sha256 }) => ({
        name,
        version,
        repository,
        sha256,
      })),
    );
  }
  const problems = results.flatMap((result, index) => {
    if (result.status === "fulfilled") {
      return [];
    }
    if (!(result.reason instanceof UserError)) {
      throw result.reason;
    }
    return [`  - ${charts[index]?.name} ${charts[index]?.version}: ${result.reason.message}`];
  });
  if (problems.length > 0) {
    throw new UserError(
      `Helm charts: ${problems.length} problem${problems.length === 1 ? "" : "s"}\n${problems.join("\n")}\n` +
        `Where there is no network, copy ${chartsFolder}/ from a machine on which \`${command(options)}\` has filled it.`,
    );
  }
  return pulled;
}

/** A digest and where it is written down. */
interface Pin {
  readonly sha256: string;
  readonly origin: string;
}

/** The configuration's own pin wins over the lock file. */
function pinOf(
  chart: ChartRef,
  locked: string | undefined,
  options: PullOptions,
): Pin | { problem: string } | undefined {
  const { sha256, sha256File } = chart;
  const fileName = chartFile(chart);
  const given = readPin({ prefix: "", fileName, address: fileName, sha256, sha256File }, options.projectDir);
  if (given !== undefined) {
    return "problem" in given ? given : { ...given, origin: sha256File ?? "the cluster's configuration" };
  }
  return locked === undefined ? undefined : { sha256: locked, origin: lockFile };
}

async function pull(
  chart: ChartRef,
  pin: Pin | { problem: string } | undefined,
  indexes: ChartIndexes,
  signal: AbortSignal,
  options: PullOptions,
): Promise<PulledChart> {
  if (pin !== undefined && "problem" in pin) {
    throw new UserError(pin.problem);
  }
  if (pin === undefined && options.pin !== true) {
    throw new UserError(
      `no sha256 is pinned in ${lockFile}; run \`${command(options)} --pin\`, which takes the one that ` +
        `${chart.repository} states, and commit the file`,
    );
  }
  const folder = path.join(options.projectDir, chartsFolder);
  const file = path.join(folder, chartFile(chart));
  if (pin !== undefined && sha256Of(file) === pin.sha256) {
    return { chart, sha256: pin.sha256, pinned: false };
  }
  const entry = await indexes.find(chart);
  fs.mkdirSync(folder, { recursive: true });
  const part = path.join(folder, `.${chartFile(chart)}.${process.pid}.part`);
  try {
    const found = await download(entry.address, part, signal);
    const expected = pin ?? { sha256: entry.sha256 ?? found, origin: "the repository's index" };
    if (found !== expected.sha256) {
      throw new UserError(
        `${entry.address} has sha256 ${found}, expected ${expected.sha256} (${expected.origin}); ` +
          "it was thrown away: find out from the publisher which one is right",
      );
    }
    fs.renameSync(part, file);
    return { chart, sha256: found, address: entry.address, pinned: pin === undefined };
  } finally {
    fs.rmSync(part, { force: true });
  }
}

function command(options: PullOptions): string {
  return `npx llmeval charts pull${options.cluster === undefined ? "" : ` -s ${options.cluster}`}`;
}

function sha256Of(file: string): string | undefined {
  return fs.existsSync(file) ? createHash("sha256").update(fs.readFileSync(file)).digest("hex") : undefined;
}
