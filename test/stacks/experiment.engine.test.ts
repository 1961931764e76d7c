// The experiment stacks on the real Pulumi engine with the real Kubernetes provider and no cluster. Needs `pulumi` and
// `pulumi-language-nodejs` on PATH and the provider in $PULUMI_HOME, as `lab/with-tools` sets them.

import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectDir } from "../experiments/project.ts";
import { createEngine, type Engine } from "../support/engine.ts";

const limitMilliseconds = 120_000;
const copied = ["components", "configs", "experiments", "stacks", "workloads", "index.ts", "package.json"];
const stacks = ["exp-smoke", "exp-falcon-baseline"];

interface State {
  readonly type: string;
  readonly urn: string;
  readonly deletedWith?: string;
  readonly inputs?: { readonly metadata?: { readonly namespace?: string } };
}

interface Preview {
  readonly steps: readonly { readonly op: string; readonly newState: State }[];
  readonly diagnostics: readonly { readonly severity: string; readonly message: string }[];
}

let engine: Engine;
let tree: string;

async function pulumi(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const options = {
    cwd: tree,
    env: { ...process.env, ...engine.environment },
    timeout: limitMilliseconds,
    maxBuffer: 64 * 1024 * 1024,
  };
  return promisify(execFile)("pulumi", [...args, "--non-interactive", "--color", "never"], options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr }),
  );
}

beforeAll(async () => {
  engine = await createEngine();
  const plugins = join(process.env["PULUMI_HOME"] ?? "", "plugins");
  for (const plugin of readdirSync(plugins).filter((name) => /^resource-kubernetes-v[\d.]+$/.test(name))) {
    // Pulumi passes over a folder that is a link.
    const folder = join(engine.environment["PULUMI_HOME"] ?? "", "plugins", plugin);
    mkdirSync(folder);
    for (const file of readdirSync(join(plugins, plugin))) {
      symlinkSync(join(plugins, plugin, file), join(folder, file));
    }
  }
  // A copy: `stack init` writes into the stack's configuration file.
  tree = join(engine.directory, "tree");
  mkdirSync(tree);
  for (const path of [...copied, "Pulumi.yaml"]) {
    cpSync(join(projectDir, path), join(tree, path), { recursive: true });
  }
  for (const file of stacks.map((stack) => `Pulumi.${stack}.yaml`)) {
    // The salt belongs to the passphrase of the repository's own stack.
    const text = readFileSync(join(projectDir, file), "utf8").replace(/^encryptionsalt:.*\n?/m, "");
    writeFileSync(join(tree, file), text);
  }
  symlinkSync(join(projectDir, "node_modules"), join(tree, "node_modules"));
  for (const stack of stacks) {
    const { code, stderr } = await pulumi("stack", "init", stack);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) });
  }
}, limitMilliseconds);

afterAll(() => engine?.dispose());

test.each(stacks)(
  "%s: a preview works without its cluster, warns, and destroys with its namespace",
  {
    timeout: limitMilliseconds,
  },
  async (stack) => {
    const { code, stdout } = await pulumi("preview", "--stack", stack, "--json");
    const preview = JSON.parse(stdout) as Preview;
    expect(preview.diagnostics.filter(({ severity }) => severity === "error")).toEqual([]);
    expect(code).toBe(0);
    expect(preview.diagnostics.map(({ message }) => message).join("\n")).toContain("is not deployed");
    expect(new Set(preview.steps.map(({ op }) => op))).toEqual(new Set(["create"]));

    const objects = preview.steps
      .map(({ newState }) => newState)
      .filter(({ type }) => type.startsWith("kubernetes:"));
    const namespace = objects.find(({ type }) => type === "kubernetes:core/v1:Namespace")?.urn;
    const wrong = objects.filter(
      ({ inputs, deletedWith }) =>
        deletedWith !== (inputs?.metadata?.namespace === undefined ? undefined : namespace),
    );
    expect(wrong.map(({ urn }) => urn)).toEqual([]);
  },
);

test("up without its cluster fails with one error and creates nothing", {
  timeout: limitMilliseconds,
}, async () => {
  const { code, stdout } = await pulumi("up", "--stack", "exp-smoke", "--skip-preview", "--yes");
  expect(code).not.toBe(0);
  expect(stdout).toContain("error: cluster stack dev is not deployed");
  expect(stdout).toContain("nothing was created");
  const state = await engine.stateText("exp-smoke", "llm-serving-eval");
  expect(state).not.toContain("kubernetes:");
});
