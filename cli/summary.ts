// The summary's table: what a person wants to see first of an experiment's results.
import { join } from "node:path";
import { UserError } from "../components/errors.ts";
import type { Stats, Summary } from "../workloads/collector/summary.ts";
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
  const judged = summary.cells.some(({ verdict }) => verdict !== undefined);
  const header: readonly string[] = judged ? [...columns, "verdict"] : columns;
  const table: string[][] = [[...header]];
  for (const cell of summary.cells) {
    table.push(row(cell.id, cell.measured, cell.verdict));
    if (cell.phases.length > 1) for (const phase of cell.phases) table.push(row(`  ${phase.name}`, phase));
  }
  if (summary.cells.length > 1) table.push(row("all", summary.overall));
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

function row(name: string, stats: Stats, verdict?: string): string[] {
  const { requests, ratePerSecond, ttftMs, itlMs, e2eMs, lagMs } = stats;
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
    ...(verdict === undefined ? [] : [verdict]),
  ];
}

function three({ p50, p90, p99 }: Distribution): string {
  return [p50, p90, p99].map(number).join(" / ");
}

function number(value: number | null): string {
  if (value === null) return "-";
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
