// What an experiment comes to, told before anything runs.
import { expect, test } from "vitest";
import { explain } from "../../cli/explain.ts";
import { resolveExperiment, tryResolve } from "../../experiments/resolve.ts";
import { root, run } from "../workloads/support.ts";

const llmeval = (...args: string[]) => run(`${root}/cli/llmeval.ts`, { args });

test("timeline and cost of a sweep over rates and iterations", () => {
  const overrides = [
    {
      file: "Pulumi.exp-sweep.yaml llmeval:overrides",
      values: {
        load: { ratePerSecond: [1, 2.5], iterations: 2 },
        parallelism: { dataParallelism: 3, tensorParallelism: 2, acceleratorsPerPod: 2 },
      },
    },
  ];
  const args = { projectDir: root, name: "sweep", definition: "falcon-baseline", overrides };
  const page = explain(resolveExperiment(args), tryResolve(args).originOf, 1);
  expect(page.slice(page.indexOf("timeline,"))).toMatchInlineSnapshot(`
    "timeline, offsets from T0
      +0:00:00  rate-1-iteration-1    before 285 s, fault 60 s, after 60 s
      +0:07:15  rate-2.5-iteration-1  before 285 s, fault 60 s, after 60 s
      +0:14:30  rate-1-iteration-2    before 285 s, fault 60 s, after 60 s
      +0:21:45  rate-2.5-iteration-2  before 285 s, fault 60 s, after 60 s

    cost
      duration           0:28:30 from T0; at most 1:23:35 in all
      requests           2836 in 4 cells
      accelerators       6 (3 replicas x 2)
      accelerator hours  2.86 while the load plays; at most 8.36
    "
  `);
  const rowOf = (key: string) => page.split("\n").find((line) => line.startsWith(`  ${key} `));
  expect(
    ["load.ratePerSecond", "load.promptTokens", "timeline.beforeSeconds"].map(rowOf),
  ).toMatchInlineSnapshot(`
    [
      "  load.ratePerSecond                     [1,2.5]                         Pulumi.exp-sweep.yaml llmeval:overrides",
      "  load.promptTokens                      512                             experiments/falcon-baseline.yaml",
      "  timeline.beforeSeconds                 285                             profile ansible",
    ]
  `);
});

test("a definition without a stack of its own is explained too, a misspelt one is told", async () => {
  expect((await llmeval("explain", "smoke")).stdout.split("\n")[0]).toBe(
    "experiment smoke: One rate for fifteen seconds on the stand-in engine, to see that every part works",
  );
  const misspelt = await llmeval("explain", "smok");
  expect([misspelt.status, misspelt.stderr]).toMatchInlineSnapshot(`
    [
      1,
      "error: experiment smok cannot be used, 1 problem:
      - experiments/smok.yaml: does not exist; "smok" is not known; did you mean "smoke"? allowed: falcon-baseline, smoke; write the file, or name an existing one by: pulumi config set llmeval:experiment NAME
    ",
    ]
  `);
});
