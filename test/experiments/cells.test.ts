// Some cells of an experiment alone: their ids and faults stay, their offsets leave no hole.

import { expect, test } from "vitest";
import { deadlinesOf } from "../../components/experiment/timing.ts";
import { playedCells } from "../../experiments/cells.ts";
import { experimentId } from "../../experiments/id.ts";
import { plannedFaults } from "../../experiments/planned-faults.ts";
import { resolveExperiment, tryResolve } from "../../experiments/resolve.ts";
import { timelineOf } from "../../experiments/timeline.ts";
import { projectDir } from "./project.ts";

const file = "Pulumi.exp-smoke.yaml";

function resolved(numbers?: readonly number[], name = "smoke-cpu-stress") {
  const overrides = [{ file: "test", values: { load: { iterations: 4 } } }];
  return resolveExperiment({
    projectDir,
    name,
    overrides,
    ...(numbers === undefined ? {} : { cells: { file, numbers } }),
  });
}

test("the named cells follow each other with the gap between them", () => {
  const cells = [
    { number: 1, startOffsetSeconds: 0, durationSeconds: 10 },
    { number: 2, startOffsetSeconds: 12, durationSeconds: 20 },
    { number: 3, startOffsetSeconds: 34, durationSeconds: 5 },
  ];
  expect(playedCells(cells, null, 2)).toEqual(cells);
  expect(playedCells(cells, [2, 3], 2)).toEqual([
    { number: 2, startOffsetSeconds: 0, durationSeconds: 20 },
    { number: 3, startOffsetSeconds: 22, durationSeconds: 5 },
  ]);
});

test("ids, numbers and faults are those of the whole experiment; durations and deadlines shrink", () => {
  const whole = resolved();
  const some = resolved([2, 3]);
  const { cells, durationSeconds } = timelineOf(some);
  expect(cells.map(({ id, number, startOffsetSeconds }) => [id, number, startOffsetSeconds])).toEqual([
    ["rate-4-iteration-2", 2, 0],
    ["rate-4-iteration-3", 3, 55],
  ]);
  expect([timelineOf(whole).durationSeconds, durationSeconds]).toEqual([218, 108]);
  expect(deadlinesOf(whole).loadSeconds - deadlinesOf(some).loadSeconds).toBe(110);
  // The fault is made in odd cells: in the third, which is now the second.
  expect(plannedFaults(some).map(({ cell, startOffsetSeconds }) => [cell, startOffsetSeconds])).toEqual([
    ["rate-4-iteration-3", 55 + 23],
  ]);
});

test("which cells are played is part of what the experiment is", () => {
  const ids = [undefined, [1], [2], [1, 2]].map((numbers) => experimentId(resolved(numbers), 1));
  expect(new Set(ids).size).toBe(4);
  expect(resolved().cells).toBeNull();
  expect(resolved([1, 2]).cells).toEqual([1, 2]);
});

test("a cell that the experiment has not is told", () => {
  const { problems } = tryResolve({ projectDir, name: "smoke", cells: { file, numbers: [1, 2, 7] } });
  expect(problems).toEqual([
    {
      file,
      path: "llmeval:cells",
      text: "names cell 2, 7, allowed: 1 to 1; npx llmeval explain shows them in order",
    },
  ]);
});
