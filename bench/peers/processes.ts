// Starting and ending the servers and the clients.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { TruthRow, Usage } from "./compare.ts";
import type { Client, Command, Places, Result, Target, Work } from "./work.ts";

const healthTimeoutMilliseconds = 20_000;
/** Starting up, playing the load and writing reports. */
const clientTimeoutMilliseconds = 180_000;
/** Between the end of one client and the start of the next. */
const pauseMilliseconds = 1_000;

export interface Server {
  readonly target: Target;
  /** What it did since the last call; null for a server that keeps no record. */
  truth(): Promise<readonly TruthRow[] | null>;
  stop(): Promise<void>;
}

/** Starts a server and waits until it answers. This process's own core is the server's too. */
export async function startServer(
  argv: readonly string[],
  target: Target,
  log: string,
  keepsRecord: boolean,
): Promise<Server> {
  const output = openSync(log, "w");
  const [program, ...rest] = argv;
  const child = spawn(program!, rest, {
    stdio: ["ignore", output, output],
    env: { ...process.env, GOMAXPROCS: "1" },
  });
  const stop = (): Promise<void> => end(child);
  const deadline = Date.now() + healthTimeoutMilliseconds;
  while (!(await answers(`${target.url}/health`))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`${program} does not answer at ${target.url}: see ${log}`);
    }
    await sleep(100);
  }
  return {
    target,
    async truth() {
      if (!keepsRecord) return null;
      const text = await (await fetch(`${target.url}/truth`)).text();
      return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as TruthRow]));
    },
    stop,
  };
}

export interface Run {
  readonly result: Result;
  readonly usage: Usage;
}

/** Runs one client against a server, on the client's core. Throws with the place of its log when it fails. */
export async function runClient(
  client: Client,
  work: Work,
  target: Target,
  places: Places,
  cpu: string,
  folder: string,
): Promise<Run> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const command = await client.prepare(work, target, places, folder);
  const finished = new AbortController();
  const beside = client.beside?.(folder, finished.signal);
  try {
    await measured(command, places, cpu, folder);
  } finally {
    finished.abort();
    await beside;
  }
  await sleep(pauseMilliseconds);
  const usage = JSON.parse(readFileSync(`${folder}/usage.json`, "utf8")) as Usage;
  return { result: await client.read(folder, work), usage };
}

async function measured({ argv, env }: Command, places: Places, cpu: string, folder: string): Promise<void> {
  const log = `${folder}/log.txt`;
  const output = openSync(log, "w");
  const options = ["--out", `${folder}/usage.json`, "--", "taskset", "--cpu-list", cpu, ...argv];
  const child = spawn(`${places.root}/.tools/peers-stub/measure`, options, {
    cwd: folder,
    stdio: ["ignore", output, output],
    env: { ...process.env, ...env },
  });
  const timer = setTimeout(() => void end(child), clientTimeoutMilliseconds);
  const code = await new Promise((resolve) => child.once("exit", resolve));
  clearTimeout(timer);
  if (code !== 0) throw new Error(`exit code ${code}: see ${log}`);
}

async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    (response) => response.ok,
    () => false,
  );
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await Promise.race([ended, sleep(10_000)]);
  child.kill("SIGKILL");
  await ended;
}
