// Stacks of a suite on the real Pulumi engine, in a small project whose program runs commands on this machine.

import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LocalWorkspace } from "@pulumi/pulumi/automation/index.js";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { PulumiDriver } from "../../../cli/suite/driver.ts";
import { reasonOf } from "../../../cli/suite/output.ts";
import { createEngine, type Engine } from "../../support/engine.ts";
import { root } from "../../workloads/support.ts";

const limitMilliseconds = 120_000;
vi.setConfig({ testTimeout: limitMilliseconds });

// Leaves a mark that destroy removes, and then does what the configuration says.
const program = `
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
const config = new pulumi.Config("llmeval");
const { mark, create } = config.requireObject("overrides");
const first = new command.local.Command("mark", { create: "touch " + mark, delete: "rm " + mark });
new command.local.Command("load", { create, logging: "stderr" }, { dependsOn: [first] });
export const kubeconfig = "of " + pulumi.getStack();
export const accelerators = { H100: 2 };
`;

let engine: Engine;
let project: string;

beforeAll(async () => {
  engine = await createEngine();
  for (const [key, value] of Object.entries(engine.environment)) vi.stubEnv(key, value);
  project = join(engine.directory, "project");
  mkdirSync(project);
  writeFileSync(
    join(project, "Pulumi.yaml"),
    "name: suite-test\nmain: index.js\nruntime: { name: nodejs, options: { typescript: false } }\n",
  );
  writeFileSync(join(project, "package.json"), '{"type":"module"}');
  writeFileSync(join(project, "index.js"), program);
  symlinkSync(join(root, "node_modules"), join(project, "node_modules"));
}, limitMilliseconds);

afterAll(() => {
  vi.unstubAllEnvs();
  return engine?.dispose();
});

interface Scene {
  readonly driver: PulumiDriver;
  readonly mark: string;
  readonly stopping: AbortController;
  /** What pulumi has printed. */
  text(): string;
  up(create: string): Promise<void>;
  destroy(): Promise<void>;
}

async function scene(stack: string, huggingFaceToken?: string): Promise<Scene> {
  const driver = await PulumiDriver.open({
    projectDir: project,
    ...(huggingFaceToken === undefined ? {} : { huggingFaceToken }),
  });
  const mark = join(engine.directory, stack);
  const stopping = new AbortController();
  const parts: string[] = [];
  const onText = (part: string): void => void parts.push(part);
  return {
    driver,
    mark,
    stopping,
    text: () => parts.join(""),
    up: (create) => {
      const config = { "llmeval:run": 2, "llmeval:cells": "1,3", "llmeval:overrides": { mark, create } };
      return driver.up(stack, config, { onText, signal: stopping.signal });
    },
    destroy: () => driver.destroy(stack, { onText }),
  };
}

/** Pulumi processes that this one has started. */
function pulumis(): number[] {
  return readdirSync(`/proc/${process.pid}/task`)
    .flatMap((task) => readFileSync(`/proc/${process.pid}/task/${task}/children`, "utf8").split(" "))
    .filter((pid) => pid !== "" && readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("pulumi\0up"))
    .map(Number);
}

async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(50);
}

test("a stack is made with its configuration, brought up, and gone after its destroy; the selected one stays", async () => {
  const own = await LocalWorkspace.createStack({ stackName: "own", workDir: project });
  const { driver, mark, text, up, destroy } = await scene("exp-s-one", "hf-secret");
  await up('echo "[   1 s] load: 1/2 requests sent, 0 failed" >&2');
  const settings = await own.workspace.stackSettings("exp-s-one");
  expect(settings).toEqual({
    config: {
      "llmeval:run": expect.anything(),
      "llmeval:cells": "1,3",
      "llmeval:overrides": { mark, create: 'echo "[   1 s] load: 1/2 requests sent, 0 failed" >&2' },
      "llmeval:huggingFaceToken": { secure: expect.stringMatching(/^v1:/) },
    },
    encryptionSalt: expect.any(String),
  });
  expect(text()).toContain("load creating (0s) [   1 s] load: 1/2 requests sent, 0 failed");
  expect(existsSync(mark)).toBe(true);
  expect((await driver.stackNames()).sort()).toEqual(["exp-s-one", "own"]);
  expect((await own.workspace.stack())?.name).toBe("own");

  const facts = await driver.cluster("exp-s-one");
  expect([facts?.kubeconfig, facts?.accelerators]).toEqual(["of exp-s-one", { H100: 2 }]);
  expect(await driver.cluster("own")).toBeUndefined();
  expect(await driver.cluster("none")).toBeUndefined();

  await destroy();
  expect([existsSync(mark), existsSync(join(project, "Pulumi.exp-s-one.yaml"))]).toEqual([false, false]);
  expect(await driver.stackNames()).toEqual(["own"]);
  expect((await own.workspace.stack())?.name).toBe("own");
  // Once more, as after a kill between the destroy and what is written down of it.
  await destroy();
});

test("a failure throws, with its reason in the text, and what was made is destroyed", async () => {
  const { mark, text, up, destroy } = await scene("exp-s-two");
  await expect(up("echo no room >&2; exit 3")).rejects.toThrow();
  expect(reasonOf(text().split("\n"))).toBe('exit status 3: running "echo no room >&2; exit 3":');
  expect(existsSync(mark)).toBe(true);
  await destroy();
  expect(existsSync(mark)).toBe(false);
});

test.each([
  ["by our signal alone", () => {}],
  ["by a Ctrl-C that has reached it already", () => void pulumis().map((pid) => process.kill(pid, "SIGINT"))],
])("stopped %s: pulumi is interrupted once, ends in order, and is destroyed", async (_, terminal) => {
  const { mark, stopping, text, up, destroy } = await scene("exp-s-three");
  const playing = up("sleep 60");
  await until(() => existsSync(mark) && text().includes("load creating"));
  const ended = expect(playing).rejects.toThrow();
  terminal();
  stopping.abort();
  await ended;
  expect(text().match(/\^C received/g)?.length).toBe(1);
  expect(text()).toContain("Duration:");
  await destroy();
  expect(existsSync(mark)).toBe(false);
  await expect(up("true")).rejects.toThrow("abort");
});

test("a pulumi that was killed leaves a lock, which the next one takes away", async () => {
  const { mark, text, up, destroy } = await scene("exp-s-four");
  const killed = expect(up("sleep 5")).rejects.toThrow();
  await until(() => existsSync(mark) && text().includes("load creating"));
  const [pid] = pulumis();
  process.kill(pid as number, "SIGKILL");
  await killed;
  await up("true");
  expect(text()).toContain(`process ${pid}, which held stack exp-s-four, is dead: pulumi cancel`);
  await destroy();
  expect(existsSync(mark)).toBe(false);
});
