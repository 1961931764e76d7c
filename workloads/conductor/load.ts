// What the load generator says while faults are played: cells without load need no fault.
import { join } from "node:path";
import { readJsonIfThere } from "../shared/files.ts";
import type { LoadProgress, LoadReport } from "../shared/rows.ts";

export class LoadWatch {
  readonly #folder: string;
  #skippedCells: readonly string[] = [];
  #aborted: string | undefined;

  constructor(resultsDir: string) {
    this.#folder = join(resultsDir, "load");
  }

  async look(): Promise<void> {
    const progress = await readJsonIfThere<LoadProgress>(join(this.#folder, "progress.json"));
    this.#skippedCells = progress?.skippedCells ?? [];
    const report = await readJsonIfThere<LoadReport>(join(this.#folder, "load.json"));
    this.#aborted =
      report?.aborted === true
        ? `the load had ended before its time: ${report.abortReason ?? "no reason given"}`
        : undefined;
  }

  /** Why the load ended before its time, when last looked at. */
  get aborted(): string | undefined {
    return this.#aborted;
  }

  /** Why no request of a cell is sent (any more), when last looked at. */
  whyNot(cell: string): string | undefined {
    if (this.#skippedCells.includes(cell)) return "the load left this cell out: a lower level was saturated";
    return this.#aborted;
  }
}
