// `llmeval suite` where it needs no pulumi: the plan, the page, the list, refusals, and what `stop` tells the process.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { runSuiteCommand, type SuiteArgs } from "../../../cli/suite/command.ts";
import { withCase, writeState } from "../../../cli/suite/state.ts";
import { root, run } from "../../workloads/support.ts";
import { planned, suiteProject } from "./support.ts";

const suite = `description: two replica counts
experiment: small
cluster: dev
matrix: { parallelism.dataParallelism: [1, 2] }
`;

afterEach(() => void vi.restoreAllMocks());

/** What is printed, or the error's text. */
async function command(projectDir: string, args: Partial<SuiteArgs>): Promise<string> {
  const printed: string[] = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  const defaults = { suite: "s", planOnly: false, restart: false, afterCase: false, progressSeconds: 1 };
  try {
    await runSuiteCommand({ action: "status", projectDir, ...defaults, ...args });
    return printed.join("");
  } catch (error) {
    return `error: ${(error as Error).message}`;
  }
}

test("actions and names that do not exist are told with those that do", async () => {
  const projectDir = suiteProject(suite);
  expect([
    await command(projectDir, { action: "play" }),
    await command(projectDir, { action: "run", suite: "" }),
    await command(projectDir, { action: "run", suite: "t" }),
    await command(projectDir, { action: "status", suite: "t" }),
    await command(projectDir, { action: "status" }),
    await command(projectDir, { action: "resume" }),
    await command(projectDir, { action: "stop" }),
  ]).toMatchInlineSnapshot(`
    [
      "error: llmeval suite: unknown action "play", known: run, resume, status, stop, list",
      "error: llmeval suite run: NAME is missing, known suites: s",
      "error: suite "t" is not known; allowed: s; or add experiments/suites/t.yaml",
      "error: suite "t" is not known; allowed: s; see: npx llmeval suite list",
      "error: suite s has not been run yet: npx llmeval suite run s",
      "error: suite s has not been run yet: npx llmeval suite run s",
      "error: suite s is not being run",
    ]
  `);
});

test("the plan only: nothing is made", async () => {
  const projectDir = suiteProject(suite);
  const page = await command(projectDir, { action: "run", planOnly: true, cluster: "other" });
  expect(page.split("\n")[0]).toBe("suite s on cluster other: two replica counts");
  expect(await command(projectDir, { action: "status" })).toContain("has not been run yet");
});

test("the list: every suite in a line, with how far it is", async () => {
  const projectDir = suiteProject(suite, { "experiments/suites/wrong.yaml": "description: d\n" });
  await writeState(projectDir, planned(projectDir).state);
  expect(await command(projectDir, { action: "list", suite: "" })).toMatchInlineSnapshot(`
    "s      2 cases: two replica counts
           suite s on dev: 0 of 2 done; go on by: npx llmeval suite resume s
    wrong  cannot be used: npx llmeval suite run wrong --plan tells why
    "
  `);
});

test("run and resume refuse what would mix old and new", async () => {
  const projectDir = suiteProject(suite);
  const { state } = planned(projectDir);
  const begun = withCase(state, "dp1", { status: "failed", hasStack: true }, new Date(0));
  await writeState(projectDir, begun);
  const refusals = [
    await command(projectDir, { action: "run" }),
    await command(projectDir, { action: "run", restart: true }),
    await command(projectDir, { action: "resume", cluster: "other" }),
  ];
  writeFileSync(join(projectDir, "experiments/suites/s.yaml"), suite.replace("[1, 2]", "[2, 3]"));
  refusals.push(await command(projectDir, { action: "resume" }));
  expect(refusals).toMatchInlineSnapshot(`
    [
      "error: suite s on dev: 0 of 2 done, 1 failed; go on by: npx llmeval suite resume s; or play all cases anew by: npx llmeval suite run s --restart",
      "error: suite s has stacks of the time before; go on with it by: npx llmeval suite resume s, or remove them by:
      pulumi destroy --remove --yes -s exp-s-dp1",
      "error: suite s is another one than that which was begun at 1970-01-01T00:00:00.000Z:
      - case dp1 has changed
      - case dp2 has changed
    old and new results would be mixed; put the definition back, or play all cases anew by: npx llmeval suite run s --restart",
      "error: suite s is another one than that which was begun at 1970-01-01T00:00:00.000Z:
      - case dp3 is new
      - case dp1 is gone
    old and new results would be mixed; put the definition back, or play all cases anew by: npx llmeval suite run s --restart",
    ]
  `);
});

test.each([
  [false, "SIGTERM"],
  [true, "SIGUSR2"],
])("stop, after the case: %s, sends %s to the process that holds the lock", async (afterCase, signal) => {
  const projectDir = suiteProject(suite);
  await writeState(projectDir, planned(projectDir).state);
  const code = `import { takeLock } from ${JSON.stringify(join(root, "cli/suite/lock.ts"))};
const unlock = takeLock(${JSON.stringify(join(projectDir, "fetched/suites/s"))}, "s");
const timer = setInterval(() => {}, 1000);
process.once(${JSON.stringify(signal)}, () => { console.log("told"); clearInterval(timer); unlock(); });
console.log("holds");`;
  const holder = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", code]);
  const said: string[] = [];
  await new Promise<void>((done) =>
    holder.stdout.on("data", (text) => {
      said.push(String(text).trim());
      done();
    }),
  );
  const ended = new Promise((done) => holder.once("close", done));
  const text = await command(projectDir, { action: "stop", afterCase });
  await ended;
  expect(said).toEqual(["holds", "told"]);
  expect(text).toContain(
    afterCase
      ? `suite s will stop when the running case has ended (process ${holder.pid})`
      : `process ${holder.pid} has been told to stop`,
  );
});

test("the command line: two arguments, and what is wrong with them", async () => {
  const llmeval = (...args: string[]) => run(`${root}/cli/llmeval.ts`, { args });
  const plan = await llmeval("suite", "run", "smoke", "--plan", "--cluster", "dev");
  expect([plan.status, plan.stdout.split("\n")[0]]).toEqual([
    0,
    "suite smoke on cluster dev: A short load on one to four replicas of Falcon H1 7B, to see that a cluster serves",
  ]);
  const texts = [await llmeval("suite"), await llmeval("suite", "run", "smoke", "twice")].map(
    ({ status, stderr }) => [status, stderr],
  );
  expect(texts).toEqual([
    [1, "error: llmeval suite: ACTION is missing; see: llmeval suite --help\n"],
    [1, "error: llmeval suite: unexpected argument twice; see: llmeval suite --help\n"],
  ]);
});
