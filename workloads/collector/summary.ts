// summary.json: counts, rates and latency figures per cell and phase. Warm-up is counted apart and never in a figure.
import { round } from "../shared/percentiles.ts";
import type { CellSpec, LoadReport, RequestRow } from "../shared/rows.ts";
import { plusSeconds, secondsBetween } from "../shared/time.ts";
import type { Slo } from "./goodput.ts";
import { type Impact, impactOf } from "./impact.ts";
import { Backlog, type JudgedCell, type Saturation, saturationOf } from "./saturation.ts";
import { Group, type Stats, type TimeWindow } from "./stats.ts";

/** The phase that no figure includes. */
const warmUp = "warm-up";

export interface Summary {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  /** "stand-in": the figures describe a simulator and the test rig, never a model. */
  readonly measurementOf: "stand-in" | "engine";
  readonly measurementText: string;
  readonly standIns: readonly string[];
  readonly model: string;
  readonly t0UnixNs: string | null;
  readonly t0: string | null;
  readonly endedUnixNs: string | null;
  /** The limits that goodput is counted by; null where the experiment is unknown. */
  readonly slo: Slo | null;
  /** Whether the load generator kept up; null where it has not said so. */
  readonly loadGenerator: { readonly bottleneck: boolean; readonly reasons: readonly string[] } | null;
  readonly cells: readonly CellSummary[];
  /** All cells that were played together, warm-up excluded. */
  readonly overall: Stats;
  /** Null unless there are two load levels of one kind. */
  readonly saturation: Saturation | null;
  /** One entry for each cell with a fault. */
  readonly impact: readonly Impact[];
  readonly quality: {
    readonly verdict: "pass" | "fail";
    readonly failed: readonly string[];
    readonly checks: number;
  };
}

interface CellSummary {
  readonly id: string;
  readonly arrivals: string | null;
  /** Requests in flight at once, in a closed loop. */
  readonly concurrency: number | null;
  readonly startUnixNs: string | null;
  readonly durationSeconds: number | null;
  /** True where a lower load level was saturated already, so that this cell was not played. */
  readonly skipped: boolean;
  /** Whether the cell's faults did what they were meant to; absent in a run without faults. */
  readonly verdict?: string;
  readonly warmUp: Pick<Stats, "seconds" | "requests"> | null;
  /** All phases but warm-up. */
  readonly measured: Stats;
  readonly phases: readonly (Stats & { readonly name: string })[];
}

interface CellGroups {
  readonly spec: CellSpec | undefined;
  readonly startUnixNs: bigint | undefined;
  readonly warmUp: Group;
  readonly measured: Group;
  readonly phases: Map<string, Group>;
  readonly backlog: Backlog;
}

export interface SummarizerArgs {
  readonly plan: readonly CellSpec[];
  /** Undefined where T0 is not known: then there are counts and latencies, and no rates. */
  readonly t0UnixNs: bigint | undefined;
  /** @default no goodput */
  readonly slo?: Slo | undefined;
  /** Cells that were not played. @default none */
  readonly skippedCells?: readonly string[];
  /** Cells that the load generator found saturated while it played. @default none */
  readonly saturatedCells?: NonNullable<LoadReport["saturatedCells"]>;
  /** Cells that have a fault. @default none */
  readonly faultCells?: ReadonlySet<string>;
}

/** Fed with every row once; knows the plan where the load's specification and T0 are known. */
export class Summarizer {
  readonly #t0UnixNs: bigint | undefined;
  readonly #slo: Slo | undefined;
  readonly #skipped: readonly string[];
  readonly #saturated: NonNullable<LoadReport["saturatedCells"]>;
  readonly #faultCells: ReadonlySet<string>;
  readonly #cells = new Map<string, CellGroups>();
  readonly #overall: Group;

  constructor(args: SummarizerArgs) {
    this.#t0UnixNs = args.t0UnixNs;
    this.#slo = args.slo;
    this.#skipped = args.skippedCells ?? [];
    this.#saturated = args.saturatedCells ?? [];
    this.#faultCells = args.faultCells ?? new Set();
    for (const cell of args.plan) this.#cells.set(cell.id, this.#groupsOf(cell.id, cell));
    const played = [...this.#cells].filter(([id]) => !this.#skipped.includes(id)).map(([, groups]) => groups);
    const windows = played.flatMap(({ measured }) => measured.windows);
    const seconds = windows.reduce((sum, w) => sum + secondsBetween(w.startUnixNs, w.endUnixNs), 0);
    const openLoop = played.every(({ measured }) => measured.target !== null);
    const expected = played.reduce(
      (sum, { measured }) => sum + (measured.target ?? 0) * (measured.seconds ?? 0),
      0,
    );
    this.#overall = new Group(
      windows,
      seconds === 0 || !openLoop ? null : round(expected / seconds),
      this.#slo,
    );
  }

  add(row: RequestRow): void {
    let cell = this.#cells.get(row.cell);
    if (cell === undefined) {
      cell = this.#groupsOf(row.cell, undefined);
      this.#cells.set(row.cell, cell);
    }
    cell.backlog.add(row);
    if (row.phase === warmUp) {
      cell.warmUp.add(row);
    } else {
      cell.measured.add(row);
      this.#overall.add(row);
      let phase = cell.phases.get(row.phase);
      if (phase === undefined) {
        phase = new Group([], null, this.#slo);
        cell.phases.set(row.phase, phase);
      }
      phase.add(row);
    }
    for (const group of [cell.measured, this.#overall, ...cell.phases.values()]) group.clock(row);
  }

  cells(): readonly CellSummary[] {
    return [...this.#cells].map(([id, { spec, startUnixNs, warmUp: warm, measured, phases }]) => ({
      id,
      arrivals: spec?.arrivals ?? null,
      concurrency: spec?.concurrency ?? null,
      startUnixNs: startUnixNs === undefined ? null : String(startUnixNs),
      durationSeconds: spec?.durationSeconds ?? null,
      skipped: this.#skipped.includes(id),
      warmUp: warm.counts().scheduled === 0 ? null : { seconds: warm.seconds, requests: warm.counts() },
      measured: measured.stats(),
      phases: [...phases].map(([name, group]) => ({ name, ...group.stats() })),
    }));
  }

  overall(): Stats {
    return this.#overall.stats();
  }

  saturation(): Saturation | null {
    // A ramp is no level: it passes through all of them.
    const cells = [...this.#cells].filter(([, { spec }]) => (spec?.rampToRatePerSecond ?? null) === null);
    return saturationOf(
      cells.map(([id, groups]) => this.#judged(id, groups)),
      this.#skipped,
      this.#slo,
    );
  }

  impact(): readonly Impact[] {
    return [...this.#cells].flatMap(([id, { phases }]) => {
      if (!this.#faultCells.has(id)) return [];
      return impactOf(id, phases.get("before")?.stats(), phases.get("fault")?.stats()) ?? [];
    });
  }

  #judged(id: string, { spec, measured, phases, backlog }: CellGroups): JudgedCell {
    const group = this.#faultCells.has(id) ? (phases.get("before") ?? measured) : measured;
    const [first, last] = [group.windows[0], group.windows.at(-1)];
    const ms = (unixNs: bigint): number => Number(unixNs) / 1e6;
    return {
      id,
      ratePerSecond: spec?.ratePerSecond ?? null,
      concurrency: spec?.concurrency ?? null,
      constantArrivals: spec?.arrivals === "constant",
      stats: group.stats(),
      window:
        first === undefined || last === undefined
          ? undefined
          : { fromMs: ms(first.startUnixNs), toMs: ms(last.endUnixNs) },
      backlog,
      foundWhilePlaying: this.#saturated.filter(({ cell }) => cell === id).map(({ reason }) => reason),
    };
  }

  #groupsOf(id: string, spec: CellSpec | undefined): CellGroups {
    const t0 = this.#t0UnixNs;
    const backlog = new Backlog();
    if (spec === undefined || t0 === undefined) {
      return {
        spec,
        startUnixNs: undefined,
        warmUp: new Group([], null),
        measured: new Group([], spec?.ratePerSecond ?? null, this.#slo),
        phases: new Map(),
        backlog,
      };
    }
    const startUnixNs = plusSeconds(t0, spec.startOffsetSeconds);
    const phases =
      spec.phases.length > 0
        ? spec.phases
        : [{ name: id, startOffsetSeconds: 0, durationSeconds: spec.durationSeconds }];
    const measured = phases.filter(({ name }) => name !== warmUp);
    const groupOf = (list: typeof phases): Group =>
      new Group(
        list.map(({ startOffsetSeconds, durationSeconds }) => ({
          startUnixNs: plusSeconds(startUnixNs, startOffsetSeconds),
          endUnixNs: plusSeconds(startUnixNs, startOffsetSeconds + durationSeconds),
        })) satisfies TimeWindow[],
        targetOf(spec, list),
        this.#slo,
      );
    return {
      spec,
      startUnixNs,
      warmUp: groupOf(phases.filter(({ name }) => name === warmUp)),
      measured: groupOf(measured),
      phases: new Map(
        (spec.phases.length > 0 ? measured : []).map((phase) => [phase.name, groupOf([phase])] as const),
      ),
      backlog,
    };
  }
}

/** The planned rate in some phases of a cell; of a ramp, which is a line over the whole cell, the mean. */
function targetOf(spec: CellSpec, phases: CellSpec["phases"]): number | null {
  const { ratePerSecond: from, rampToRatePerSecond: to } = spec;
  if (from === null) return null;
  const seconds = phases.reduce((sum, { durationSeconds }) => sum + durationSeconds, 0);
  if (to === null || to === undefined || seconds === 0) return from;
  const expected = phases.reduce((sum, { startOffsetSeconds, durationSeconds }) => {
    const middle = startOffsetSeconds + durationSeconds / 2;
    return sum + (from + ((to - from) * middle) / spec.durationSeconds) * durationSeconds;
  }, 0);
  return round(expected / seconds);
}
