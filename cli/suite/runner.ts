// Plays a suite: which case comes next, what is done to its stack, and what is written down of it.

import { join } from "node:path";
import { describe } from "../../workloads/shared/errors.ts";
import { Lines, openLog, progressOf, reasonOf } from "./output.ts";
import { idDigits, type PlannedCase, type SuitePlan, stackConfig } from "./plan.ts";
import { type CaseResults, lastRun, readCaseResults } from "./results.ts";
import { type CaseState, type SuiteState, withCase, writeState } from "./state.ts";

/** What an operation on a stack tells while it runs. */
export interface Hooks {
  /** Text of both streams as it comes. */
  readonly onText: (text: string) => void;
  /** Aborted: the operation ends as soon as it can, by an error. */
  readonly signal: AbortSignal;
}

/** What can be done to stacks; an operation that fails throws. */
export interface StackDriver {
  /** Makes the stack where it is not there, sets its whole configuration, and brings it up. */
  up(stack: string, config: Readonly<Record<string, unknown>>, hooks: Hooks): Promise<void>;
  /** Destroys what the stack holds, and removes it with its configuration; one that is not there is no error. */
  destroy(stack: string, hooks: Pick<Hooks, "onText">): Promise<void>;
}

export interface RunnerArgs {
  readonly projectDir: string;
  readonly plan: SuitePlan;
  readonly state: SuiteState;
  readonly driver: StackDriver;
  /** Accelerators of the cluster, for concurrency: accelerators. @default 0, one case at a time */
  readonly accelerators?: number;
  /** Called whenever the state has changed. */
  readonly onChange?: (state: SuiteState) => void;
  /** @default () => new Date() */
  readonly now?: () => Date;
}

/** `now`: the running cases are cancelled and their stacks destroyed; `after-case`: they end by themselves. */
export type Stop = "now" | "after-case";

const saveMilliseconds = 2000;
const stoppedText = "stopped by a person before its end";

/** Plays the cases of a suite that are not done; one call of `run` for each. */
export class SuiteRunner {
  readonly #args: RunnerArgs;
  readonly #abort = new AbortController();
  #state: SuiteState;
  #stop: Stop | undefined;
  #failed = false;
  #saved = Number.NEGATIVE_INFINITY;
  #saving: Promise<void> = Promise.resolve();

  constructor(args: RunnerArgs) {
    this.#args = args;
    this.#state = args.state;
  }

  /** Stronger stops win: `now` after `after-case`. */
  stop(how: Stop): void {
    if (this.#stop === "now") return;
    this.#stop = how;
    if (how === "now") this.#abort.abort();
  }

  /** The state in the end. */
  async run(): Promise<SuiteState> {
    const waiting = this.#args.plan.cases.filter(({ name }) => this.#case(name).status !== "done");
    for (const { name } of waiting) {
      const { status } = this.#case(name);
      if (status !== "running") this.#change(name, { status: "pending", progress: null, reason: null });
    }
    await this.#save();
    const active = new Map<string, { readonly slots: number; readonly end: Promise<void> }>();
    for (;;) {
      const halted = this.#stop !== undefined || (this.#failed && this.#args.plan.onFailure === "stop");
      let free = this.#slots - [...active.values()].reduce((sum, { slots }) => sum + slots, 0);
      for (const planned of halted ? [] : [...waiting]) {
        const slots = this.#slotsOf(planned);
        if (slots > free) continue;
        free -= slots;
        waiting.splice(waiting.indexOf(planned), 1);
        const end = this.#play(planned).finally(() => active.delete(planned.name));
        active.set(planned.name, { slots, end });
      }
      if (active.size === 0) break;
      await Promise.race([...active.values()].map(({ end }) => end));
    }
    if (this.#stop === undefined) {
      for (const { name } of waiting)
        this.#change(name, { status: "skipped", reason: "a case before it has failed" });
    }
    await this.#save();
    return this.#state;
  }

  get #slots(): number {
    const { plan, accelerators = 0 } = this.#args;
    return plan.concurrency === "accelerators" ? Math.max(1, accelerators) : plan.concurrency;
  }

  #slotsOf({ accelerators }: PlannedCase): number {
    if (this.#args.plan.concurrency !== "accelerators") return 1;
    // An engine that needs no accelerator still takes its place: nobody has said that more of them fit.
    return Math.min(this.#slots, Math.max(1, accelerators));
  }

  async #play(planned: PlannedCase): Promise<void> {
    const { name, stack } = planned;
    const before = this.#case(name);
    const crashed = before.status === "running";
    const log = openLog(join(this.#args.projectDir, before.log));
    try {
      const there = await this.#results(planned);
      let failure: string | undefined;
      if (there.missing.length > 0) {
        const { run, playing } = crashed ? lastAttempt(before) : await this.#nextAttempt(planned, there);
        const now = this.#now.toISOString();
        this.#change(name, {
          status: "running",
          runs: crashed ? before.runs : [...before.runs, run],
          playing,
          progress: "starting",
          startedAt: before.startedAt ?? now,
          attemptStartedAt: now,
          endedAt: null,
          reason: null,
          hasStack: true,
        });
        await this.#save();
        failure = await this.#up(planned, run, playing, log);
      }
      const results = await this.#results(planned);
      this.#change(name, { results: results.folders, verdicts: results.verdicts });
      failure ??=
        results.missing.length > 0
          ? `pulumi up has ended well, but cells ${results.missing.join(", ")} have no complete results in fetched/`
          : undefined;
      const stopped = this.#stop === "now" && failure !== undefined;
      const keep = this.#args.plan.keepStacks && failure === undefined;
      const left = this.#case(name).hasStack && !keep ? await this.#destroy(planned, log) : undefined;
      this.#change(name, {
        status: stopped ? "stopped" : failure === undefined && left === undefined ? "done" : "failed",
        progress: null,
        endedAt: this.#now.toISOString(),
        reason: joined([stopped ? stoppedText : failure, left]),
        hasStack: keep ? this.#case(name).hasStack : left !== undefined,
      });
    } catch (error) {
      this.#change(name, {
        status: "failed",
        progress: null,
        endedAt: this.#now.toISOString(),
        reason: describe(error),
      });
    } finally {
      if (this.#case(name).status === "failed") this.#failed = true;
      log(`\n${this.#now.toISOString()} ${stack}: ${this.#case(name).status}\n`);
      await this.#save();
    }
  }

  /** A number that no attempt has had, and the cells that are still missing. */
  async #nextAttempt({ name, experiment, cells }: PlannedCase, { missing }: CaseResults): Promise<Attempt> {
    const { firstRun, runs } = this.#case(name);
    const run = Math.max(firstRun - 1, ...runs, await lastRun(this.#fetchedDir, experiment.name)) + 1;
    return { run, playing: missing.length < cells.length ? missing : null };
  }

  /** Why it has failed, or undefined. */
  async #up(
    planned: PlannedCase,
    run: number,
    playing: readonly number[] | null,
    log: (text: string) => void,
  ): Promise<string | undefined> {
    const config = stackConfig(planned, run, playing);
    log(`${this.#now.toISOString()} pulumi up -s ${planned.stack}, run ${run}\n`);
    return this.#tell(planned, log, (onText) =>
      this.#args.driver.up(planned.stack, config, { onText, signal: this.#abort.signal }),
    );
  }

  async #destroy(planned: PlannedCase, log: (text: string) => void): Promise<string | undefined> {
    log(`\n${this.#now.toISOString()} pulumi destroy -s ${planned.stack}\n`);
    this.#change(planned.name, { progress: "destroying the stack" });
    const failure = await this.#tell(planned, log, (onText) =>
      this.#args.driver.destroy(planned.stack, { onText }),
    );
    return failure === undefined ? undefined : `stack ${planned.stack} could not be destroyed: ${failure}`;
  }

  async #tell(
    { name }: PlannedCase,
    log: (text: string) => void,
    operation: (onText: (text: string) => void) => Promise<void>,
  ): Promise<string | undefined> {
    const seen: string[] = [];
    const lines = new Lines((line) => {
      seen.push(line);
      const progress = progressOf(line);
      if (progress !== undefined) this.#change(name, { progress });
    });
    try {
      await operation((text) => {
        log(text);
        lines.push(text);
      });
      return undefined;
    } catch (error) {
      lines.end();
      const reason = reasonOf(seen);
      if (reason !== "") return reason;
      log(`${describe(error)}\n`);
      return describe(error);
    }
  }

  #results(planned: PlannedCase): Promise<CaseResults> {
    const { firstRun, runs } = this.#case(planned.name);
    return readCaseResults({
      fetchedDir: this.#fetchedDir,
      experiment: planned.experiment.name,
      digits: idDigits(planned),
      firstRun,
      runs,
      cells: planned.cells,
    });
  }

  get #fetchedDir(): string {
    return join(this.#args.projectDir, "fetched");
  }

  get #now(): Date {
    return this.#args.now?.() ?? new Date();
  }

  #case(name: string): CaseState {
    return this.#state.cases.find((one) => one.name === name) as CaseState;
  }

  #change(name: string, change: Partial<CaseState>): void {
    this.#state = withCase(this.#state, name, change, this.#now);
    this.#args.onChange?.(this.#state);
    if (performance.now() - this.#saved > saveMilliseconds) this.#save().catch(() => {});
  }

  /** Writes the newest state; writes follow one another, also after one that has failed. */
  #save(): Promise<void> {
    this.#saved = performance.now();
    this.#saving = this.#saving.catch(() => {}).then(() => writeState(this.#args.projectDir, this.#state));
    return this.#saving;
  }
}

interface Attempt {
  readonly run: number;
  readonly playing: readonly number[] | null;
}

/** That of a process that was killed: the cluster plays on, and the next `up` takes it up. */
function lastAttempt({ runs, playing }: CaseState): Attempt {
  return { run: runs.at(-1) as number, playing };
}

function joined(parts: readonly (string | undefined)[]): string | null {
  const given = parts.filter((part) => part !== undefined);
  return given.length === 0 ? null : given.join("\n");
}
