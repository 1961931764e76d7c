// Cells and phases of a timeline.

import { expect, test } from "vitest";
import { resolveExperiment } from "../../experiments/resolve.ts";
import { arrivalsOf, profiles, timelineOf } from "../../experiments/timeline.ts";
import { projectDir } from "./project.ts";

test("smoke is one cell of fifteen seconds; phases of no length are absent", () => {
  expect(timelineOf(resolveExperiment({ projectDir, name: "smoke" }))).toEqual({
    durationSeconds: 15,
    cells: [
      {
        id: "rate-4-iteration-1",
        number: 1,
        startOffsetSeconds: 0,
        durationSeconds: 15,
        ratePerSecond: 4,
        concurrency: null,
        rampToRatePerSecond: null,
        iteration: 1,
        phases: [
          { name: "warm-up", startOffsetSeconds: 0, durationSeconds: 3 },
          { name: "before", startOffsetSeconds: 3, durationSeconds: 12 },
        ],
      },
    ],
  });
});

test("the predecessor's profile is 285, 60 and 60 seconds", () => {
  const [cell] = timelineOf(resolveExperiment({ projectDir, name: "falcon-baseline" })).cells;
  expect(cell?.phases).toEqual([
    { name: "before", startOffsetSeconds: 0, durationSeconds: 285 },
    { name: "fault", startOffsetSeconds: 285, durationSeconds: 60 },
    { name: "after", startOffsetSeconds: 345, durationSeconds: 60 },
  ]);
});

test("all rates of an iteration come before the next iteration, with a gap between two cells", () => {
  const values = { load: { ratePerSecond: [1, 2.5], iterations: 2 } };
  const resolved = resolveExperiment({ projectDir, name: "smoke", overrides: [{ file: "test", values }] });
  const { cells, durationSeconds } = timelineOf(resolved);
  expect(cells.map(({ id, startOffsetSeconds }) => [id, startOffsetSeconds])).toEqual([
    ["rate-1-iteration-1", 0],
    ["rate-2.5-iteration-1", 17],
    ["rate-1-iteration-2", 34],
    ["rate-2.5-iteration-2", 51],
  ]);
  expect(durationSeconds).toBe(66);
});

test("the levels of a closed loop, and ramps, have names of their own", () => {
  const cellsOf = (load: Readonly<Record<string, unknown>>) =>
    timelineOf(
      resolveExperiment({ projectDir, name: "smoke", overrides: [{ file: "test", values: { load } }] }),
    ).cells.map(({ id, ratePerSecond, concurrency, rampToRatePerSecond }) => [
      id,
      ratePerSecond,
      concurrency,
      rampToRatePerSecond,
    ]);
  expect(cellsOf({ concurrency: [8, 16] })).toEqual([
    ["concurrency-8-iteration-1", null, 8, null],
    ["concurrency-16-iteration-1", null, 16, null],
  ]);
  expect(cellsOf({ ratePerSecond: 1, rampToRatePerSecond: 8 })).toEqual([
    ["rate-1-to-8-iteration-1", 1, null, 8],
  ]);
});

test("how many requests arrive in a cell", () => {
  const arrivals = (ratePerSecond: number | null, rampToRatePerSecond: number | null, durationSeconds = 30) =>
    arrivalsOf({ ratePerSecond, rampToRatePerSecond, durationSeconds });
  expect([arrivals(0.1, null), arrivals(2.5, null, 405), arrivals(1, 8, 15), arrivals(null, null)]).toEqual([
    3,
    1013,
    68,
    null,
  ]);
});

test("profiles", () => {
  expect(profiles).toEqual({
    ansible: { warmUpSeconds: 0, beforeSeconds: 285, faultSeconds: 60, afterSeconds: 60, gapSeconds: 30 },
    rca: { warmUpSeconds: 120, beforeSeconds: 720, faultSeconds: 720, afterSeconds: 300, gapSeconds: 60 },
    smoke: { warmUpSeconds: 3, beforeSeconds: 12, faultSeconds: 0, afterSeconds: 0, gapSeconds: 2 },
  });
});
