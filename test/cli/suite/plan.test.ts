// What a suite comes to, told before anything runs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { idDigits, planSuite, stackConfig } from "../../../cli/suite/plan.ts";
import { planPage } from "../../../cli/suite/plan-page.ts";
import { throwProblems } from "../../../experiments/problems.ts";
import { namesIn, resolveExperiment } from "../../../experiments/resolve.ts";
import { root } from "../../workloads/support.ts";
import { suiteProject } from "./support.ts";

const suite = `description: two replicas counts
experiment: small
cluster: dev
overrides: { load: { ratePerSecond: [1, 2] } }
matrix: { parallelism.dataParallelism: [1, 2] }
`;

test("a case is what its stack will play, to the last field", () => {
  const projectDir = suiteProject(suite);
  const { plan, problems } = planSuite({ projectDir, suite: "s" });
  expect(problems).toEqual([]);
  const { cases, ...rest } = plan;
  expect(rest).toEqual({
    suite: "s",
    description: "two replicas counts",
    cluster: "dev",
    concurrency: 1,
    onFailure: "continue",
    keepStacks: false,
  });
  const overrides = { load: { ratePerSecond: [1, 2] }, parallelism: { dataParallelism: 2 } };
  const experiment = resolveExperiment({
    projectDir,
    name: "s-dp2",
    definition: "small",
    overrides: [{ file: "test", values: overrides }],
  });
  expect(cases.map(({ name }) => name)).toEqual(["dp1", "dp2"]);
  expect(cases[1]).toEqual({
    name: "dp2",
    stack: "exp-s-dp2",
    config: {
      "llmeval:kind": "experiment",
      "llmeval:cluster": "dev",
      "llmeval:experiment": "small",
      "llmeval:overrides": overrides,
      "pulumi:disable-default-providers": ["kubernetes"],
    },
    experiment,
    cells: ["rate-1-iteration-1", "rate-2-iteration-1"],
    requests: 45,
    accelerators: 0,
    playedSeconds: 37,
    longestSeconds: 3337,
    digest: expect.stringMatching(/^[0-9a-f]{12}$/),
    origin: "experiments/suites/s.yaml (case dp2)",
  });
  expect(idDigits({ experiment })).toMatch(/^[0-9a-f]{6}$/);
});

test("the digest changes with the definition and with the cluster", () => {
  const digest = (text: string, cluster: string): string | undefined =>
    planSuite({ projectDir: suiteProject(text), suite: "s", cluster }).plan.cases[0]?.digest;
  const changed = suite.replace("[1, 2] } }", "[1, 3] } }");
  expect(digest(suite, "dev")).toBe(digest(suite, "dev"));
  expect(new Set([digest(suite, "dev"), digest(suite, "other"), digest(changed, "dev")]).size).toBe(3);
});

test("a stack's configuration with the run, and with the cells of a run that goes on", () => {
  const config = { "llmeval:kind": "experiment" };
  expect(stackConfig({ config }, 1, null)).toEqual({ ...config, "llmeval:run": 1 });
  expect(stackConfig({ config }, 3, [2, 4])).toEqual({
    ...config,
    "llmeval:run": 3,
    "llmeval:cells": "2,4",
  });
});

test("all problems of all cases are told at once", () => {
  const wrong = `description: d
experiment: small
matrix:
  modelId: [phi-4, phi-5]
  load.promptTokns: [1]
cases: [{ name: other, experiment: smal }]
`;
  const { problems } = planSuite({ projectDir: suiteProject(wrong), suite: "s" });
  const lines = problems.map(({ file, path, text }) => `${file}: ${path}: ${text.split(/[;(]/)[0]}`);
  expect(lines).toMatchInlineSnapshot(`
    [
      "experiments/suites/s.yaml: cluster: missing",
      "experiments/suites/s.yaml (cases phi-4-pt1, phi-5-pt1): load.promptTokns: unknown key",
      "experiments/suites/s.yaml (case phi-5-pt1): modelId: "phi-5" is not known",
      "experiments/suites/s.yaml (case other): experiment: "smal" is not known",
    ]
  `);
  expect(() => throwProblems("suite s", problems)).toThrow(/cannot be used, \d+ problems/);
  expect(() => planSuite({ projectDir: suiteProject("description: d\nmatix: {}\n"), suite: "s" })).toThrow(
    'unknown key; did you mean "matrix"?',
  );
  expect(() => planSuite({ projectDir: suiteProject(suite), suite: "t" })).toThrow(
    'suite "t" is not known; allowed: s; or add experiments/suites/t.yaml',
  );
});

test("the page: cases, time, accelerator hours, and how they are played", () => {
  const text = `description: on accelerators
experiment: small
cluster: dev
overrides: { engine: vllm, load.iterations: 10 }
concurrency: accelerators
onFailure: stop
keepStacks: true
matrix: { parallelism.dataParallelism: [1, 4] }
cases: [{ name: a-case-with-a-name-that-is-far-too-long }]
`;
  const { plan } = planSuite({ projectDir: suiteProject(text), suite: "s" });
  expect(planPage(plan)).toMatchInlineSnapshot(`
    "suite s on cluster dev: on accelerators

      case                                   cells  load plays  at most  requests  accelerators  accelerator hours
      dp1                                       10     0:02:53  0:57:53       150             1               0.05
      dp4                                       10     0:02:53  0:57:53       150             4               0.19
      a-case-with-a-name-that-is-far-t-0a76     10     0:02:53  0:57:53       150             1               0.05
      3 cases                                   30     0:08:39  2:53:39       450                             0.29

    stacks exp-s-<case>, as many at once as the cluster's accelerators allow; after a failed case the suite stops; stacks are kept
    case a-case-with-a-name-that-is-far-t-0a76 is short for a-case-with-a-name-that-is-far-too-long
    "
  `);
});

test.each(namesIn(root, "experiments/suites"))("suite %s of the repository has no problem", (name) => {
  const { plan, problems } = planSuite({ projectDir: root, suite: name });
  expect(problems).toEqual([]);
  expect(plan.cases.length).toBeGreaterThan(1);
});

test("the worked example of the documentation comes to what is printed there", () => {
  const page = readFileSync(join(root, "docs/suites.md"), "utf8");
  const blocks = (language: string): string[] =>
    [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
      ([, text]) => text as string,
    );
  const definition = readFileSync(join(root, "experiments/falcon-baseline.yaml"), "utf8");
  const projectDir = suiteProject(suite, {
    "experiments/suites/cpu-and-network.yaml": blocks("yaml")[0] as string,
    "experiments/falcon-baseline.yaml": definition,
  });
  const { plan, problems } = planSuite({ projectDir, suite: "cpu-and-network" });
  expect(problems).toEqual([]);
  expect(planPage(plan)).toBe(blocks("text")[0]);
});
