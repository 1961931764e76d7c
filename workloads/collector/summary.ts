// summary.json: counts, rates and latency figures per cell and phase. Warm-up is counted apart and never in a figure.
import { type Distribution, round, Samples } from "../shared/percentiles.ts";
import type { CellSpec, RequestRow } from "../shared/rows.ts";
import { plusSeconds, secondsBetween } from "../shared/time.ts";

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
  readonly cells: readonly CellSummary[];
  /** All cells together, warm-up excluded. */
  readonly overall: Stats;
  readonly quality: {
    readonly verdict: "pass" | "fail";
    readonly failed: readonly string[];
    readonly checks: number;
  };
}

interface CellSummary {
  readonly id: string;
  readonly arrivals: string | null;
  readonly startUnixNs: string | null;
  readonly durationSeconds: number | null;
  /** Whether the cell's faults did what they were meant to; absent in a run without faults. */
  readonly verdict?: string;
  readonly warmUp: Pick<Stats, "seconds" | "requests"> | null;
  /** All phases but warm-up. */
  readonly measured: Stats;
  readonly phases: readonly (Stats & { readonly name: string })[];
}

/** Latencies are of requests that ended ok; lag is of all requests that were sent. */
export interface Stats {
  /** Length of the measured window, by the plan. */
  readonly seconds: number | null;
  readonly requests: Counts;
  readonly ratePerSecond: Rates;
  /** Tokens of ok requests by the window's length. */
  readonly outputTokensPerSecond: number | null;
  readonly ttftMs: Distribution;
  /** All gaps between tokens of all requests, pooled. */
  readonly itlMs: Distribution;
  readonly tpotMs: Distribution;
  readonly e2eMs: Distribution;
  readonly lagMs: Distribution;
}

interface Counts {
  readonly scheduled: number;
  readonly sent: number;
  readonly ok: number;
  readonly failed: number;
  /** Failed requests by status; statuses that did not occur are absent. */
  readonly failedByStatus: Readonly<Record<string, number>>;
}

interface Rates {
  readonly target: number | null;
  /** Requests that were sent within the window, by its length. */
  readonly sent: number | null;
  /** Requests that ended ok within the window, by its length. */
  readonly completed: number | null;
}

interface TimeWindow {
  readonly startUnixNs: bigint;
  readonly endUnixNs: bigint;
}

/** Gathers one group of requests. */
class Group {
  readonly windows: readonly TimeWindow[];
  readonly target: number | null;
  #scheduled = 0;
  #sent = 0;
  #ok = 0;
  #outputTokens = 0;
  #sentInside = 0;
  #completedInside = 0;
  readonly #failed = new Map<string, number>();
  readonly #ttft = new Samples();
  readonly #itl = new Samples();
  readonly #tpot = new Samples();
  readonly #e2e = new Samples();
  readonly #lag = new Samples();

  constructor(windows: readonly TimeWindow[], target: number | null) {
    this.windows = windows;
    this.target = target;
  }

  add(row: RequestRow): void {
    this.#scheduled += 1;
    if (row.sentUnixNs !== null) {
      this.#sent += 1;
      if (row.lagNs !== null) this.#lag.push(row.lagNs / 1e6);
    }
    if (row.status !== "ok") {
      this.#failed.set(row.status, (this.#failed.get(row.status) ?? 0) + 1);
      return;
    }
    this.#ok += 1;
    this.#outputTokens += row.outputTokens ?? 0;
    if (row.ttftNs !== null) this.#ttft.push(row.ttftNs / 1e6);
    if (row.tpotNs !== null) this.#tpot.push(row.tpotNs / 1e6);
    if (row.e2eNs !== null) this.#e2e.push(row.e2eNs / 1e6);
    for (const gap of row.itlNs) this.#itl.push(gap / 1e6);
  }

  /** Rates go by the clock alone: a request of the warm-up that ends inside the window counts as completed there. */
  clock(row: RequestRow): void {
    if (row.sentUnixNs === null) return;
    const sent = BigInt(row.sentUnixNs);
    if (this.#inside(sent)) this.#sentInside += 1;
    if (row.status === "ok" && row.doneNs !== null && this.#inside(sent + BigInt(Math.round(row.doneNs)))) {
      this.#completedInside += 1;
    }
  }

  #inside(at: bigint): boolean {
    return this.windows.some(({ startUnixNs, endUnixNs }) => at >= startUnixNs && at < endUnixNs);
  }

  get seconds(): number | null {
    if (this.windows.length === 0) return null;
    return round(this.windows.reduce((sum, w) => sum + secondsBetween(w.startUnixNs, w.endUnixNs), 0));
  }

  counts(): Counts {
    const failedByStatus = Object.fromEntries([...this.#failed].sort(([a], [b]) => a.localeCompare(b)));
    const failed = [...this.#failed.values()].reduce((sum, count) => sum + count, 0);
    return { scheduled: this.#scheduled, sent: this.#sent, ok: this.#ok, failed, failedByStatus };
  }

  stats(): Stats {
    const seconds = this.seconds;
    const rate = (count: number): number | null =>
      seconds === null || seconds === 0 ? null : round(count / seconds);
    return {
      seconds,
      requests: this.counts(),
      ratePerSecond: {
        target: this.target,
        sent: rate(this.#sentInside),
        completed: rate(this.#completedInside),
      },
      outputTokensPerSecond: rate(this.#outputTokens),
      ttftMs: this.#ttft.distribution(),
      itlMs: this.#itl.distribution(),
      tpotMs: this.#tpot.distribution(),
      e2eMs: this.#e2e.distribution(),
      lagMs: this.#lag.distribution(),
    };
  }
}

interface CellGroups {
  readonly spec: CellSpec | undefined;
  readonly startUnixNs: bigint | undefined;
  readonly warmUp: Group;
  readonly measured: Group;
  readonly phases: Map<string, Group>;
}

/** Fed with every row once; knows the plan where the load's specification and T0 are known. */
export class Summarizer {
  readonly #t0UnixNs: bigint | undefined;
  readonly #cells = new Map<string, CellGroups>();
  readonly #overall: Group;

  constructor(plan: readonly CellSpec[], t0UnixNs: bigint | undefined) {
    this.#t0UnixNs = t0UnixNs;
    for (const cell of plan) this.#cells.set(cell.id, this.#groupsOf(cell.id, cell));
    const windows = [...this.#cells.values()].flatMap(({ measured }) => measured.windows);
    const seconds = windows.reduce((sum, w) => sum + secondsBetween(w.startUnixNs, w.endUnixNs), 0);
    const expected = [...this.#cells.values()].reduce(
      (sum, { measured }) => sum + (measured.target ?? 0) * (measured.seconds ?? 0),
      0,
    );
    this.#overall = new Group(windows, seconds === 0 ? null : round(expected / seconds));
  }

  add(row: RequestRow): void {
    let cell = this.#cells.get(row.cell);
    if (cell === undefined) {
      cell = this.#groupsOf(row.cell, undefined);
      this.#cells.set(row.cell, cell);
    }
    if (row.phase === warmUp) {
      cell.warmUp.add(row);
    } else {
      cell.measured.add(row);
      this.#overall.add(row);
      let phase = cell.phases.get(row.phase);
      if (phase === undefined) {
        phase = new Group([], null);
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
      startUnixNs: startUnixNs === undefined ? null : String(startUnixNs),
      durationSeconds: spec?.durationSeconds ?? null,
      warmUp: warm.counts().scheduled === 0 ? null : { seconds: warm.seconds, requests: warm.counts() },
      measured: measured.stats(),
      phases: [...phases].map(([name, group]) => ({ name, ...group.stats() })),
    }));
  }

  overall(): Stats {
    return this.#overall.stats();
  }

  #groupsOf(id: string, spec: CellSpec | undefined): CellGroups {
    const t0 = this.#t0UnixNs;
    if (spec === undefined || t0 === undefined) {
      return {
        spec,
        startUnixNs: undefined,
        warmUp: new Group([], null),
        measured: new Group([], spec?.ratePerSecond ?? null),
        phases: new Map(),
      };
    }
    const startUnixNs = plusSeconds(t0, spec.startOffsetSeconds);
    const window = (start: number, seconds: number): TimeWindow => ({
      startUnixNs: plusSeconds(startUnixNs, start),
      endUnixNs: plusSeconds(startUnixNs, start + seconds),
    });
    const phases =
      spec.phases.length > 0
        ? spec.phases
        : [{ name: id, startOffsetSeconds: 0, durationSeconds: spec.durationSeconds }];
    const measured = phases.filter(({ name }) => name !== warmUp);
    const windowsOf = (list: typeof phases): readonly TimeWindow[] =>
      list.map(({ startOffsetSeconds, durationSeconds }) => window(startOffsetSeconds, durationSeconds));
    return {
      spec,
      startUnixNs,
      warmUp: new Group(windowsOf(phases.filter(({ name }) => name === warmUp)), spec.ratePerSecond),
      measured: new Group(windowsOf(measured), spec.ratePerSecond),
      phases: new Map(
        (spec.phases.length > 0 ? measured : []).map((phase) => [
          phase.name,
          new Group(windowsOf([phase]), spec.ratePerSecond),
        ]),
      ),
    };
  }
}
