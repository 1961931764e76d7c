// Stacks by Pulumi's Automation API: the project's own folder, and the state store and settings of the user's environment.

import { execFile } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import {
  ConcurrentUpdateError,
  LocalWorkspace,
  Stack,
  StackNotFoundError,
} from "@pulumi/pulumi/automation/index.js";
import { UserError } from "../../components/errors.ts";
import { type ClusterFacts, toClusterFacts } from "../../components/experiment/cluster-facts.ts";
import { reasonOf } from "./output.ts";
import type { Hooks, StackDriver } from "./runner.ts";

export interface PulumiDriverArgs {
  readonly projectDir: string;
  /** A token for gated models; each stack keeps it as a secret. @default none */
  readonly huggingFaceToken?: string;
  /** Longest time that a destroy may take. @default 900 */
  readonly destroySeconds?: number;
}

/** How long `up` has to end by itself after it was told to. */
const cancelSeconds = 180;
/** How long an operation waits for another process that holds the stack. */
const lockSeconds = 60;
/** Ctrl-C in a terminal reaches pulumi too; a second interrupt would make it leave everything where it is. */
const interruptSeconds = 2;

export class PulumiDriver implements StackDriver {
  readonly #args: PulumiDriverArgs;
  readonly #workspace: LocalWorkspace;
  /** Making a stack selects it and removing one selects none: one at a time, and the user's choice is put back. */
  #selecting: Promise<unknown> = Promise.resolve();

  private constructor(args: PulumiDriverArgs, workspace: LocalWorkspace) {
    this.#args = args;
    this.#workspace = workspace;
  }

  static async open(args: PulumiDriverArgs): Promise<PulumiDriver> {
    try {
      return new PulumiDriver(args, await LocalWorkspace.create({ workDir: args.projectDir }));
    } catch (error) {
      const text = reason(error);
      throw new UserError(
        /ENOENT/.test(text) ? "pulumi is not on the PATH" : `pulumi cannot be used: ${text}`,
      );
    }
  }

  /** Names of all stacks of the project. */
  async stackNames(): Promise<string[]> {
    try {
      return (await this.#workspace.listStacks()).map(({ name }) => name.split("/").at(-1) as string);
    } catch (error) {
      throw new UserError(`pulumi cannot list the stacks: ${reason(error)}`);
    }
  }

  /** What a cluster's stack states, or undefined where it is not deployed. */
  async cluster(name: string): Promise<ClusterFacts | undefined> {
    try {
      const outputs = await this.#workspace.stackOutputs(name);
      return toClusterFacts(
        Object.fromEntries(Object.entries(outputs).map(([key, { value }]) => [key, value])),
      );
    } catch (error) {
      if (error instanceof StackNotFoundError) return undefined;
      throw new UserError(`the outputs of cluster stack ${name} cannot be read: ${reason(error)}`);
    }
  }

  async up(stack: string, config: Readonly<Record<string, unknown>>, hooks: Hooks): Promise<void> {
    hooks.signal.throwIfAborted();
    const made = await this.#select(() => Stack.createOrSelect(stack, this.#workspace));
    await this.#configure(stack, config);
    await this.#locked(made, hooks.onText, () => interruptible(made, hooks));
  }

  async destroy(stack: string, { onText }: Pick<Hooks, "onText">): Promise<void> {
    const { projectDir, destroySeconds = 900 } = this.#args;
    let there: Stack;
    try {
      there = await this.#select(() => Stack.select(stack, this.#workspace));
    } catch (error) {
      if (!(error instanceof StackNotFoundError)) throw error;
      rmSync(join(projectDir, `Pulumi.${stack}.yaml`), { force: true });
      return;
    }
    const deadline = AbortSignal.timeout(destroySeconds * 1000);
    const operation = (): Promise<unknown> =>
      bounded(
        there.destroy({ onOutput: onText, onError: onText, color: "never", signal: deadline }),
        destroySeconds + 60,
        `pulumi destroy has not ended within ${destroySeconds} s`,
      );
    try {
      await this.#locked(there, onText, operation);
    } catch (error) {
      // A Ctrl-C that was meant for the suite has reached this destroy too, or the cluster was away for a moment.
      if (deadline.aborted) throw error;
      onText(`\nonce more: pulumi destroy -s ${stack}\n`);
      await this.#locked(there, onText, operation);
    }
    await this.#select(() => this.#workspace.removeStack(stack));
  }

  async #configure(stack: string, config: Readonly<Record<string, unknown>>): Promise<void> {
    const { projectDir, huggingFaceToken } = this.#args;
    const file = existsSync(join(projectDir, `Pulumi.${stack}.yaml`))
      ? await this.#workspace.stackSettings(stack)
      : {};
    await this.#workspace.saveStackSettings(stack, { ...file, config: { ...config } });
    if (huggingFaceToken === undefined) return;
    // By stdin: a command line can be read by everybody on the machine.
    const args = ["config", "set", "--secret", "llmeval:huggingFaceToken", "-s", stack, "--non-interactive"];
    const running = promisify(execFile)("pulumi", args, { cwd: projectDir });
    running.child.stdin?.end(huggingFaceToken);
    await running;
  }

  /** Waits for a process that holds the stack, and takes the lock away from a dead one. */
  async #locked(
    stack: Stack,
    onText: (text: string) => void,
    operation: () => Promise<unknown>,
  ): Promise<void> {
    const deadline = performance.now() + lockSeconds * 1000;
    for (;;) {
      try {
        await operation();
        return;
      } catch (error) {
        if (!(error instanceof ConcurrentUpdateError)) throw error;
        const pid = Number(/\(pid (\d+)\)/.exec(error.message)?.[1] ?? Number.NaN);
        if (Number.isNaN(pid) || (isAlive(pid) && performance.now() > deadline)) throw error;
        if (isAlive(pid)) {
          await sleep(2000);
        } else {
          onText(`process ${pid}, which held stack ${stack.name}, is dead: pulumi cancel\n`);
          await stack.cancel();
        }
      }
    }
  }

  #select<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#selecting.then(async () => {
      const before = await this.#workspace.stack();
      try {
        return await operation();
      } finally {
        if (before !== undefined) await this.#workspace.selectStack(before.name).catch(() => {});
      }
    });
    this.#selecting = result.catch(() => {});
    return result;
  }
}

/** `up` that ends, by an error, when the signal is aborted. */
async function interruptible(stack: Stack, { onText, signal }: Hooks): Promise<void> {
  signal.throwIfAborted();
  const interrupt = new AbortController();
  const ended = new AbortController();
  let knows = false;
  const told = (text: string): void => {
    knows ||= text.includes("^C received");
    onText(text);
  };
  const up = stack.up({ onOutput: told, onError: told, color: "never", signal: interrupt.signal });
  const giveUp = new Promise<never>((_, fail) => {
    const stop = async (): Promise<void> => {
      await sleep(interruptSeconds * 1000, undefined, { signal: ended.signal });
      if (!knows) interrupt.abort();
      await sleep(cancelSeconds * 1000, undefined, { signal: ended.signal });
      fail(new Error(`pulumi up has not ended within ${cancelSeconds} s after it was told to`));
    };
    signal.addEventListener("abort", () => void stop().catch(() => {}), { signal: ended.signal });
  });
  try {
    await Promise.race([up, giveUp]);
  } finally {
    ended.abort();
  }
}

async function bounded<T>(operation: Promise<T>, seconds: number, text: string): Promise<T> {
  const over = new AbortController();
  const limit = sleep(seconds * 1000, undefined, { signal: over.signal }).then(() => {
    throw new Error(text);
  });
  try {
    return await Promise.race([operation, limit]);
  } finally {
    over.abort();
    limit.catch(() => {});
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** An error of the Automation API holds the whole output. */
function reason(error: unknown): string {
  return reasonOf(String(error instanceof Error ? error.message : error).split("\n"));
}
