// Lays an experiment out in time: one cell per load level and iteration, each cut into phases; all offsets count from T0.

import { playedCells } from "./cells.ts";
import type { ProfileName, ResolvedExperiment } from "./schema.ts";

type PhaseName = "warm-up" | "before" | "fault" | "after";

/** A stretch of a cell; its offset counts from the cell's start. */
interface Phase {
  readonly name: PhaseName;
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
}

/** One load level in one iteration; its offset counts from T0. */
export interface Cell {
  readonly id: string;
  /** Position in the order of play of the whole experiment, from 1. */
  readonly number: number;
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
  /** Null in a closed loop. */
  readonly ratePerSecond: number | null;
  /** Null in an open loop. */
  readonly concurrency: number | null;
  /** The rate at the end of the cell; null where it stays. */
  readonly rampToRatePerSecond: number | null;
  readonly iteration: number;
  readonly phases: readonly Phase[];
}

export interface Timeline {
  readonly cells: readonly Cell[];
  /** From T0 to the end of the last cell. */
  readonly durationSeconds: number;
}

type Durations = Pick<
  ResolvedExperiment["timeline"],
  "warmUpSeconds" | "beforeSeconds" | "faultSeconds" | "afterSeconds" | "gapSeconds"
>;

/** Named sets of phase lengths; single lengths can be overridden in the definition. */
export const profiles: Readonly<Record<ProfileName, Durations>> = {
  // The predecessor's windows, for figures that can be compared with its own.
  ansible: { warmUpSeconds: 0, beforeSeconds: 285, faultSeconds: 60, afterSeconds: 60, gapSeconds: 30 },
  // Root-cause analysis tools want at least ten minutes on either side of the onset.
  rca: { warmUpSeconds: 120, beforeSeconds: 720, faultSeconds: 720, afterSeconds: 300, gapSeconds: 60 },
  smoke: { warmUpSeconds: 3, beforeSeconds: 12, faultSeconds: 0, afterSeconds: 0, gapSeconds: 2 },
};

/**
 * The cells in the order in which they are played: all levels of one iteration, then the next iteration. Where
 * `cells` names some, only those.
 */
export function timelineOf(
  experiment: Pick<ResolvedExperiment, "load" | "timeline"> & Partial<Pick<ResolvedExperiment, "cells">>,
): Timeline {
  const phases = phasesOf(experiment.timeline);
  const durationSeconds = phases.reduce((sum, phase) => sum + phase.durationSeconds, 0);
  const step = durationSeconds + experiment.timeline.gapSeconds;
  const cells: Cell[] = [];
  for (let iteration = 1; iteration <= experiment.load.iterations; iteration++) {
    for (const level of levelsOf(experiment.load)) {
      cells.push({
        id: `${level.id}-iteration-${iteration}`,
        number: cells.length + 1,
        startOffsetSeconds: cells.length * step,
        durationSeconds,
        ratePerSecond: level.ratePerSecond,
        concurrency: level.concurrency,
        rampToRatePerSecond: level.rampToRatePerSecond,
        iteration,
        phases,
      });
    }
  }
  const played = playedCells(cells, experiment.cells ?? null, experiment.timeline.gapSeconds);
  return { cells: played, durationSeconds: played.length * step - experiment.timeline.gapSeconds };
}

type Level = Pick<Cell, "id" | "ratePerSecond" | "concurrency" | "rampToRatePerSecond">;

/** The levels of one iteration: the rates of an open loop, or the concurrencies of a closed one. */
function levelsOf(load: ResolvedExperiment["load"]): Level[] {
  const { rampToRatePerSecond } = load;
  const ramp = rampToRatePerSecond === null ? "" : `-to-${rampToRatePerSecond}`;
  return [
    ...(load.ratePerSecond ?? []).map((rate) => ({
      id: `rate-${rate}${ramp}`,
      ratePerSecond: rate,
      concurrency: null,
      rampToRatePerSecond,
    })),
    ...(load.concurrency ?? []).map((concurrency) => ({
      id: `concurrency-${concurrency}`,
      ratePerSecond: null,
      concurrency,
      rampToRatePerSecond: null,
    })),
  ];
}

/** How many requests arrive in a cell, or sessions where they have several turns; null in a closed loop. */
export function arrivalsOf(
  cell: Pick<Cell, "ratePerSecond" | "rampToRatePerSecond" | "durationSeconds">,
): number | null {
  if (cell.ratePerSecond === null) return null;
  const mean = (cell.ratePerSecond + (cell.rampToRatePerSecond ?? cell.ratePerSecond)) / 2;
  // As the load generator counts them: the small term keeps 0.1 x 30 at 3.
  return Math.ceil(mean * cell.durationSeconds - 1e-9);
}

function phasesOf(durations: Durations): Phase[] {
  const phases: Phase[] = [];
  let startOffsetSeconds = 0;
  for (const [name, durationSeconds] of [
    ["warm-up", durations.warmUpSeconds],
    ["before", durations.beforeSeconds],
    ["fault", durations.faultSeconds],
    ["after", durations.afterSeconds],
  ] as const) {
    if (durationSeconds === 0) continue;
    phases.push({ name, startOffsetSeconds, durationSeconds });
    startOffsetSeconds += durationSeconds;
  }
  return phases;
}
