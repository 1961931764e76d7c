// Faults in the cells that they act in: when each begins, counted from T0.

import { type Fault, isInCell } from "./faults.ts";
import type { ResolvedExperiment } from "./schema.ts";
import { timelineOf } from "./timeline.ts";

/** One fault in one cell. */
export interface PlannedFault {
  /** Unique in its cell: the kind, with a number where the kind occurs more than once, e.g. `cpu` or `cpu-2`. */
  readonly id: string;
  readonly cell: string;
  readonly fault: Fault;
  /** From T0. */
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
}

/** Every fault of every cell, in the order of the cells. */
export function plannedFaults(
  experiment: Pick<ResolvedExperiment, "load" | "timeline" | "faults"> &
    Partial<Pick<ResolvedExperiment, "cells">>,
): PlannedFault[] {
  return timelineOf(experiment).cells.flatMap((cell) => {
    const phase = cell.phases.find(({ name }) => name === "fault");
    if (phase === undefined) return [];
    return experiment.faults.flatMap((fault, position) =>
      isInCell(fault, cell.number)
        ? [
            {
              id: idOf(experiment.faults, position),
              cell: cell.id,
              fault,
              startOffsetSeconds:
                cell.startOffsetSeconds + phase.startOffsetSeconds + fault.startOffsetSeconds,
              durationSeconds: fault.durationSeconds,
            },
          ]
        : [],
    );
  });
}

function idOf(faults: readonly Fault[], position: number): string {
  const { kind } = faults[position] as Fault;
  const before = faults.slice(0, position).filter((other) => other.kind === kind).length;
  return before === 0 ? kind : `${kind}-${before + 1}`;
}
