// What lies on disk of a case: which runs, which of their cells are measured to the end, and the verdict on each.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Summary } from "../../workloads/collector/summary.ts";
import type { Verdicts } from "../../workloads/collector/verdicts.ts";
import { readJsonIfThere } from "../../workloads/shared/files.ts";
import type { LoadReport, Manifest, Quality } from "../../workloads/shared/rows.ts";
import type { CellVerdict } from "./state.ts";

/** Which folders belong to a case. */
export interface ResultsArgs {
  /** Where results are kept. */
  readonly fetchedDir: string;
  /** The experiment's name. */
  readonly experiment: string;
  /** Six digits at the end of the ids of this very definition. */
  readonly digits: string;
  readonly firstRun: number;
  /** Runs of this very definition whose ids may end otherwise, as only some of their cells were played. */
  readonly runs: readonly number[];
  /** Ids of the cells in the order of play. */
  readonly cells: readonly string[];
}

export interface CaseResults {
  /** Folders of the runs that hold something, relative to `fetchedDir`, oldest first. */
  readonly folders: readonly string[];
  /** One for each cell that is measured, in the order of play. */
  readonly verdicts: readonly CellVerdict[];
  /** Numbers of the cells that are not, from 1. */
  readonly missing: readonly number[];
}

interface RunFolder {
  readonly name: string;
  readonly run: number;
  readonly digits: string;
}

/** The highest run of which anything is on disk, or 0. */
export async function lastRun(fetchedDir: string, experiment: string): Promise<number> {
  return Math.max(0, ...(await runFolders(fetchedDir, experiment)).map(({ run }) => run));
}

export async function readCaseResults(args: ResultsArgs): Promise<CaseResults> {
  const ours = (await runFolders(args.fetchedDir, args.experiment)).filter(
    ({ name, run, digits }) =>
      !name.endsWith(".partial") &&
      run >= args.firstRun &&
      (digits === args.digits || args.runs.includes(run)),
  );
  const folders: string[] = [];
  const verdicts = new Map<string, CellVerdict>();
  for (const { name } of ours) {
    const measured = await measuredCells(join(args.fetchedDir, name), name);
    if (measured.length > 0) folders.push(name);
    for (const verdict of measured) verdicts.set(verdict.cell, verdict);
  }
  return {
    folders,
    verdicts: args.cells.flatMap((cell) => verdicts.get(cell) ?? []),
    missing: args.cells.flatMap((cell, index) => (verdicts.has(cell) ? [] : [index + 1])),
  };
}

/** Cells that were played to their end. A later run's cell takes the place of an earlier one's. */
async function measuredCells(folder: string, experimentId: string): Promise<CellVerdict[]> {
  const read = <T>(file: string): Promise<T | undefined> => readJsonIfThere<T>(join(folder, file));
  const [manifest, summary, quality, verdicts, load] = [
    await read<Manifest>("manifest.json"),
    await read<Summary>("summary.json"),
    await read<Quality>("quality.json"),
    await read<Verdicts>("verdicts.json"),
    await read<LoadReport & { readonly skippedCells?: readonly string[] }>("load/load.json"),
  ];
  if (manifest === undefined || summary === undefined || quality === undefined) return [];
  const ended = load?.endedUnixNs ?? null;
  const played = summary.cells
    .filter((_, index) => manifest.complete || playedToItsEnd(summary.cells, index, ended))
    .map(({ id }) => ({
      cell: id,
      verdict: verdicts?.cells.find(({ cell }) => cell === id)?.verdict ?? quality.verdict,
      experimentId,
    }));
  // Levels beyond one that was saturated: there is nothing to measure, and nothing missing.
  const skipped = load?.skippedCells ?? [];
  return [
    ...played.filter(({ cell }) => !skipped.includes(cell)),
    ...skipped.map((cell) => ({ cell, verdict: "skipped", experimentId })),
  ];
}

/** In a run that was cut: the load went on beyond the cell's end, or at least into the next cell. */
function playedToItsEnd(cells: Summary["cells"], index: number, endedUnixNs: string | null): boolean {
  const cell = cells[index] as Summary["cells"][number];
  if ((cell.measured.requests.failedByStatus["aborted"] ?? 0) > 0) return false;
  if (endedUnixNs !== null && cell.startUnixNs !== null && cell.durationSeconds !== null) {
    const end = BigInt(cell.startUnixNs) + BigInt(Math.round(cell.durationSeconds * 1e9));
    return BigInt(endedUnixNs) >= end;
  }
  return cells.slice(index + 1).some(({ measured }) => measured.requests.sent > 0);
}

async function runFolders(fetchedDir: string, experiment: string): Promise<RunFolder[]> {
  const names = await readdir(fetchedDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names
    .flatMap((name) => {
      const match = /^(.+)-r(\d+)-([0-9a-f]{6})(\.partial)?$/.exec(name);
      return match?.[1] === experiment ? [{ name, run: Number(match[2]), digits: match[3] as string }] : [];
    })
    .sort((left, right) => left.run - right.run);
}
