// The experiment stacks on the real Pulumi engine with the real Kubernetes provider and no cluster. Needs `pulumi` and
// `pulumi-language-nodejs` on PATH and the provider in $PULUMI_HOME, as `lab/with-tools` sets them.

import { afterAll, beforeAll, expect, test } from "vitest";
import { createEngineProject, type EngineProject, limitMilliseconds } from "./engine-project.ts";

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

let project: EngineProject;

beforeAll(async () => {
  project = await createEngineProject(stacks);
}, limitMilliseconds);

afterAll(() => project?.engine.dispose());

test.each(stacks)(
  "%s: a preview works without its cluster, warns, and destroys with its namespace",
  {
    timeout: limitMilliseconds,
  },
  async (stack) => {
    const { code, stdout } = await project.pulumi("preview", "--stack", stack, "--json");
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
  const { code, stdout } = await project.pulumi("up", "--stack", "exp-smoke", "--skip-preview", "--yes");
  expect(code).not.toBe(0);
  expect(stdout).toContain("error: cluster stack dev is not deployed");
  expect(stdout).toContain("nothing was created");
  const state = await project.engine.stateText("exp-smoke", "llm-serving-eval");
  expect(state).not.toContain("kubernetes:");
});
