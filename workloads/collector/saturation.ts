// Where the served load stops following the offered one: each load level with its figures, and the rule that judges it.
import { round } from "../shared/percentiles.ts";
import type { RequestRow } from "../shared/rows.ts";
import type { Slo } from "./goodput.ts";
import type { Stats } from "./stats.ts";

/**
 * A level is saturated when one of these holds; documented in docs/metrics.md.
 * A stable queue lets out as much as comes in (Little 1961): one that grows by a twentieth of what comes in does not.
 */
export const saturationRule = {
  /** Requests that ended ok by requests that were due. */
  completedShareBelow: 0.95,
  /** Growth of the backlog by the rate at which requests were due, from the third to the last quarter of the window, */
  growthShareAbove: 0.05,
  /** by more than so many requests, and with arrivals that are not constant ... */
  growthAbove: 1,
  /** ... by more than so many deviations of a Poisson count as large as the backlog in the first quarter. */
  growthDeviations: 2,
} as const;

/** Requests that were due and had not ended: counted at an instant, or averaged over a stretch. */
export class Backlog {
  /** Milliseconds since 1970. */
  readonly #due: number[] = [];
  readonly #done: number[] = [];

  add(row: RequestRow): void {
    this.#due.push(Number(BigInt(row.scheduledUnixNs)) / 1e6);
    this.#done.push(
      row.sentUnixNs === null || row.doneNs === null
        ? Number.POSITIVE_INFINITY
        : (Number(BigInt(row.sentUnixNs)) + row.doneNs) / 1e6,
    );
  }

  at(ms: number): number {
    return this.#sum((due, done) => (due < ms && done >= ms ? 1 : 0));
  }

  mean(fromMs: number, toMs: number): number {
    const overlap = this.#sum((due, done) => Math.max(0, Math.min(done, toMs) - Math.max(due, fromMs)));
    return overlap / (toMs - fromMs);
  }

  #sum(each: (due: number, done: number) => number): number {
    return this.#due.reduce((total, due, index) => total + each(due, this.#done[index] as number), 0);
  }
}

/** What is judged of a cell: the phase before its fault, or all that was measured where it has none. */
export interface JudgedCell {
  readonly id: string;
  readonly ratePerSecond: number | null;
  readonly concurrency: number | null;
  /** Arrivals that are not constant make the backlog go up and down by themselves. */
  readonly constantArrivals: boolean;
  readonly stats: Stats;
  /** Milliseconds since 1970; absent where there was no plan. */
  readonly window: { readonly fromMs: number; readonly toMs: number } | undefined;
  readonly backlog: Backlog;
  /** Why the load generator, which may stop after such a level, found it saturated while it played. */
  readonly foundWhilePlaying: readonly string[];
}

export interface Level {
  /** Requests per second, or concurrent requests. */
  readonly target: number;
  readonly cells: readonly string[];
  readonly sentPerSecond: number | null;
  readonly completedPerSecond: number | null;
  /** Requests that ended ok of those that were due. */
  readonly completedShare: number | null;
  readonly goodputShare: number | null;
  /** Requests that were due and had not ended when the window did; of several cells the most. */
  readonly backlogAtEnd: number | null;
  /** Null in a closed loop, where the backlog is what was asked for. */
  readonly backlogGrowthPerSecond: number | null;
  readonly saturated: boolean;
  readonly reasons: readonly string[];
}

export interface Saturation {
  readonly kind: "ratePerSecond" | "concurrency";
  readonly levels: readonly Level[];
  readonly highestNotSaturated: number | null;
  readonly lowestSaturated: number | null;
  /** Cells that were not played because a level below was saturated. */
  readonly skippedCells: readonly string[];
}

/** Null unless the experiment has two levels of one kind; a level whose cells were all skipped has no figures. */
export function saturationOf(
  cells: readonly JudgedCell[],
  skippedCells: readonly string[],
  slo: Slo | undefined,
): Saturation | null {
  const kind = cells.some(({ concurrency }) => concurrency !== null) ? "concurrency" : "ratePerSecond";
  const targets = [...new Set(cells.flatMap((cell) => cell[kind] ?? []))].sort((a, b) => a - b);
  if (targets.length < 2) return null;
  const levels = targets.flatMap((target) => {
    const played = cells.filter((cell) => cell[kind] === target && !skippedCells.includes(cell.id));
    return played.length === 0 ? [] : [levelOf(target, played, kind === "ratePerSecond", slo)];
  });
  return {
    kind,
    levels,
    highestNotSaturated: levels.findLast(({ saturated }) => !saturated)?.target ?? null,
    lowestSaturated: levels.find(({ saturated }) => saturated)?.target ?? null,
    skippedCells,
  };
}

function levelOf(
  target: number,
  cells: readonly JudgedCell[],
  openLoop: boolean,
  slo: Slo | undefined,
): Level {
  const stats = cells.map((cell) => cell.stats);
  const seconds = sum(stats.map((one) => one.seconds ?? 0));
  const due = sum(stats.map(({ requests }) => requests.scheduled));
  const perSecond = (rate: "sent" | "completed"): number | null =>
    seconds === 0
      ? null
      : round(sum(stats.map((one) => (one.ratePerSecond[rate] ?? 0) * (one.seconds ?? 0))) / seconds);
  const completedShare = due === 0 ? null : round(sum(stats.map(({ requests }) => requests.ok)) / due);
  const good = stats.map(({ goodput, requests }) => (goodput?.share ?? 0) * requests.scheduled);
  const limited = stats.every(({ goodput }) => goodput !== null);
  const goodputShare = due === 0 || !limited ? null : round(sum(good) / due);
  const growth = openLoop ? growthOf(cells) : undefined;
  const reasons = [
    ...cells.flatMap(({ id, foundWhilePlaying }) =>
      foundWhilePlaying.map((reason) => `found while ${id} was played: ${reason}`),
    ),
    ...(completedShare !== null && completedShare < saturationRule.completedShareBelow
      ? [`${percent(completedShare)} of the requests ended ok`]
      : []),
    ...(growth !== undefined && seconds > 0 && isLarge(growth, due / seconds)
      ? [`the backlog grows by ${growth.perSecond.toFixed(2)} requests per second`]
      : []),
    ...(goodputShare !== null && slo !== undefined && goodputShare < slo.attainmentShare
      ? [`${percent(goodputShare)} of the requests were good, asked: ${percent(slo.attainmentShare)}`]
      : []),
  ];
  const ends = cells.flatMap(({ backlog, window }) =>
    window === undefined ? [] : [backlog.at(window.toMs)],
  );
  return {
    target,
    cells: cells.map(({ id }) => id),
    sentPerSecond: perSecond("sent"),
    completedPerSecond: perSecond("completed"),
    completedShare,
    goodputShare,
    backlogAtEnd: ends.length === 0 ? null : Math.max(...ends),
    backlogGrowthPerSecond: growth === undefined ? null : round(growth.perSecond),
    saturated: reasons.length > 0,
    reasons,
  };
}

interface Growth {
  readonly perSecond: number;
  /** How much more the backlog was in the last quarter of the window than in the third, on average. */
  readonly more: number;
  /** What chance alone makes of it. */
  readonly byChance: number;
}

/** The first half of the window is left out: there the queue fills up to what the latency makes of the rate. */
function growthOf(cells: readonly JudgedCell[]): Growth | undefined {
  const each = cells.flatMap(({ backlog, window, constantArrivals }): Growth[] => {
    if (window === undefined) return [];
    const quarterMs = (window.toMs - window.fromMs) / 4;
    const [first, , third, last] = [0, 1, 2, 3].map((quarter) => {
      const fromMs = window.fromMs + quarter * quarterMs;
      return backlog.mean(fromMs, fromMs + quarterMs);
    }) as [number, number, number, number];
    const { growthAbove, growthDeviations } = saturationRule;
    const more = last - third;
    return [
      {
        perSecond: more / (quarterMs / 1000),
        more,
        byChance: constantArrivals ? growthAbove : growthDeviations * Math.sqrt(Math.max(growthAbove, first)),
      },
    ];
  });
  if (each.length === 0) return undefined;
  const mean = (key: keyof Growth): number => sum(each.map((one) => one[key])) / each.length;
  return { perSecond: mean("perSecond"), more: mean("more"), byChance: mean("byChance") };
}

function isLarge({ perSecond, more, byChance }: Growth, duePerSecond: number): boolean {
  return perSecond > saturationRule.growthShareAbove * duePerSecond && more > byChance;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
