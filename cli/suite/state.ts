// How far a suite is: one file, written whole after each step, from which it is shown and gone on with.

import { join } from "node:path";
import { UserError } from "../../components/errors.ts";
import { readJsonIfThere, writeJsonAtomic } from "../../workloads/shared/files.ts";
import type { SuitePlan } from "./plan.ts";

/** `stopped`: by a person, before its end; `skipped`: not begun, as a case before it has failed. */
type CaseStatus = "pending" | "running" | "done" | "failed" | "stopped" | "skipped";

export interface CellVerdict {
  readonly cell: string;
  /** Of verdicts.json; in a run without faults that of quality.json: pass or fail. */
  readonly verdict: string;
  /** The run that has measured it. */
  readonly experimentId: string;
}

export interface CaseState {
  readonly name: string;
  readonly stack: string;
  /** See PlannedCase. */
  readonly digest: string;
  readonly status: CaseStatus;
  /** Ids of the cells in the order of play. */
  readonly cells: readonly string[];
  readonly playedSeconds: number;
  /** Results of runs below this number are of an earlier time. */
  readonly firstRun: number;
  /** `llmeval:run` of each attempt, in order; the last one's is running. */
  readonly runs: readonly number[];
  /** Numbers of the cells that the last attempt plays. Null means all. */
  readonly playing: readonly number[] | null;
  /** What the last attempt is at. */
  readonly progress: string | null;
  /** Of the first attempt. */
  readonly startedAt: string | null;
  /** Of the last attempt. */
  readonly attemptStartedAt: string | null;
  readonly endedAt: string | null;
  /** Folders below fetched/, oldest first. */
  readonly results: readonly string[];
  readonly verdicts: readonly CellVerdict[];
  /** Why the case has failed or was stopped: the last lines that say so. */
  readonly reason: string | null;
  /** Path of the log, relative to the project. */
  readonly log: string;
  /** True while there is, or may be, a stack with this name. */
  readonly hasStack: boolean;
}

export interface SuiteState {
  readonly schemaVersion: 1;
  readonly suite: string;
  readonly cluster: string;
  readonly startedAt: string;
  readonly updatedAt: string;
  readonly cases: readonly CaseState[];
}

/** Folder of a suite's state, lock and logs, relative to the project. */
export function suiteFolder(suite: string): string {
  return `fetched/suites/${suite}`;
}

/** The state, or undefined where the suite has never run. */
export async function readState(projectDir: string, suite: string): Promise<SuiteState | undefined> {
  const file = join(projectDir, suiteFolder(suite), "state.json");
  const state = await readJsonIfThere<SuiteState>(file);
  if (state !== undefined && state.schemaVersion !== 1) {
    throw new UserError(`${file} has schemaVersion ${String(state.schemaVersion)}, this llmeval reads 1`);
  }
  return state;
}

export function writeState(projectDir: string, state: SuiteState): Promise<void> {
  return writeJsonAtomic(join(projectDir, suiteFolder(state.suite), "state.json"), state);
}

/** Every case pending; `firstRun` tells the first number that each may give its run. */
export function freshState(
  plan: SuitePlan,
  now: Date,
  firstRun: (experiment: string) => number = () => 1,
): SuiteState {
  return {
    schemaVersion: 1,
    suite: plan.suite,
    cluster: plan.cluster,
    startedAt: now.toISOString(),
    updatedAt: now.toISOString(),
    cases: plan.cases.map(({ name, stack, digest, cells, playedSeconds, experiment }) => ({
      name,
      stack,
      digest,
      status: "pending",
      cells,
      playedSeconds,
      firstRun: firstRun(experiment.name),
      runs: [],
      playing: null,
      progress: null,
      startedAt: null,
      attemptStartedAt: null,
      endedAt: null,
      results: [],
      verdicts: [],
      reason: null,
      log: `${suiteFolder(plan.suite)}/${name}.log`,
      hasStack: false,
    })),
  };
}

/** What differs between a plan and the state of an earlier one: `cpu-dp2 has changed`. */
export function differences(plan: SuitePlan, state: SuiteState): string[] {
  const before = new Map(state.cases.map((one) => [one.name, one.digest]));
  const now = new Set(plan.cases.map(({ name }) => name));
  return [
    ...plan.cases.flatMap(({ name, digest }) => {
      const old = before.get(name);
      if (old === undefined) return [`case ${name} is new`];
      return old === digest ? [] : [`case ${name} has changed`];
    }),
    ...state.cases.filter(({ name }) => !now.has(name)).map(({ name }) => `case ${name} is gone`),
  ];
}

export function withCase(state: SuiteState, name: string, change: Partial<CaseState>, now: Date): SuiteState {
  return {
    ...state,
    updatedAt: now.toISOString(),
    cases: state.cases.map((one) => (one.name === name ? { ...one, ...change } : one)),
  };
}
