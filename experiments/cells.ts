// Which cells of an experiment are played: all, or those that the stack's `llmeval:cells` names.

import type { Problem } from "./problems.ts";

/** A choice of cells, and the file that makes it. */
export interface CellChoice {
  readonly file: string;
  /** Numbers from 1 in the order of play of the whole experiment, ascending, each once. */
  readonly numbers: readonly number[];
}

interface Placed {
  /** Position in the order of play of the whole experiment, from 1. */
  readonly number: number;
  /** From T0. */
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
}

/** The named cells as they are in the whole experiment, moved together so that no hole is left; null names all. */
export function playedCells<C extends Placed>(
  cells: readonly C[],
  numbers: readonly number[] | null,
  gapSeconds: number,
): C[] {
  let startOffsetSeconds = 0;
  return cells
    .filter(({ number }) => numbers === null || numbers.includes(number))
    .map((cell) => {
      const placed = { ...cell, startOffsetSeconds };
      startOffsetSeconds += cell.durationSeconds + gapSeconds;
      return placed;
    });
}

/** Numbers beyond the experiment's last cell. */
export function cellProblems(choice: CellChoice | undefined, count: number): Problem[] {
  const beyond = (choice?.numbers ?? []).filter((number) => number > count);
  if (choice === undefined || beyond.length === 0) return [];
  const text = `names cell ${beyond.join(", ")}, allowed: 1 to ${count}; npx llmeval explain shows them in order`;
  return [{ file: choice.file, path: "llmeval:cells", text }];
}
