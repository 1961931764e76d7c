// Exports the lines that Loki has of the namespace in the window: every stream with its labels, page by page, none twice.
import { describe } from "../shared/errors.ts";
import { requestJson } from "../shared/http.ts";
import { round } from "../shared/percentiles.ts";
import { Budget, type Line, type PartExport, writeLines } from "./export.ts";
import { isOfFaults } from "./labels.ts";
import type { Patience } from "./patience.ts";
import type { Window } from "./prometheus.ts";

export interface LokiArgs {
  readonly url: string;
  readonly namespace: string;
  readonly window: Window;
  readonly folder: string;
  readonly patience: Patience;
  /** Time for all pages. */
  readonly seconds: number;
  /** Puts the lines of the faults' own pods below faults/. @default false */
  readonly apart?: boolean;
}

/** One line of loki/logs.jsonl.gz. */
export interface LogLine {
  readonly unixNs: string;
  /** Labels of the stream and the line's structured metadata: namespace, app, pod, container, node, file ... */
  readonly labels: Readonly<Record<string, string>>;
  readonly line: string;
}

interface Answer<T> {
  readonly data: { readonly result: readonly T[] };
}

interface Stream {
  readonly stream: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [string, string])[];
}

/** What Loki gives at once where nobody has raised its limit (max_entries_limit_per_query). */
const pageLines = 5000;
/** Beyond it the export stops, and says so. */
const maximumLines = 2_000_000;
const path = "loki/logs.jsonl.gz";

export async function exportLoki(args: LokiArgs): Promise<PartExport> {
  const expected = await count(args);
  const { files, error } = await writeLines(args.folder, path, lines(args));
  const rows = files.reduce((sum, file) => sum + file.rows, 0);
  const reasons = [
    ...(error === undefined ? [] : [`${path}: ${describe(error)}; ${rows} lines are kept`]),
    ...(error === undefined && rows < expected
      ? [`${path}: ${rows} lines of ${expected} that Loki counts`]
      : []),
  ];
  if (reasons.length > 0) return { part: "loki", state: "failed", files, reasons };
  const note = `Loki holds no line of namespace ${args.namespace} in the window`;
  return { part: "loki", state: "exported", files, reasons: rows === 0 ? [note] : [] };
}

async function* lines(args: LokiArgs): AsyncGenerator<Line> {
  const budget = new Budget(args.seconds);
  const endNs = toNs(args.window.endUnixSeconds);
  let startNs = toNs(args.window.startUnixSeconds);
  let total = 0;
  // Of the instant at which the last page ended: the next one begins there, and some lines of it are known already.
  let known = new Set<string>();
  for (;;) {
    budget.check();
    const page = await read(args, startNs, endNs);
    const fresh = page.filter((line) => line.unixNs !== String(startNs) || !known.has(keyOf(line)));
    for (const line of fresh) yield { value: line, ofFaults: args.apart === true && isOfFaults(line.labels) };
    total += fresh.length;
    if (page.length < pageLines) return;
    if (total >= maximumLines) throw new Error(`stopped after ${maximumLines} lines`);
    const last = BigInt((page.at(-1) as LogLine).unixNs);
    if (last === startNs) throw new Error(`more than ${pageLines} lines at the instant ${startNs}`);
    startNs = last;
    known = new Set(page.filter(({ unixNs }) => unixNs === String(last)).map(keyOf));
  }
}

/** A page, oldest first. The start is inside, the end is not. */
async function read(args: LokiArgs, startNs: bigint, endNs: bigint): Promise<readonly LogLine[]> {
  const { data } = await call<Stream>(args, "query_range", {
    query: selectorOf(args),
    start: String(startNs),
    end: String(endNs),
    limit: String(pageLines),
    direction: "forward",
  });
  return data.result
    .flatMap(({ stream, values }) => values.map(([unixNs, line]) => ({ unixNs, labels: stream, line })))
    .sort((a, b) => (BigInt(a.unixNs) < BigInt(b.unixNs) ? -1 : a.unixNs === b.unixNs ? 0 : 1));
}

/** Asked before the lines are read: lines that come in meanwhile are more than that, never fewer. */
async function count(args: LokiArgs): Promise<number> {
  const { startUnixSeconds, endUnixSeconds } = args.window;
  const milliseconds = Math.round(round(endUnixSeconds - startUnixSeconds) * 1000);
  const { data } = await call<{ readonly value: readonly [number, string] }>(args, "query", {
    query: `sum(count_over_time(${selectorOf(args)}[${milliseconds}ms]))`,
    // Both of its ends are a nanosecond later than those of the lines: there the right end is inside.
    time: String(toNs(endUnixSeconds) - 1n),
  });
  return Number(data.result[0]?.value[1] ?? 0);
}

function call<T>(
  { url, patience }: LokiArgs,
  kind: "query" | "query_range",
  parameters: Readonly<Record<string, string>>,
): Promise<Answer<T>> {
  const address = `${url}/loki/api/v1/${kind}?${new URLSearchParams(parameters)}`;
  return patience.run(() => requestJson<Answer<T>>({ url: address, timeoutSeconds: 60 }));
}

function selectorOf({ namespace }: LokiArgs): string {
  return `{namespace=${JSON.stringify(namespace)}}`;
}

function keyOf({ labels, line }: LogLine): string {
  return JSON.stringify([Object.entries(labels).sort(), line]);
}

function toNs(unixSeconds: number): bigint {
  return BigInt(Math.round(unixSeconds * 1000)) * 1_000_000n;
}
