// The summary's table: what a person wants to see first of an experiment's results.
import { join } from "node:path";
import { UserError } from "../components/errors.ts";
import type { Change, Impact } from "../workloads/collector/impact.ts";
import type { Level, Saturation } from "../workloads/collector/saturation.ts";
import type { Stats } from "../workloads/collector/stats.ts";
import type { Summary } from "../workloads/collector/summary.ts";
import { readJsonIfThere } from "../workloads/shared/files.ts";
import type { Distribution } from "../workloads/shared/percentiles.ts";
import type { Manifest, Quality } from "../workloads/shared/rows.ts";

export interface Results {
  readonly folder: string;
  readonly summary: Summary;
  readonly quality: Quality;
  readonly manifest: Manifest;
}

export async function readResults(folder: string): Promise<Results> {
  const read = async <T>(name: string): Promise<T> => {
    const value = await readJsonIfThere<T>(join(folder, name));
    if (value === undefined) {
      throw new UserError(
        `${folder} holds no ${name}: give the folder of fetched results, e.g. fetched/<experiment-id>`,
      );
    }
    return value;
  };
  return {
    folder,
    manifest: await read<Manifest>("manifest.json"),
    summary: await read<Summary>("summary.json"),
    quality: await read<Quality>("quality.json"),
  };
}

export async function printSummary(folder: string): Promise<void> {
  process.stdout.write(summaryTable(await readResults(folder)));
}

const columns = [
  "",
  "requests",
  "errors",
  "sent/s",
  "target/s",
  "done/s",
  "TTFT p50 / p90 / p99",
  "ITL p50 / p90 / p99",
  "E2E p50 / p90 / p99",
  "lag p99",
] as const;

export function summaryTable({ folder, summary, quality, manifest }: Results): string {
  const lines: string[] = [
    "",
    `experiment ${summary.experimentId}, model ${summary.model}, T0 ${summary.t0 ?? "(none)"}`,
  ];
  if (summary.measurementOf === "stand-in") {
    lines.push(`*** STAND-IN, NO MEASUREMENT OF A MODEL: ${summary.measurementText} ***`);
  }
  if (!manifest.complete)
    lines.push("*** INCOMPLETE: the load has not ended by itself; these figures are of a part of it ***");
  // Results that an older version has made lack what came later.
  const { loadGenerator = null, saturation = null, impact = [] } = summary as Partial<Summary>;
  if (loadGenerator?.bottleneck === true) {
    lines.push(
      `*** THE LOAD GENERATOR WAS THE BOTTLENECK, NOT THE ENGINE: ${loadGenerator.reasons.join("; ")} ***`,
    );
  }
  const extra: ExtraColumns = {
    concurrency: summary.cells.some(({ concurrency = null }) => concurrency !== null),
    good: (summary.overall.goodput ?? null) !== null,
    verdict: summary.cells.some(({ verdict }) => verdict !== undefined),
  };
  const header: readonly string[] = [
    ...columns,
    ...(extra.concurrency ? ["in flight"] : []),
    ...(extra.good ? ["good"] : []),
    ...(extra.verdict ? ["verdict"] : []),
  ];
  const table: string[][] = [[...header]];
  for (const cell of summary.cells) {
    const name = cell.skipped === true ? `${cell.id} (skipped)` : cell.id;
    table.push(row(name, cell.measured, extra, cell));
    if (cell.phases.length > 1)
      for (const phase of cell.phases) table.push(row(`  ${phase.name}`, phase, extra));
  }
  if (summary.cells.length > 1) table.push(row("all", summary.overall, extra));
  const widths = header.map((_, index) => Math.max(...table.map((cells) => (cells[index] ?? "").length)));
  lines.push("", "latencies in ms, of requests that ended ok, warm-up excluded");
  for (const cells of table) {
    const padded = cells.map((text, index) =>
      index === 0 ? text.padEnd(widths[index] as number) : text.padStart(widths[index] as number),
    );
    lines.push(padded.join("  ").trimEnd());
  }
  lines.push("");
  const kinds = Object.entries(summary.overall.requests.failedByStatus).map(
    ([status, count]) => `${count} ${status}`,
  );
  if (kinds.length > 0) lines.push(`errors: ${kinds.join(", ")}`);
  if (extra.good) lines.push(`good: ${limitsOf(summary)}`);
  if (saturation !== null) lines.push(...saturationLines(saturation));
  for (const one of impact) lines.push(impactLine(one));
  const failed = quality.checks.filter(({ pass }) => !pass);
  lines.push(`quality: ${quality.checks.length - failed.length} of ${quality.checks.length} checks passed`);
  for (const { check, value, threshold, note } of failed) {
    lines.push(
      `  failed: ${check} is ${value ?? "unknown"}, asked: ${threshold}${note === undefined ? "" : ` (${note})`}`,
    );
  }
  lines.push(`results: ${folder} (${manifest.files.length} files)`, "");
  return lines.join("\n");
}

interface ExtraColumns {
  /** Of a closed loop: how many requests were in flight at once. */
  readonly concurrency: boolean;
  readonly good: boolean;
  readonly verdict: boolean;
}

function row(
  name: string,
  stats: Stats,
  extra: ExtraColumns,
  cell: { readonly verdict?: string; readonly concurrency?: number | null } = {},
): string[] {
  const {
    requests,
    ratePerSecond,
    goodput = null,
    ttftMs,
    itlMs,
    e2eMs,
    lagMs,
  } = stats as Partial<Stats> & Stats;
  return [
    name,
    String(requests.scheduled),
    String(requests.failed),
    number(ratePerSecond.sent),
    number(ratePerSecond.target),
    number(ratePerSecond.completed),
    three(ttftMs),
    three(itlMs),
    three(e2eMs),
    number(lagMs.p99),
    ...(extra.concurrency ? [String(cell.concurrency ?? "")] : []),
    ...(extra.good ? [percent(goodput?.share ?? null)] : []),
    ...(extra.verdict ? [cell.verdict ?? ""] : []),
  ];
}

function limitsOf({ slo }: Summary): string {
  const limits = [
    ["TTFT", slo?.ttftMilliseconds],
    ["TPOT", slo?.tpotMilliseconds],
    ["mean ITL", slo?.itlMilliseconds],
    ["E2E", slo?.e2eMilliseconds],
  ].flatMap(([name, limit]) => (typeof limit === "number" ? [`${name} <= ${limit} ms`] : []));
  return `share of all requests that ended ok with ${limits.join(", ")}`;
}

function saturationLines({
  kind,
  levels,
  highestNotSaturated,
  lowestSaturated,
  skippedCells,
}: Saturation): string[] {
  const unit = kind === "ratePerSecond" ? "requests/s" : "concurrent requests";
  const up =
    highestNotSaturated === null
      ? "no level was kept up with"
      : `kept up with ${highestNotSaturated} ${unit}`;
  const from =
    lowestSaturated === null ? "no level was saturated" : `saturated at ${lowestSaturated} ${unit}`;
  return [
    `saturation: ${up}, ${from}${skippedCells.length === 0 ? "" : `, not played: ${skippedCells.join(", ")}`}`,
    ...levels
      .filter(({ saturated }) => saturated)
      .map((level: Level) => `  ${level.target}: ${level.reasons.join("; ")}`),
  ];
}

function impactLine({ cell, severity, changes }: Impact): string {
  const seen = changes
    .filter((change) => change.severity === "minor" || change.severity === "major")
    .map(changeText);
  return `impact on ${cell}: ${severity ?? "too few requests to tell"}${seen.length === 0 ? "" : ` (${seen.join(", ")})`}`;
}

function changeText({ indicator, unit, before, fault }: Change): string {
  const text = unit === "ms" ? number : percent;
  return `${indicator} ${text(before)} -> ${text(fault)}${unit === "ms" ? " ms" : ""}`;
}

function percent(share: number | null): string {
  return share === null ? "-" : `${(share * 100).toFixed(1)} %`;
}

function three({ p50, p90, p99 }: Distribution): string {
  return [p50, p90, p99].map(number).join(" / ");
}

function number(value: number | null): string {
  if (value === null) return "-";
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
