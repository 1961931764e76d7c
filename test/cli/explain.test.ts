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

test("how far the stack goes, and which cells it plays", () => {
  const args = {
    projectDir: root,
    name: "smoke-cpu-stress",
    cells: { file: "Pulumi.exp-smoke-cpu-stress.yaml", numbers: [2] },
  };
  const page = explain(resolveExperiment(args), tryResolve(args).originOf, 1, {
    steps: "benchmark",
    debug: true,
  });
  expect(page.slice(page.indexOf("stack\n"), page.indexOf("values"))).toMatchInlineSnapshot(`
    "stack
      llmeval:steps  benchmark  of deploy, benchmark, collect: deploy, benchmark
      llmeval:debug  true       verbose logs, pods stay for a day longer
      llmeval:cells  2          1 of 2 are played

    "
  `);
  expect(page.slice(page.indexOf("timeline,"), page.indexOf("cost"))).toMatchInlineSnapshot(`
    "timeline, offsets from T0
      +0:00:00  rate-4-iteration-2  warm-up 3 s, before 20 s, fault 20 s, after 10 s

    "
  `);
});

test("the window of each fault, and cells that have none", () => {
  const faults = [
    { kind: "cpu", target: { replica: 0 }, workers: 1, cells: "odd" },
    {
      kind: "network-loss",
      target: "replicas",
      percent: 5,
      startOffsetSeconds: 5,
      durationSeconds: 10,
      cells: [1],
    },
    { kind: "pod-kill", target: { replicasPercent: 50 }, cells: [3] },
  ];
  const overrides = [{ file: "test", values: { faults, load: { iterations: 3 } } }];
  const args = { projectDir: root, name: "smoke-cpu-stress", overrides };
  const page = explain(resolveExperiment(args), tryResolve(args).originOf, 1);
  expect(page.slice(page.indexOf("timeline,"), page.indexOf("cost"))).toMatchInlineSnapshot(`
    "timeline, offsets from T0
      +0:00:00  rate-4-iteration-1  warm-up 3 s, before 20 s, fault 20 s, after 10 s  cpu on replica 0 +0:00:23 to +0:00:43, network-loss on replicas +0:00:28 to +0:00:38
      +0:00:55  rate-4-iteration-2  warm-up 3 s, before 20 s, fault 20 s, after 10 s  no fault
      +0:01:50  rate-4-iteration-3  warm-up 3 s, before 20 s, fault 20 s, after 10 s  cpu on replica 0 +0:02:13 to +0:02:33, pod-kill on 50 % of the replicas +0:02:13 to +0:02:33

    "
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
      - experiments/smok.yaml: does not exist; "smok" is not known; did you mean "smoke"? allowed: falcon-baseline, falcon-entry-delay, falcon-memory-exhaustion, falcon-network-bandwidth, falcon-network-delay, falcon-network-loss, falcon-network-partition, falcon-pod-kill, falcon-staggered-faults, falcon-storage-and-clock, falcon-stress-cpu, falcon-stress-gpu-clock, falcon-stress-gpu-power, falcon-stress-memory, lab-faults-kill, lab-faults-stress, smoke, smoke-cpu-stress, smoke-network-delay; write the file, or name an existing one by: pulumi config set llmeval:experiment NAME
    ",
    ]
  `);
});
