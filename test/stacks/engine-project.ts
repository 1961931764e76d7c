// A copy of the project for the real Pulumi engine with the real Kubernetes provider: `stack init` writes into it.

import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { projectDir } from "../experiments/project.ts";
import { createEngine, type Engine } from "../support/engine.ts";

export const limitMilliseconds = 120_000;
const copied = [
  "cli",
  "components",
  "configs",
  "experiments",
  "stacks",
  "workloads",
  "index.ts",
  "package.json",
  "Pulumi.yaml",
];

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface EngineProject {
  readonly engine: Engine;
  /** The copy's folder. */
  readonly tree: string;
  pulumi(...args: string[]): Promise<Ended>;
  /** The copy's llmeval command. */
  llmeval(...args: string[]): Promise<Ended>;
}

/** Needs `pulumi` and `pulumi-language-nodejs` on PATH and the provider in $PULUMI_HOME, as `lab/with-tools` sets them. */
export async function createEngineProject(stacks: readonly string[]): Promise<EngineProject> {
  const engine = await createEngine();
  const plugins = join(process.env["PULUMI_HOME"] ?? "", "plugins");
  for (const plugin of readdirSync(plugins).filter((name) => /^resource-kubernetes-v[\d.]+$/.test(name))) {
    // Pulumi passes over a folder that is a link.
    const folder = join(engine.environment["PULUMI_HOME"] ?? "", "plugins", plugin);
    mkdirSync(folder);
    for (const file of readdirSync(join(plugins, plugin))) {
      symlinkSync(join(plugins, plugin, file), join(folder, file));
    }
  }
  const tree = join(engine.directory, "tree");
  mkdirSync(tree);
  for (const path of copied) cpSync(join(projectDir, path), join(tree, path), { recursive: true });
  for (const file of stacks.map((stack) => `Pulumi.${stack}.yaml`)) {
    // The salt belongs to the passphrase of the repository's own stack.
    const text = readFileSync(join(projectDir, file), "utf8").replace(/^encryptionsalt:.*\n?/m, "");
    writeFileSync(join(tree, file), text);
  }
  symlinkSync(join(projectDir, "node_modules"), join(tree, "node_modules"));
  const options = {
    cwd: tree,
    env: { ...process.env, ...engine.environment },
    timeout: limitMilliseconds,
    maxBuffer: 64 * 1024 * 1024,
  };
  const ended = (command: string, args: readonly string[]): Promise<Ended> =>
    promisify(execFile)(command, [...args], options).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr }),
    );
  const project: EngineProject = {
    engine,
    tree,
    pulumi: (...args) => ended("pulumi", [...args, "--non-interactive", "--color", "never"]),
    llmeval: (...args) => ended(process.execPath, ["--no-warnings", "cli/llmeval.ts", ...args]),
  };
  for (const stack of stacks) {
    const { code, stderr } = await project.pulumi("stack", "init", stack);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) });
  }
  return project;
}
