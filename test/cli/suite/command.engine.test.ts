// `llmeval suite` as a whole on the real Pulumi engine: only what an experiment's stack holds is the test's own.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LocalWorkspace, type Stack } from "@pulumi/pulumi/automation/index.js";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { SuiteState } from "../../../cli/suite/state.ts";
import { selfSigned } from "../../support/certificate.ts";
import { createEngine, type Engine } from "../../support/engine.ts";
import { root } from "../../workloads/support.ts";
import { suiteProject } from "./support.ts";

// Some eighty calls of pulumi, on a machine that may be busy.
const limitMilliseconds = 240_000;

// The cluster's stack states what it has; that of a case plays it by play.js and has a mark that destroy removes.
const program = `
import { readFileSync } from "node:fs";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
const stack = pulumi.getStack();
const config = new pulumi.Config("llmeval");
export let kubeconfig, capabilities;
if (stack === "dev") {
  kubeconfig = pulumi.secret(readFileSync("kubeconfig", "utf8"));
  const parts = ["kuberay", "prometheus", "storage"];
  capabilities = Object.fromEntries(parts.map((part) => [part, { mode: "on" }]));
} else {
  const mark = new command.local.Command("mark", { create: "touch mark-" + stack, delete: "rm mark-" + stack });
  const run = config.require("run");
  const create = "node play.js " + stack + " " + run + " " + (config.get("cells") ?? "1,2");
  new command.local.Command("results-" + run, { create, logging: "stderr" }, { dependsOn: [mark] });
}
`;

// Leaves results of the named cells; waits, or fails after the first cell, where a file says so.
const play = `
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
const [stack, run, numbers] = process.argv.slice(2);
process.stderr.write("[   1 s] load: 1/2 requests sent, 0 failed\\n");
while (existsSync("wait-" + stack)) await new Promise((done) => setTimeout(done, 100));
const fails = existsSync("fail-" + stack);
const cells = numbers.split(",").slice(0, fails ? 1 : 2).map((number) => ({
  id: "rate-1-iteration-" + number,
  startUnixNs: "0",
  durationSeconds: 1,
  measured: { requests: { sent: 1, failedByStatus: {} } },
}));
const folder = "fetched/" + stack.replace("exp-", "") + "-r" + run + "-abcdef";
mkdirSync(folder + "/load", { recursive: true });
const write = (name, value) => writeFileSync(folder + "/" + name, JSON.stringify(value));
write("load/load.json", { endedUnixNs: "2000000000" });
write("quality.json", { verdict: "pass" });
write("summary.json", { cells });
write("manifest.json", { complete: !fails });
if (fails) {
  process.stderr.write("error: the load has not ended by itself\\n");
  process.exitCode = 1;
}
`;

const suite = `description: two cells each
experiment: small
cluster: dev
overrides: { load.iterations: 2 }
matrix: { parallelism.dataParallelism: [1] }
`;

let engine: Engine;
let server: Server;
let dev: Stack;
const project = { directory: "" };
const file = (path: string): string => join(project.directory, path);

beforeAll(async () => {
  engine = await createEngine();
  for (const [key, value] of Object.entries(engine.environment)) vi.stubEnv(key, value);
  server = createServer(selfSigned(), (_, response) => response.end("{}"));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
}, limitMilliseconds);

/** A project whose cluster's stack is there but not deployed. */
async function prepare(): Promise<void> {
  const { port } = server.address() as AddressInfo;
  project.directory = suiteProject(suite, {
    "Pulumi.yaml":
      "name: suite-test\nmain: index.js\nruntime: { name: nodejs, options: { typescript: false } }\n",
    "package.json": '{"type":"module"}',
    "index.js": program,
    "play.js": play,
    kubeconfig: `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:${port}", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`,
  });
  symlinkSync(join(root, "node_modules"), file("node_modules"));
  dev = await LocalWorkspace.createStack({ stackName: "dev", workDir: project.directory });
}

afterAll(() => {
  vi.unstubAllEnvs();
  server?.close();
  return engine?.dispose();
});

interface Call {
  readonly child: ChildProcess;
  readonly end: Promise<{ readonly status: number | null; readonly stdout: string; readonly stderr: string }>;
  stdout(): string;
}

/** The command in a process of its own, as `cli/llmeval.ts` calls it. */
function call(action: string, options: Readonly<Record<string, unknown>> = {}): Call {
  const args = { action, suite: "s", projectDir: project.directory, progressSeconds: 0.1, ...options };
  const code = `import { runSuiteCommand } from ${JSON.stringify(join(root, "cli/suite/command.ts"))};
await runSuiteCommand(${JSON.stringify(args)}).catch((error) => { console.error(error.message); process.exitCode = 1; });`;
  const child = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", code]);
  const text = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text.stdout += part;
  });
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    text.stderr += part;
  });
  const end = new Promise<Awaited<Call["end"]>>((done) =>
    child.once("close", (status) => done({ status, ...text })),
  );
  return { child, end, stdout: () => text.stdout };
}

const state = (): SuiteState => JSON.parse(readFileSync(file("fetched/suites/s/state.json"), "utf8"));
const cases = (): unknown[] => state().cases.map(({ status, runs, playing }) => [status, runs, playing]);
const stacks = async (): Promise<string[]> => (await dev.workspace.listStacks()).map(({ name }) => name);
/** Without times, digits of ids, and the steps of pulumi, of which a slow screen leaves some out. */
const steady = (text: string): string =>
  text
    .replaceAll(/.*: running, .*\n/g, "")
    .replaceAll(/\d\d:\d\d:\d\d /g, "")
    .replaceAll(/\d:\d\d:\d\d/g, "TIME")
    .replaceAll(/-r(\d)-[0-9a-f]{6}/g, "-r$1-DIGITS");

async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(50);
}

test("run, a failure, resume of the missing cell alone, stop, and a kill", {
  timeout: limitMilliseconds,
}, async () => {
  await prepare();
  const early = await call("run").end;
  expect([early.status, early.stdout, early.stderr]).toMatchInlineSnapshot(`
    [
      1,
      "",
      "suite s cannot be used, 1 problem:
      - experiments/suites/s.yaml: cluster: cluster stack dev is not deployed; deploy it by: pulumi up -s dev, or name another one by --cluster NAME
    ",
    ]
  `);
  expect(existsSync(file("Pulumi.exp-s-dp1.yaml"))).toBe(false);
  await dev.up();

  writeFileSync(file("fail-exp-s-dp1"), "");
  const first = await call("run").end;
  expect(first.stderr).toBe("");
  expect([first.status, steady(first.stdout)]).toMatchInlineSnapshot(`
    [
      1,
      "suite s on cluster dev: two cells each

      case    cells  load plays  at most  requests  accelerators  accelerator hours
      dp1         2     TIME  TIME        30             -                  -
      1 case      2     TIME  TIME        30                             0.00

    stacks exp-s-<case>, one after the other; after a failed case the suite goes on

    dp1: failed, 1 pass: exit status 1: running "node play.js exp-s-dp1 1 1,2"; the load has not ended by itself
    suite s on dev: 0 of 1 done, 1 failed; go on by: npx llmeval suite resume s
    ",
    ]
  `);
  expect(cases()).toEqual([["failed", [1], null]]);
  expect(await stacks()).toEqual(["dev"]);
  expect(existsSync(file("mark-exp-s-dp1"))).toBe(false);
  expect(readFileSync(file("fetched/suites/s/dp1.log"), "utf8")).toContain(
    "the load has not ended by itself",
  );
  expect((await call("run").end).stderr).toContain(
    "go on by: npx llmeval suite resume s; or play all cases anew",
  );

  rmSync(file("fail-exp-s-dp1"));
  expect((await call("resume").end).status).toBe(0);
  expect(cases()).toEqual([["done", [1, 2], [2]]]);
  expect(state().cases[0]?.verdicts).toEqual([
    { cell: "rate-1-iteration-1", verdict: "pass", experimentId: "s-dp1-r1-abcdef" },
    { cell: "rate-1-iteration-2", verdict: "pass", experimentId: "s-dp1-r2-abcdef" },
  ]);
  expect(steady((await call("status").end).stdout)).toMatchInlineSnapshot(`
    "suite s on dev: 1 of 1 done

      case  state  cells  time
      dp1   done   2/2    TIME  2 pass
    "
  `);

  writeFileSync(file("wait-exp-s-dp1"), "");
  const again = call("run", { restart: true });
  await until(() => again.stdout().includes("dp1: running, load: 1/2 requests sent, 0 failed\n"));
  expect((await call("resume").end).stderr).toContain(
    `suite s is being run already by process ${again.child.pid}; wait for it, or: npx llmeval suite stop s`,
  );
  const stop = await call("stop").end;
  expect([stop.status, stop.stderr]).toEqual([0, ""]);
  expect(stop.stdout).toContain("0 of 1 done, 1 stopped; go on by: npx llmeval suite resume s");
  expect((await again.end).status).toBe(1);
  expect(cases()).toEqual([["stopped", [3], null]]);
  expect([await stacks(), existsSync(file("mark-exp-s-dp1"))]).toEqual([["dev"], false]);

  const killed = call("resume");
  await until(() => killed.stdout().includes("load: 1/2 requests sent"));
  killed.child.kill("SIGKILL");
  await killed.end;
  rmSync(file("wait-exp-s-dp1"));
  const last = await call("resume").end;
  expect([last.status, last.stderr]).toEqual([0, ""]);
  expect(cases()).toEqual([["done", [3, 4], null]]);
  expect(await stacks()).toEqual(["dev"]);
});
