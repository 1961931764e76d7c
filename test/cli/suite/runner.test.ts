// How a suite is played: order, failures, what is gone on with, stops, and how many cases at once.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { idDigits, type SuitePlan } from "../../../cli/suite/plan.ts";
import { type RunnerArgs, SuiteRunner } from "../../../cli/suite/runner.ts";
import { readState, type SuiteState, withCase } from "../../../cli/suite/state.ts";
import { cellsOf, FakeDriver, type FakeRun, planned, suiteProject, writeRun } from "./support.ts";

const suite = (more = ""): string => `description: d
experiment: small
overrides: { load.iterations: 3 }
matrix: { parallelism.dataParallelism: [1, 2, 3] }
${more}`;
const cells = ["rate-1-iteration-1", "rate-1-iteration-2", "rate-1-iteration-3"];
const complete: FakeRun = { complete: true, cells: cellsOf(cells, "valid") };

interface Scene {
  readonly projectDir: string;
  readonly plan: SuitePlan;
  readonly state: SuiteState;
  readonly driver: FakeDriver;
  /** The id of a run of a case. */
  id(name: string, run: number): string;
  runner(args?: Partial<RunnerArgs>): SuiteRunner;
}

/** Every `up` leaves complete results, unless the test says otherwise. */
function scene(text = suite()): Scene {
  const projectDir = suiteProject(text);
  const { plan, state } = planned(projectDir);
  const driver = new FakeDriver();
  const id = (name: string, run: number): string => {
    const one = plan.cases.find((each) => each.name === name);
    return `s-${name}-r${run}-${one === undefined ? "" : idDigits(one)}`;
  };
  for (const { name, stack } of plan.cases) {
    driver.ups[stack] = (config) => writeRun(projectDir, id(name, Number(config["llmeval:run"])), complete);
  }
  const runner = (args: Partial<RunnerArgs> = {}): SuiteRunner =>
    new SuiteRunner({ projectDir, plan, state, driver, ...args });
  return { projectDir, plan, state, driver, id, runner };
}

const statuses = (state: SuiteState): string[] => state.cases.map(({ status }) => status);
const fail = (text: string) => (): never => {
  throw new Error(text);
};

test("one case after the other, each with its stack; the state on disk is the one that is returned", async () => {
  const { projectDir, state, driver, id, runner } = scene();
  const end = await runner({ now: () => new Date(60_000) }).run();
  expect(driver.calls).toEqual([
    "up exp-s-dp1 run 1",
    "destroy exp-s-dp1",
    "up exp-s-dp2 run 1",
    "destroy exp-s-dp2",
    "up exp-s-dp3 run 1",
    "destroy exp-s-dp3",
  ]);
  expect([driver.most, driver.stacks.size]).toEqual([1, 0]);
  expect(await readState(projectDir, "s")).toEqual(end);
  expect(end.cases[1]).toEqual({
    ...state.cases[1],
    status: "done",
    runs: [1],
    startedAt: "1970-01-01T00:01:00.000Z",
    attemptStartedAt: "1970-01-01T00:01:00.000Z",
    endedAt: "1970-01-01T00:01:00.000Z",
    results: [id("dp2", 1)],
    verdicts: cells.map((cell) => ({ cell, verdict: "valid", experimentId: id("dp2", 1) })),
  });
});

test("each step is on disk before the next begins", async () => {
  const { projectDir, driver, runner } = scene();
  const seen: unknown[] = [];
  const look = async (name: string): Promise<void> => {
    const one = (await readState(projectDir, "s"))?.cases.find((each) => each.name === name);
    seen.push([one?.status, one?.runs, one?.hasStack]);
  };
  const leave = driver.ups["exp-s-dp2"];
  driver.ups["exp-s-dp2"] = async (config, hooks) => {
    await look("dp1");
    await look("dp2");
    await leave?.(config, hooks);
  };
  await runner().run();
  expect(seen).toEqual([
    ["done", [1], false],
    ["running", [1], true],
  ]);
});

test("a case that fails is destroyed and written down with its last error lines, and the suite goes on", async () => {
  const { projectDir, driver, runner } = scene();
  const progress: (string | null)[] = [];
  driver.ups["exp-s-dp2"] = (_, { onText }) => {
    onText("[   1 s] load: 1/2 requests sent, 0 failed\n");
    onText("Diagnostics:\n    error: update failed\n    error: no room on");
    onText(" any node\n");
    throw new Error("code: 255, and the whole output");
  };
  const onChange = (state: SuiteState): void => {
    const text = state.cases[1]?.progress ?? null;
    if (text !== progress.at(-1)) progress.push(text);
  };
  const end = await runner({ onChange }).run();
  expect(statuses(end)).toEqual(["done", "failed", "done"]);
  expect(end.cases[1]).toMatchObject({ reason: "no room on any node", hasStack: false, verdicts: [] });
  expect(progress).toEqual([
    null,
    "starting",
    "load: 1/2 requests sent, 0 failed",
    "destroying the stack",
    null,
  ]);
  expect(driver.calls).toContain("destroy exp-s-dp2");
  const log = readFileSync(join(projectDir, end.cases[1]?.log ?? ""), "utf8");
  expect(log.replaceAll(/\d{4}-.*Z/g, "TIME")).toMatchInlineSnapshot(`
    "TIME pulumi up -s exp-s-dp2, run 1
    [   1 s] load: 1/2 requests sent, 0 failed
    Diagnostics:
        error: update failed
        error: no room on any node

    TIME pulumi destroy -s exp-s-dp2

    TIME exp-s-dp2: failed
    "
  `);
});

test("a file of results that cannot be read fails its case, and nothing else", async () => {
  const { projectDir, driver, id, runner } = scene();
  writeRun(projectDir, id("dp1", 1), complete);
  writeFileSync(join(projectDir, "fetched", id("dp1", 1), "summary.json"), "{");
  const end = await runner().run();
  expect(statuses(end)).toEqual(["failed", "done", "done"]);
  expect(end.cases[0]?.reason).toContain("summary.json is not JSON");
  expect(driver.calls.some((call) => call.includes("dp1"))).toBe(false);
});

test("onFailure: stop leaves the others, and says so", async () => {
  const { driver, runner } = scene(suite("onFailure: stop"));
  driver.ups["exp-s-dp1"] = fail("no");
  const end = await runner().run();
  expect(statuses(end)).toEqual(["failed", "skipped", "skipped"]);
  expect(driver.calls).toEqual(["up exp-s-dp1 run 1", "destroy exp-s-dp1"]);
});

test("an up that ends well without complete results is no success", async () => {
  const { driver, runner } = scene();
  driver.ups["exp-s-dp1"] = () => {};
  expect((await runner().run()).cases[0]).toMatchObject({
    status: "failed",
    reason: "pulumi up has ended well, but cells 1, 2, 3 have no complete results in fetched/",
  });
});

test("a stack that cannot be destroyed is told and tried again, without playing the case again", async () => {
  const { driver, runner } = scene();
  driver.destroys["exp-s-dp1"] = fail("namespace hangs");
  const end = await runner().run();
  expect(end.cases[0]).toMatchObject({
    status: "failed",
    hasStack: true,
    reason: "stack exp-s-dp1 could not be destroyed: namespace hangs",
  });
  driver.destroys["exp-s-dp1"] = () => {};
  driver.calls.length = 0;
  const again = await runner({ state: end }).run();
  expect(driver.calls).toEqual(["destroy exp-s-dp1"]);
  expect(again.cases[0]).toMatchObject({ status: "done", hasStack: false, reason: null });
});

test("keepStacks keeps those of cases that are done", async () => {
  const { driver, runner } = scene(suite("keepStacks: true"));
  driver.ups["exp-s-dp2"] = fail("no");
  const end = await runner().run();
  expect(end.cases.map(({ hasStack }) => hasStack)).toEqual([true, false, true]);
  expect(driver.calls.filter((call) => call.startsWith("destroy"))).toEqual(["destroy exp-s-dp2"]);
});

test("resume: done cases stay, a failed one gets a new run, and results on disk are not measured again", async () => {
  const { projectDir, driver, id, runner } = scene();
  driver.ups["exp-s-dp2"] = fail("no");
  const first = await runner().run();
  // As if the process had been killed after the results had come, and before that was written down.
  const state = withCase(first, "dp3", { status: "pending", verdicts: [], results: [] }, new Date());
  driver.ups["exp-s-dp2"] = (config) =>
    writeRun(projectDir, id("dp2", Number(config["llmeval:run"])), complete);
  driver.calls.length = 0;
  const end = await runner({ state }).run();
  expect(driver.calls).toEqual(["up exp-s-dp2 run 2", "destroy exp-s-dp2"]);
  expect(statuses(end)).toEqual(["done", "done", "done"]);
  expect(end.cases.map(({ results }) => results)).toEqual([[id("dp1", 1)], [id("dp2", 2)], [id("dp3", 1)]]);
});

test("resume: of a case that is half measured only the other cells are played", async () => {
  const { projectDir, driver, id, runner } = scene();
  driver.ups["exp-s-dp1"] = (config) => {
    writeRun(projectDir, id("dp1", Number(config["llmeval:run"])), {
      complete: false,
      cells: cellsOf(cells, "valid"),
      loadEndedSeconds: 19,
    });
    throw new Error("the load has not ended by itself");
  };
  const first = await runner().run();
  expect(first.cases[0]?.verdicts.map(({ cell }) => cell)).toEqual([cells[0]]);
  driver.ups["exp-s-dp1"] = () =>
    writeRun(projectDir, "s-dp1-r2-0fa1b2", { complete: true, cells: cellsOf(cells.slice(1), "no-effect") });
  driver.calls.length = 0;
  const end = await runner({ state: first }).run();
  expect(driver.calls).toEqual(["up exp-s-dp1 run 2 cells 2,3", "destroy exp-s-dp1"]);
  expect(end.cases[0]).toMatchObject({
    status: "done",
    runs: [1, 2],
    playing: [2, 3],
    results: [id("dp1", 1), "s-dp1-r2-0fa1b2"],
    verdicts: [
      { cell: cells[0], verdict: "valid", experimentId: id("dp1", 1) },
      { cell: cells[1], verdict: "no-effect", experimentId: "s-dp1-r2-0fa1b2" },
      { cell: cells[2], verdict: "no-effect", experimentId: "s-dp1-r2-0fa1b2" },
    ],
  });
});

test("resume after a kill: the cluster plays on, so the same run is taken up; one that is whole is only destroyed", async () => {
  const { projectDir, driver, id, state: fresh, runner } = scene();
  const killed = { status: "running", runs: [4], hasStack: true } as const;
  const state = ["dp1", "dp2"].reduce((before, name) => withCase(before, name, killed, new Date()), fresh);
  writeRun(projectDir, id("dp2", 4), complete);
  const end = await runner({ state }).run();
  expect(driver.calls).toEqual([
    "up exp-s-dp1 run 4",
    "destroy exp-s-dp1",
    "destroy exp-s-dp2",
    "up exp-s-dp3 run 1",
    "destroy exp-s-dp3",
  ]);
  expect(statuses(end)).toEqual(["done", "done", "done"]);
});

test("results of an earlier time are neither taken nor overwritten when all is played anew", async () => {
  const { projectDir, driver, id, state, runner } = scene();
  for (const name of ["dp1", "dp2", "dp3"]) writeRun(projectDir, id(name, 7), complete);
  const anew = { ...state, cases: state.cases.map((one) => ({ ...one, firstRun: 8 })) };
  const end = await runner({ state: anew }).run();
  expect(driver.calls.filter((call) => call.startsWith("up"))).toEqual([
    "up exp-s-dp1 run 8",
    "up exp-s-dp2 run 8",
    "up exp-s-dp3 run 8",
  ]);
  expect(end.cases[0]?.results).toEqual([id("dp1", 8)]);
});

/** An `up` that goes on until it is told to stop. */
const endless =
  (begun: () => void) =>
  (_: unknown, { signal }: { readonly signal: AbortSignal }) =>
    new Promise<void>((_done, reject) => {
      signal.addEventListener("abort", () => reject(new Error("cancelled")));
      begun();
    });

test("stop now: the running case is cancelled, destroyed and marked; the others wait", async () => {
  const { driver, runner } = scene();
  const playing = runner();
  driver.ups["exp-s-dp2"] = endless(() => playing.stop("now"));
  const end = await playing.run();
  expect(statuses(end)).toEqual(["done", "stopped", "pending"]);
  expect(end.cases[1]).toMatchObject({ reason: "stopped by a person before its end", hasStack: false });
  expect(driver.calls.slice(-2)).toEqual(["up exp-s-dp2 run 1", "destroy exp-s-dp2"]);
});

test("stop after the case: it ends by itself, the others wait; stop now is stronger", async () => {
  const { driver, runner } = scene();
  const playing = runner();
  const leave = driver.ups["exp-s-dp1"];
  driver.ups["exp-s-dp1"] = (config, hooks) => {
    playing.stop("after-case");
    return leave?.(config, hooks);
  };
  expect(statuses(await playing.run())).toEqual(["done", "pending", "pending"]);
  const both = runner();
  driver.ups["exp-s-dp2"] = endless(() => {
    both.stop("after-case");
    both.stop("now");
    both.stop("after-case");
  });
  expect(statuses(await both.run())).toEqual(["done", "stopped", "pending"]);
});

test.each([
  ["concurrency: 2", 0, 2],
  ["concurrency: accelerators", 0, 1],
  ["concurrency: accelerators", 2, 2],
])("%s with %d accelerators: at most %d stand-ins at once", async (more, accelerators, most) => {
  const { driver, runner } = scene(suite(more));
  for (const [stack, leave] of Object.entries(driver.ups)) {
    driver.ups[stack] = async (config, hooks) => {
      // Until the others are there too, and long enough for one more to come.
      while (driver.most < most) await new Promise((done) => setTimeout(done, 5));
      await new Promise((done) => setTimeout(done, 20));
      await leave(config, hooks);
    };
  }
  expect(statuses(await runner({ accelerators }).run())).toEqual(["done", "done", "done"]);
  expect(driver.most).toBe(most);
});

test("as many as the accelerators allow: what fits beside the running ones begins, in order", async () => {
  const { driver, runner } = scene(
    suite("concurrency: accelerators").replace("overrides: {", "overrides: { engine: vllm,"),
  );
  const open = new Map<string, () => void>();
  for (const [stack, leave] of Object.entries(driver.ups)) {
    driver.ups[stack] = async (config, hooks) => {
      await new Promise<void>((done) => open.set(stack, done));
      await leave(config, hooks);
    };
  }
  const playing = runner({ accelerators: 4 }).run();
  const wait = async (stack: string): Promise<void> => {
    while (!open.has(stack)) await new Promise((done) => setTimeout(done, 5));
  };
  await wait("exp-s-dp1");
  await wait("exp-s-dp2");
  // 1 + 2 of 4 are taken: the third needs 3. The two are made side by side, so either may be up first.
  expect([...open.keys()].sort()).toEqual(["exp-s-dp1", "exp-s-dp2"]);
  open.get("exp-s-dp2")?.();
  await wait("exp-s-dp3");
  open.get("exp-s-dp1")?.();
  open.get("exp-s-dp3")?.();
  expect(statuses(await playing)).toEqual(["done", "done", "done"]);
});
