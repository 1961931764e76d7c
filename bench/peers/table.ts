// The benchmark's tables, in Markdown.
import type { Comparison } from "./compare.ts";
import type { Work } from "./work.ts";

/** One client at one level; a string where it could not be run or read. */
export interface Line {
  readonly client: string;
  readonly outcome: Comparison | string;
  /** The machine's load average when the client ended. */
  readonly load: number;
}

const errorColumns = "TTFT p50 | p99 | ITL p50 | p99 | TPOT p50 | p99 | E2E p50 | p99";
const eachColumns = "TTFT each p50 | p99 | TPOT each p50 | p99 | E2E each p50 | p99";
const costColumns =
  "delay mean | p99 | at server mean | p99 | requests/s | CPU s | cores in the load | MiB | failed | server late p99 | load";

/** A level's three tables: error of the figures, error of each request, schedule and cost. */
export function toTables(work: Work, server: string, lines: readonly Line[]): string {
  const title =
    `${work.streams} streams, ${server}: ${work.requests} requests at ${work.ratePerSecond.toFixed(2)}/s, ` +
    `TTFT ${work.ttftMilliseconds} ms, ITL ${work.itlMilliseconds} ms, ${work.promptTokens} prompt and ${work.outputTokens} output tokens`;
  const measured = lines.some(({ outcome }) => typeof outcome !== "string" && outcome.each !== null);
  return [
    `### ${title}`,
    "Error of the client's figures (client - server), ms:",
    table(errorColumns, lines, figureCells),
    ...(measured ? ["Size of the error of each request, ms:", table(eachColumns, lines, eachCells)] : []),
    "Schedule delay in ms, and cost of the client:",
    table(costColumns, lines, costCells),
  ].join("\n\n");
}

function table(
  columns: string,
  lines: readonly Line[],
  cells: (comparison: Comparison, load: number) => string[],
): string {
  const width = columns.split(" | ").length;
  const rows = lines.map(({ client, outcome, load }) => {
    const list =
      typeof outcome === "string" ? [outcome, ...Array<string>(width - 1).fill("")] : cells(outcome, load);
    return `| ${client} | ${list.join(" | ")} |`;
  });
  return [`| client | ${columns} |`, `|---|${"---:|".repeat(width)}`, ...rows].join("\n");
}

function figureCells({ figures }: Comparison): string[] {
  return [figures.ttft, figures.itl, figures.tpot, figures.e2e].flatMap((figure) =>
    figure === null ? ["-", "-"] : [signed(figure.p50), signed(figure.p99)],
  );
}

function eachCells({ each }: Comparison): string[] {
  if (each === null) return Array<string>(6).fill("-");
  return [each.ttft, each.tpot, each.e2e].flatMap(({ p50, p99 }) => [p50.toFixed(2), p99.toFixed(2)]);
}

function costCells(of: Comparison, load: number): string[] {
  const delays = [of.delay, of.delayAtServer].flatMap((delay) =>
    delay === null ? ["-", "-"] : [delay.mean.toFixed(2), delay.p99.toFixed(2)],
  );
  const share = Number.isNaN(of.cpuShare) ? "-" : of.cpuShare.toFixed(2);
  return [
    ...delays,
    of.ratePerSecond.toFixed(2),
    of.cpuSeconds.toFixed(1),
    share,
    of.memoryMebibytes.toFixed(0),
    String(of.failed),
    of.serverLate === null ? "-" : of.serverLate.toFixed(2),
    load.toFixed(1),
  ];
}

function signed(value: number): string {
  return `${value < 0 ? "" : "+"}${value.toFixed(2)}`;
}
