// A project with suites of the test's own, results as the collector leaves them, and stacks that only remember.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { planSuite, type SuitePlan } from "../../../cli/suite/plan.ts";
import type { Hooks, StackDriver } from "../../../cli/suite/runner.ts";
import { freshState, type SuiteState } from "../../../cli/suite/state.ts";
import { makeProject } from "../../experiments/project.ts";

const small = `description: one cell on the stand-in
modelId: phi-4
engine: llm-d-inference-sim
timeline: { profile: smoke }
`;

/** Holds the suite `s` with this text, and the definition `small`. */
export function suiteProject(suite: string, files: Readonly<Record<string, string>> = {}): string {
  const directory = makeProject({ "experiments/small.yaml": small });
  mkdirSync(join(directory, "experiments/suites"));
  for (const [file, text] of Object.entries({ "experiments/suites/s.yaml": suite, ...files })) {
    writeFileSync(join(directory, file), text);
  }
  return directory;
}

/** The plan of suite `s`, which must be without problems, and its first state. */
export function planned(projectDir: string): { readonly plan: SuitePlan; readonly state: SuiteState } {
  const { plan, problems } = planSuite({ projectDir, suite: "s", cluster: "dev" });
  if (problems.length > 0) throw new Error(JSON.stringify(problems));
  return { plan, state: freshState(plan, new Date(0)) };
}

export interface FakeCell {
  readonly id: string;
  /** From T0. */
  readonly startSeconds: number;
  readonly durationSeconds: number;
  readonly sent?: number;
  readonly aborted?: number;
  readonly verdict?: string;
}

export interface FakeRun {
  readonly complete: boolean;
  readonly quality?: "pass" | "fail";
  readonly cells: readonly FakeCell[];
  /** From T0; without it there is no report of the load. */
  readonly loadEndedSeconds?: number;
  readonly skippedCells?: readonly string[];
}

const t0Seconds = 1_700_000_000;
const unixNs = (seconds: number): string => String(BigInt(Math.round((t0Seconds + seconds) * 1e9)));

/** As much of the results as a suite reads. */
export function writeRun(projectDir: string, id: string, run: FakeRun): void {
  const folder = join(projectDir, "fetched", id);
  mkdirSync(join(folder, "load"), { recursive: true });
  const write = (file: string, value: unknown): void =>
    writeFileSync(join(folder, file), JSON.stringify(value));
  write("manifest.json", { experimentId: id, complete: run.complete });
  write("quality.json", { verdict: run.quality ?? "pass" });
  write("summary.json", {
    cells: run.cells.map(({ id: cell, startSeconds, durationSeconds, sent = 1, aborted }) => ({
      id: cell,
      startUnixNs: unixNs(startSeconds),
      durationSeconds,
      measured: { requests: { sent, failedByStatus: aborted === undefined ? {} : { aborted } } },
    })),
  });
  if (run.cells.some(({ verdict }) => verdict !== undefined)) {
    write("verdicts.json", { cells: run.cells.map(({ id: cell, verdict }) => ({ cell, verdict })) });
  }
  if (run.loadEndedSeconds !== undefined) {
    const skipped = run.skippedCells === undefined ? {} : { skippedCells: run.skippedCells };
    write("load/load.json", { endedUnixNs: unixNs(run.loadEndedSeconds), ...skipped });
  }
}

/** Cells of twenty seconds each. */
export function cellsOf(ids: readonly string[], verdict?: string): FakeCell[] {
  return ids.map((id, index) => ({
    id,
    startSeconds: index * 20,
    durationSeconds: 18,
    ...(verdict === undefined ? {} : { verdict }),
  }));
}

type Up = (config: Readonly<Record<string, unknown>>, hooks: Hooks) => Promise<void> | void;

/** Remembers what was asked; what `up` of a stack does is the test's, and nothing by default. */
export class FakeDriver implements StackDriver {
  readonly calls: string[] = [];
  readonly stacks = new Set<string>();
  readonly ups: Record<string, Up> = {};
  readonly destroys: Record<string, () => void> = {};
  /** The most stacks that were there at once. */
  most = 0;

  async up(stack: string, config: Readonly<Record<string, unknown>>, hooks: Hooks): Promise<void> {
    const cells = config["llmeval:cells"] === undefined ? "" : ` cells ${String(config["llmeval:cells"])}`;
    this.calls.push(`up ${stack} run ${String(config["llmeval:run"])}${cells}`);
    this.stacks.add(stack);
    this.most = Math.max(this.most, this.stacks.size);
    await this.ups[stack]?.(config, hooks);
  }

  async destroy(stack: string): Promise<void> {
    this.calls.push(`destroy ${stack}`);
    this.destroys[stack]?.();
    this.stacks.delete(stack);
  }
}
