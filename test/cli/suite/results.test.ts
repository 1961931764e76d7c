// Which cells are measured, as the folders on disk tell.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lastRun, readCaseResults } from "../../../cli/suite/results.ts";
import { temporaryFolder } from "../../workloads/support.ts";
import { cellsOf, writeRun } from "./support.ts";

const cells = ["c1", "c2", "c3"];
const read = (project: string, args: Partial<Parameters<typeof readCaseResults>[0]> = {}) =>
  readCaseResults({
    fetchedDir: join(project, "fetched"),
    experiment: "s-a",
    digits: "abc123",
    firstRun: 1,
    runs: [],
    cells,
    ...args,
  });

test("nothing is there", async () => {
  const project = temporaryFolder();
  expect(await read(project)).toEqual({ folders: [], verdicts: [], missing: [1, 2, 3] });
  expect(await lastRun(join(project, "fetched"), "s-a")).toBe(0);
});

test("a complete run: the verdicts on its cells, or that on the whole where there are no faults", async () => {
  const project = temporaryFolder();
  writeRun(project, "s-a-r1-abc123", { complete: true, cells: cellsOf(cells), quality: "fail" });
  expect(await read(project)).toEqual({
    folders: ["s-a-r1-abc123"],
    verdicts: cells.map((cell) => ({ cell, verdict: "fail", experimentId: "s-a-r1-abc123" })),
    missing: [],
  });
  writeRun(project, "s-a-r1-abc123", { complete: true, cells: cellsOf(cells, "valid") });
  expect((await read(project)).verdicts.map(({ verdict }) => verdict)).toEqual(["valid", "valid", "valid"]);
});

test("a run that was cut: cells that the load played to their end, by its report or by the cells after", async () => {
  const project = temporaryFolder();
  writeRun(project, "s-a-r1-abc123", { complete: false, cells: cellsOf(cells), loadEndedSeconds: 39 });
  expect((await read(project)).missing).toEqual([3]);
  writeRun(project, "s-b-r1-abc123", {
    complete: false,
    cells: cellsOf(cells).map((cell, index) => (index === 2 ? { ...cell, sent: 0 } : cell)),
  });
  expect((await read(project, { experiment: "s-b" })).missing).toEqual([2, 3]);
  writeRun(project, "s-c-r1-abc123", {
    complete: false,
    cells: cellsOf(cells).map((cell, index) => (index === 0 ? { ...cell, aborted: 1 } : cell)),
    loadEndedSeconds: 100,
  });
  expect((await read(project, { experiment: "s-c" })).missing).toEqual([1]);
});

test("levels that were skipped after one that was saturated are not missing", async () => {
  const project = temporaryFolder();
  const run = { complete: true, cells: cellsOf(["c1", "c2"]), loadEndedSeconds: 40, skippedCells: ["c3"] };
  writeRun(project, "s-a-r1-abc123", run);
  expect((await read(project)).verdicts.map(({ verdict }) => verdict)).toEqual(["pass", "pass", "skipped"]);
});

test("runs are put together; those of other definitions and of an earlier time are left alone", async () => {
  const project = temporaryFolder();
  const cut = { complete: false, cells: cellsOf(cells), loadEndedSeconds: 19 };
  writeRun(project, "s-a-r2-abc123", cut);
  writeRun(project, "s-a-r3-fff000", { complete: true, cells: cellsOf(["c2", "c3"], "valid") });
  writeRun(project, "s-a-x-r9-abc123", { complete: true, cells: cellsOf(cells) });
  mkdirSync(join(project, "fetched/s-a-r11-abc123.partial"));
  expect(await read(project)).toEqual({
    folders: ["s-a-r2-abc123"],
    verdicts: [{ cell: "c1", verdict: "pass", experimentId: "s-a-r2-abc123" }],
    missing: [2, 3],
  });
  expect((await read(project, { runs: [2, 3] })).verdicts).toEqual([
    { cell: "c1", verdict: "pass", experimentId: "s-a-r2-abc123" },
    { cell: "c2", verdict: "valid", experimentId: "s-a-r3-fff000" },
    { cell: "c3", verdict: "valid", experimentId: "s-a-r3-fff000" },
  ]);
  expect((await read(project, { firstRun: 3 })).missing).toEqual([1, 2, 3]);
  expect(await lastRun(join(project, "fetched"), "s-a")).toBe(11);
});
