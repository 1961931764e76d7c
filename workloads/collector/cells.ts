// cells.json: each cell and phase with its time window, and how to find what belongs to it in the files of the whole run.
import type { CellSpec } from "../shared/rows.ts";
import { plusSeconds, rfc3339 } from "../shared/time.ts";
import type { FaultWindow } from "./fault-windows.ts";

export interface CellsIndexArgs {
  readonly experimentId: string;
  readonly plan: readonly CellSpec[];
  readonly t0UnixNs: bigint;
  readonly skippedCells: readonly string[];
  /** Faults that have acted. */
  readonly faults: readonly FaultWindow[];
  /** Faults of the plan, acted or not. */
  readonly plannedFaults: readonly { readonly cell: string; readonly fault: string; readonly kind: string }[];
  /** Rows of requests.csv by cell and phase. */
  readonly rows: RowCounts;
}

/** Counts the rows of the requests' table by cell and phase. */
export class RowCounts {
  readonly #counts = new Map<string, Map<string, number>>();

  add({ cell, phase }: { readonly cell: string; readonly phase: string }): void {
    const phases = this.#counts.get(cell) ?? new Map<string, number>();
    this.#counts.set(cell, phases.set(phase, (phases.get(phase) ?? 0) + 1));
  }

  of(cell: string, phase?: string): number {
    const phases = this.#counts.get(cell);
    if (phase !== undefined) return phases?.get(phase) ?? 0;
    return [...(phases?.values() ?? [])].reduce((sum, count) => sum + count, 0);
  }
}

/** What belongs to a cell: rows by a column, or what has its time in the cell's window. */
const selectors = [
  { files: "requests.csv", by: "column cell", and: "column phase", time: "scheduled_unix_ns" },
  { files: "load/requests.jsonl", by: "key cell", and: "key phase", time: "scheduledUnixNs" },
  { files: "summary.json", by: "cells[].id", and: "cells[].phases[].name", time: null },
  { files: "verdicts.json", by: "cells[].cell", and: null, time: null },
  { files: "metrics/*.jsonl.gz", by: null, and: null, time: "values[][0], seconds since 1970" },
  { files: "loki/logs.jsonl.gz", by: null, and: null, time: "unixNs" },
  { files: "traces/spans.jsonl.gz", by: null, and: null, time: "startTimeUnixNano" },
  { files: "flows/*.jsonl.gz", by: null, and: null, time: "start_time_us, microseconds since 1970" },
  { files: "logs/*/*.log", by: null, and: null, time: "first word of each line, RFC 3339" },
  { files: "objects/events.json", by: null, and: null, time: "items[].lastTimestamp, RFC 3339" },
] as const;

export function cellsIndex(args: CellsIndexArgs): Record<string, unknown> {
  return {
    schemaVersion: 1,
    experimentId: args.experimentId,
    t0UnixNs: String(args.t0UnixNs),
    selectors,
    cells: args.plan.map((cell) => {
      const start = plusSeconds(args.t0UnixNs, cell.startOffsetSeconds);
      return {
        id: cell.id,
        ratePerSecond: cell.ratePerSecond,
        rampToRatePerSecond: cell.rampToRatePerSecond ?? null,
        concurrency: cell.concurrency ?? null,
        arrivals: cell.arrivals,
        skipped: args.skippedCells.includes(cell.id),
        ...windowOf(start, 0, cell.durationSeconds),
        requests: args.rows.of(cell.id),
        phases: cell.phases.map(({ name, startOffsetSeconds, durationSeconds }) => ({
          name,
          ...windowOf(start, startOffsetSeconds, durationSeconds),
          requests: args.rows.of(cell.id, name),
        })),
        faults: args.plannedFaults
          .filter((fault) => fault.cell === cell.id)
          .map(({ fault, kind }) => {
            const acted = args.faults.find((one) => one.cell === cell.id && one.fault === fault);
            const end = acted?.toUnixNs;
            return {
              fault,
              kind,
              record: `faults/${cell.id}/${fault}.json`,
              actedFromUnixNs: acted === undefined ? null : String(acted.fromUnixNs),
              actedToUnixNs: end === undefined ? null : String(end),
            };
          }),
      };
    }),
  };
}

function windowOf(start: bigint, offsetSeconds: number, seconds: number): Record<string, string> {
  const from = plusSeconds(start, offsetSeconds);
  const to = plusSeconds(from, seconds);
  return { startUnixNs: String(from), endUnixNs: String(to), start: rfc3339(from), end: rfc3339(to) };
}
