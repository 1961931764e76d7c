// `llmeval suite`: run, resume, stop and show suites of experiments.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../components/errors.ts";
import { throwProblems, unknownName } from "../../experiments/problems.ts";
import { namesIn } from "../../experiments/resolve.ts";
import { preflight } from "./checks.ts";
import { liveHolder, takeLock } from "./lock.ts";
import { headline, renderPage } from "./page.ts";
import { planSuite, type SuitePlan, suitesFolder } from "./plan.ts";
import { planPage } from "./plan-page.ts";
import { lastRun } from "./results.ts";
import { SuiteRunner } from "./runner.ts";
import { Show } from "./show.ts";
import { differences, freshState, readState, type SuiteState, suiteFolder } from "./state.ts";

export interface SuiteArgs {
  /** run, resume, status, stop or list. */
  readonly action: string;
  /** Name of a file in experiments/suites/; not for list. */
  readonly suite: string;
  readonly projectDir: string;
  /** Name of the cluster's stack. @default the suite's own */
  readonly cluster?: string;
  /** run: print the plan only. */
  readonly planOnly: boolean;
  /** run: play all cases anew, whatever was played before. */
  readonly restart: boolean;
  /** stop: let the running cases end by themselves. */
  readonly afterCase: boolean;
  /** Shortest time between two lines on the progress of a case, where the output is no terminal. */
  readonly progressSeconds: number;
}

const actions: Readonly<Record<string, (args: SuiteArgs) => Promise<void>>> = {
  run: play,
  resume: play,
  status: async ({ projectDir, suite }) => {
    process.stdout.write(await currentPage(projectDir, suite));
  },
  stop,
  list,
};

const stopPollMilliseconds = 500;

export async function runSuiteCommand(args: SuiteArgs): Promise<void> {
  const action = Object.hasOwn(actions, args.action) ? actions[args.action] : undefined;
  if (action === undefined) {
    const known = Object.keys(actions).join(", ");
    throw new UserError(`llmeval suite: unknown action "${args.action}", known: ${known}`);
  }
  if (args.action !== "list" && args.suite === "") {
    const known = namesIn(args.projectDir, suitesFolder).join(", ");
    throw new UserError(`llmeval suite ${args.action}: NAME is missing, known suites: ${known}`);
  }
  await action(args);
}

async function play(args: SuiteArgs): Promise<void> {
  const { projectDir, suite, planOnly } = args;
  const isResume = args.action === "resume";
  const before = await readState(projectDir, suite);
  const cluster = args.cluster ?? (isResume ? before?.cluster : undefined);
  const { plan, problems } = planSuite({ projectDir, suite, ...(cluster === undefined ? {} : { cluster }) });
  if (planOnly) {
    throwProblems(`suite ${suite}`, problems);
    process.stdout.write(planPage(plan));
    return;
  }
  // A plan with holes would look like one that has changed.
  if (before !== undefined) throwProblems(`suite ${suite}`, problems);
  const unlock = takeLock(join(projectDir, suiteFolder(suite)), suite);
  try {
    // Once more, as the process that held the lock until now may have written it.
    const state = await stateToPlay(args, plan, await readState(projectDir, suite));
    const { driver, accelerators } = await preflight({ projectDir, plan, state, problems });
    process.stdout.write(`${planPage(plan)}\n`);
    const show = new Show(process.stdout, args.progressSeconds);
    const runner = new SuiteRunner({ projectDir, plan, state, driver, accelerators, onChange: show.update });
    const ignore = listenToSignals(runner);
    const end = await runner.run().finally(ignore);
    show.end(end);
    if (end.cases.some(({ status }) => status !== "done")) process.exitCode = 1;
  } finally {
    unlock();
  }
}

/** The state to go on with; a UserError where the action does not fit what was played before. */
async function stateToPlay(
  { action, restart, projectDir }: SuiteArgs,
  plan: SuitePlan,
  before: SuiteState | undefined,
): Promise<SuiteState> {
  const { suite } = plan;
  if (before === undefined) {
    if (action === "resume")
      throw new UserError(`suite ${suite} has not been run yet: npx llmeval suite run ${suite}`);
    return freshState(plan, new Date());
  }
  if (restart) {
    const left = before.cases.filter(({ hasStack }) => hasStack);
    if (left.length > 0) {
      const commands = left.map(({ stack }) => `\n  pulumi destroy --remove --yes -s ${stack}`).join("");
      throw new UserError(
        `suite ${suite} has stacks of the time before; go on with it by: npx llmeval suite resume ${suite}, or remove them by:${commands}`,
      );
    }
    const runs = new Map<string, number>();
    for (const { experiment } of plan.cases) {
      runs.set(experiment.name, await lastRun(join(projectDir, "fetched"), experiment.name));
    }
    return freshState(plan, new Date(), (name) => (runs.get(name) ?? 0) + 1);
  }
  const changed = differences(plan, before);
  if (changed.length > 0) {
    throw new UserError(
      `suite ${suite} is another one than that which was begun at ${before.startedAt}:\n` +
        `${changed.map((text) => `  - ${text}`).join("\n")}\n` +
        `old and new results would be mixed; put the definition back, or play all cases anew by: npx llmeval suite run ${suite} --restart`,
    );
  }
  if (action === "run") {
    throw new UserError(
      `${headline(before, new Date(), false)}; or play all cases anew by: npx llmeval suite run ${suite} --restart`,
    );
  }
  return before;
}

/** Ctrl-C, SIGTERM and a closed terminal stop at once, SIGUSR2 after the running cases. Returns what undoes it. */
function listenToSignals(runner: SuiteRunner): () => void {
  const now = (): void => runner.stop("now");
  const later = (): void => runner.stop("after-case");
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  // A terminal that is gone must not end the process before the stacks are destroyed.
  process.stdout.on("error", () => {});
  for (const signal of signals) process.on(signal, now);
  process.on("SIGUSR2", later);
  return () => {
    for (const signal of signals) process.off(signal, now);
    process.off("SIGUSR2", later);
  };
}

async function stop({ projectDir, suite, afterCase }: SuiteArgs): Promise<void> {
  const folder = join(projectDir, suiteFolder(suite));
  const holder = liveHolder(folder);
  if (holder === undefined) throw new UserError(`suite ${suite} is not being run`);
  try {
    process.kill(holder.pid, afterCase ? "SIGUSR2" : "SIGTERM");
  } catch (error) {
    throw new UserError(
      `process ${holder.pid} on host ${holder.host}, which runs suite ${suite}, cannot be told to stop: ${(error as Error).message}`,
    );
  }
  if (afterCase) {
    process.stdout.write(
      `suite ${suite} will stop when the running case has ended (process ${holder.pid})\n`,
    );
    return;
  }
  process.stdout.write(`process ${holder.pid} has been told to stop; waiting until its stack is destroyed\n`);
  while (liveHolder(folder) !== undefined) await sleep(stopPollMilliseconds);
  process.stdout.write(await currentPage(projectDir, suite));
}

async function currentPage(projectDir: string, suite: string): Promise<string> {
  const state = await readState(projectDir, suite);
  if (state === undefined) {
    const known = namesIn(projectDir, suitesFolder);
    if (!known.includes(suite))
      throw new UserError(`suite ${unknownName(suite, known, "see: npx llmeval suite list")}`);
    throw new UserError(`suite ${suite} has not been run yet: npx llmeval suite run ${suite}`);
  }
  const isPlayed = liveHolder(join(projectDir, suiteFolder(suite))) !== undefined;
  return `${renderPage({ state, now: new Date(), isPlayed })}\n`;
}

async function list({ projectDir }: SuiteArgs): Promise<void> {
  const names = namesIn(projectDir, suitesFolder);
  const width = Math.max(0, ...names.map((name) => name.length));
  for (const suite of names) {
    process.stdout.write(`${suite.padEnd(width)}  ${inOneLine(projectDir, suite)}\n`);
    const state = await readState(projectDir, suite);
    if (state === undefined) continue;
    const isPlayed = liveHolder(join(projectDir, suiteFolder(suite))) !== undefined;
    process.stdout.write(`${" ".repeat(width)}  ${headline(state, new Date(), isPlayed)}\n`);
  }
}

function inOneLine(projectDir: string, suite: string): string {
  try {
    const { plan, problems } = planSuite({ projectDir, suite });
    const wrong = problems.filter(({ path }) => path !== "cluster");
    if (wrong.length === 0) return `${plan.cases.length} cases: ${plan.description}`;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  return `cannot be used: npx llmeval suite run ${suite} --plan tells why`;
}
