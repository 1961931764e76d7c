// Lays an experiment out in time: one cell per rate and iteration, each cut into phases; all offsets count from T0.

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
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
  readonly ratePerSecond: number;
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

/** The cells in the order in which they are played: all rates of one iteration, then the next iteration. */
export function timelineOf(experiment: Pick<ResolvedExperiment, "load" | "timeline">): Timeline {
  const phases = phasesOf(experiment.timeline);
  const durationSeconds = phases.reduce((sum, phase) => sum + phase.durationSeconds, 0);
  const step = durationSeconds + experiment.timeline.gapSeconds;
  const cells: Cell[] = [];
  for (let iteration = 1; iteration <= experiment.load.iterations; iteration++) {
    for (const ratePerSecond of experiment.load.ratePerSecond) {
      cells.push({
        id: `rate-${ratePerSecond}-iteration-${iteration}`,
        startOffsetSeconds: cells.length * step,
        durationSeconds,
        ratePerSecond,
        iteration,
        phases,
      });
    }
  }
  return { cells, durationSeconds: cells.length * step - experiment.timeline.gapSeconds };
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
