// `llmeval deploy`, `benchmark`, `collect` and `delete`: one step of an experiment alone, as calls of pulumi on its stack.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseYaml } from "../components/config-problems.ts";
import { UserError } from "../components/errors.ts";
import { throwProblems } from "../experiments/problems.ts";
import { tryResolve } from "../experiments/resolve.ts";
import type { Step } from "../experiments/settings.ts";
import { runOf, type StackRun, type StackState } from "./stack-state.ts";

export type Verb = Step | "delete";

export interface VerbArgs {
  readonly verb: Verb;
  /** The experiment's name, with or without `exp-`. */
  readonly name: string;
  /** Folder of the Pulumi project. */
  readonly projectDir: string;
  /** The cluster's stack, for a stack that is made. */
  readonly cluster?: string;
  /** Number of the run, where it is not to be chosen. */
  readonly run?: string;
  /** Further `KEY=VALUE` of the stack's configuration, for this call alone. */
  readonly config: readonly string[];
  readonly debug: boolean;
  /** Asks nothing. */
  readonly yes: boolean;
  /** Shows what would be done, and does nothing. */
  readonly preview: boolean;
  /** Removes the stack itself after its resources. */
  readonly remove: boolean;
}

/** What the stack is given for this call alone. */
export interface VerbPlan {
  readonly settings: readonly string[];
  /** What is taken away first, so that it is made again. */
  readonly renewed: readonly string[];
}

const maxNameLength = 39;

/** `exp-smoke` of `smoke` or `exp-smoke`. */
export function stackOf(name: string): string {
  const bare = name.replace(/^exp-/, "");
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(bare) || bare.length > maxNameLength) {
    throw new UserError(
      `"${name}" is no name of an experiment, allowed: a-z, 0-9 and -, at most ${maxNameLength} characters, with or without exp-`,
    );
  }
  return `exp-${bare}`;
}

/** Throws one error with everything that is wrong with the options. */
export function checkOptions({ verb, run, config }: Pick<VerbArgs, "verb" | "run" | "config">): void {
  const wrongRun = run !== undefined && !/^[1-9]\d{0,4}$/.test(run);
  const problems = [
    ...(wrongRun ? [`--run is "${run}", allowed: a whole number from 1`] : []),
    ...config
      .filter((pair) => !/^[a-z][\w-]*:[A-Za-z]\w*=/.test(pair))
      .map((pair) => `--config is "${pair}", allowed: KEY=VALUE, e.g. llmeval:modelId=phi-4`),
  ];
  if (problems.length > 0) throw new UserError(`llmeval ${verb}: ${problems.join("; ")}`);
}

/**
 * What a step comes to on a stack where `present` is the run that is there. `deploy` never goes back, `benchmark` plays
 * anew what has been played and takes up what was cut, `collect` needs a run.
 */
export function planStep(
  step: Step,
  args: Pick<VerbArgs, "name" | "run" | "config" | "debug">,
  present: StackRun | undefined,
  configuredRun: number,
): VerbPlan {
  const name = args.name.replace(/^exp-/, "");
  if (step === "deploy" && present !== undefined) {
    throw new UserError(
      `exp-${name} has gone further than deploy: its engine is there, and ${present.experimentId} ` +
        `${present.played ? "has been played" : "is being played, or was cut"}; nothing was changed. ` +
        `Play again by: npx llmeval benchmark ${name}; take it down by: npx llmeval delete ${name}`,
    );
  }
  if (step === "collect" && present === undefined) {
    throw new UserError(
      `exp-${name} has no run to collect; play one by: npx llmeval benchmark ${name}, or everything by: pulumi up -s exp-${name}`,
    );
  }
  const run = args.run === undefined ? runFor(step, present, configuredRun) : Number(args.run);
  return {
    settings: [
      ...args.config,
      `llmeval:steps=${step}`,
      ...(run === undefined ? [] : [`llmeval:run=${run}`]),
      ...(args.debug ? ["llmeval:debug=true"] : []),
    ],
    renewed: step === "collect" && present !== undefined && run === present.run ? present.collection : [],
  };
}

function runFor(step: Step, present: StackRun | undefined, configured: number): number | undefined {
  if (present === undefined) return undefined;
  if (step === "collect") return present.run;
  return Math.max(configured, present.played ? present.run + 1 : present.run);
}

/** Runs a verb; pulumi shows its progress by itself, and its exit status is this process's. */
export async function runVerb(args: VerbArgs): Promise<void> {
  const stack = stackOf(args.name);
  checkOptions(args);
  const state = await readState(stack, args.projectDir);
  if (args.verb === "delete") {
    await takeDown(stack, state, args);
    return;
  }
  const configFile = join(args.projectDir, `Pulumi.${stack}.yaml`);
  const configured = await readConfig(configFile);
  const run = Number(configured["llmeval:run"] ?? 1);
  // Before anything is made: what cannot be done must leave nothing.
  const plan = planStep(args.verb, args, state === undefined ? undefined : runOf(state), run);
  if (state === undefined) await makeStack(stack, configured, args);

  // pulumi saves what --config sets: into a copy, so that the stack's own file stays as it is.
  const folder = await mkdtemp(join(tmpdir(), "llmeval-"));
  try {
    const copy = join(folder, `Pulumi.${stack}.yaml`);
    await copyFile(configFile, copy);
    const common = ["--stack", stack, "--config-file", copy];
    const yes = args.yes ? ["--yes"] : [];
    if (plan.renewed.length > 0) {
      const targets = plan.renewed.flatMap((urn) => ["--target", urn]);
      const how = args.preview ? ["--preview-only"] : yes;
      if (!(await succeeds(args.projectDir, ["destroy", ...common, ...targets, ...how]))) return;
    }
    const settings = plan.settings.flatMap((pair) => ["--config", pair]);
    const call = args.preview ? ["preview"] : ["up", ...yes];
    await succeeds(args.projectDir, [...call, ...common, ...settings]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function takeDown(stack: string, state: StackState | undefined, args: VerbArgs): Promise<void> {
  if (state === undefined) throw new UserError(`there is no stack ${stack}: nothing to delete`);
  const how = args.preview ? ["--preview-only"] : args.yes ? ["--yes"] : [];
  const gone = await succeeds(args.projectDir, ["destroy", "--stack", stack, ...how]);
  if (!gone || args.preview || !args.remove) return;
  await succeeds(args.projectDir, ["stack", "rm", stack, "--yes", "--preserve-config"]);
}

async function makeStack(
  stack: string,
  configured: Readonly<Record<string, unknown>>,
  { projectDir, cluster, name }: VerbArgs,
): Promise<void> {
  const bare = name.replace(/^exp-/, "");
  const definition = configured["llmeval:experiment"];
  const resolution = tryResolve({
    projectDir,
    name: bare,
    ...(typeof definition === "string" ? { definition } : {}),
  });
  throwProblems(`experiment ${bare}`, resolution.problems);
  const missing = {
    "llmeval:kind": "experiment",
    "llmeval:cluster": cluster,
    "pulumi:disable-default-providers[0]": "kubernetes",
  };
  if (cluster === undefined && configured["llmeval:cluster"] === undefined) {
    throw new UserError(
      `there is no stack ${stack} yet, and nothing names the cluster for it; give the cluster's stack by --cluster, e.g. --cluster dev`,
    );
  }
  const entries = Object.entries(missing).filter(
    ([key, value]) => value !== undefined && configured[key.replace("[0]", "")] === undefined,
  );
  const made =
    (await succeeds(projectDir, ["stack", "init", stack, "--no-select"])) &&
    (entries.length === 0 ||
      (await succeeds(projectDir, [
        ...["config", "set-all", "--stack", stack, "--path"],
        ...entries.flatMap(([key, value]) => ["--plaintext", `${key}=${value}`]),
      ])));
  if (!made) throw new UserError(`stack ${stack} could not be made`);
}

async function readConfig(file: string): Promise<Readonly<Record<string, unknown>>> {
  if (!existsSync(file)) return {};
  const content = parseYaml(await readFile(file, "utf8"), file) as
    | { readonly config?: Readonly<Record<string, unknown>> }
    | undefined;
  return content?.config ?? {};
}

/** The stack's state, or undefined where there is no such stack. */
async function readState(stack: string, projectDir: string): Promise<StackState | undefined> {
  const child = spawn("pulumi", ["stack", "export", "--stack", stack], {
    cwd: projectDir,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const status = await ended(child);
  if (status === 0) return JSON.parse(stdout) as StackState;
  if (/no stack named/.test(stderr)) return undefined;
  throw new UserError(`the state of ${stack} cannot be read: ${stderr.trim().replace(/^error: /, "")}`);
}

/** Runs pulumi in this terminal. Ctrl-C is its to answer: it ends in order, and then so does this process. */
async function succeeds(projectDir: string, args: readonly string[]): Promise<boolean> {
  const child = spawn("pulumi", args, { cwd: projectDir, stdio: "inherit" });
  const ignore = (): void => {};
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGINT", ignore).on("SIGTERM", forward);
  try {
    const status = await ended(child);
    if (status !== 0) process.exitCode = status;
    return status === 0;
  } finally {
    process.off("SIGINT", ignore).off("SIGTERM", forward);
  }
}

function ended(child: ReturnType<typeof spawn>): Promise<number> {
  return new Promise((done, fail) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      fail(
        error.code === "ENOENT"
          ? new UserError('pulumi is not on PATH; in this project: eval "$(make env)"')
          : error,
      ),
    );
    child.once("close", (status, signal) => done(status ?? (signal === "SIGINT" ? 130 : 143)));
  });
}
