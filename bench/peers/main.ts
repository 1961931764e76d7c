#!/usr/bin/env node
// Drives our load generator and its peers against the same servers, one after the other, and prints what each one's
// figures are worth. Started by run.sh, which makes what is used here.
//
//   main.ts [--streams 10,100,500] [--clients NAME,...] [--servers stub,simulator] [--seconds 14] [--out FOLDER]
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { aiperf } from "./clients/aiperf.ts";
import { guidellm } from "./clients/guidellm.ts";
import { inferencePerf } from "./clients/inference-perf.ts";
import { ours } from "./clients/ours.ts";
import { vllm } from "./clients/vllm.ts";
import { compare, ofWork } from "./compare.ts";
import { runClient, type Server, startServer } from "./processes.ts";
import { type Line, toTables } from "./table.ts";
import { type Client, type Pace, type Places, toWork, type Work } from "./work.ts";

const clients = [ours, guidellm, aiperf, inferencePerf, vllm];
const pace: Pace = { ttftMilliseconds: 200, itlMilliseconds: 50, promptTokens: 64, outputTokens: 32 };
const root = join(import.meta.dirname, "../..");
const clientCpu = process.env.LLMEVAL_CLIENT_CPU ?? "1";
const places: Places = {
  root,
  tokenizer: `${root}/.tools/peers-tokenizer`,
  k6: process.env.LLMEVAL_K6 ?? `${root}/.tools/load/k6`,
};

const { values } = parseArgs({
  options: {
    streams: { type: "string", default: "10,100,500" },
    clients: { type: "string", default: clients.map(({ name }) => name).join() },
    servers: { type: "string", default: "stub,simulator" },
    seconds: { type: "string", default: "14" },
    out: { type: "string", default: mkdtempSync(join(tmpdir(), "peers-")) },
  },
});

/** How each server is started, and whether it says afterwards what it did. */
const servers: Readonly<Record<string, (work: Work, log: string) => Promise<Server>>> = {
  stub: (work, log) =>
    startServer(
      [
        `${root}/.tools/peers-stub/stub`,
        "--port=18200",
        `--ttft=${work.ttftMilliseconds}ms`,
        `--itl=${work.itlMilliseconds}ms`,
      ],
      { url: "http://127.0.0.1:18200", model: "stub" },
      log,
      true,
    ),
  simulator: (work, log) =>
    startServer(
      [
        process.env.LLMEVAL_SIMULATOR ?? `${root}/.tools/llm-d-inference-sim/llm-d-inference-sim`,
        "--port=18201",
        "--model=stub",
        "--force-dummy-tokenizer",
        "--mode=random",
        `--max-num-seqs=${work.streams * 4}`,
        "--max-model-len=32768",
        `--time-to-first-token=${work.ttftMilliseconds}ms`,
        `--inter-token-latency=${work.itlMilliseconds}ms`,
      ],
      { url: "http://127.0.0.1:18201", model: "stub" },
      log,
      false,
    ),
};

const chosen = named(
  values.clients,
  Object.fromEntries(clients.map((client) => [client.name, client])),
  "--clients",
);
const started = named(values.servers, servers, "--servers");
say(
  `${new Date().toISOString()}, ${cpus()[0]?.model}, ${availableParallelism()} of ${cpus().length} cores for the driver and the server, ` +
    `one for the client, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, load average ${load()}\n`,
);
for (const start of started) {
  for (const streams of values.streams.split(",").map(Number)) {
    const work = toWork(pace, streams, Number(values.seconds));
    await level(work, Object.keys(servers).find((name) => servers[name] === start)!, start);
  }
}
say(`${new Date().toISOString()}, load average ${load()}; records in ${values.out}`);

async function level(work: Work, name: string, start: (typeof servers)[string]): Promise<void> {
  const folder = `${values.out}/${name}-${work.streams}`;
  mkdirSync(folder, { recursive: true });
  const server = await start(work, `${folder}/server.log`);
  const lines: Line[] = [];
  try {
    for (const client of chosen) {
      process.stderr.write(`${name}, ${work.streams} streams: ${client.name}\n`);
      const outcome = await outcomeOf(client, work, server, `${folder}/${client.name}`);
      lines.push({ client: client.name, outcome, load: loadavg()[0]! });
    }
  } finally {
    await server.stop();
  }
  writeFileSync(`${folder}/comparison.json`, JSON.stringify({ work, server: name, lines }, null, 1));
  say(`${toTables(work, name, lines)}\n`);
}

/** A client that fails is a line of the table, and the next one has its turn. */
async function outcomeOf(
  client: Client,
  work: Work,
  server: Server,
  folder: string,
): Promise<Line["outcome"]> {
  try {
    await server.truth();
    const { result, usage } = await runClient(client, work, server.target, places, clientCpu, folder);
    const truth = await server.truth();
    writeFileSync(`${folder}/truth.json`, JSON.stringify(truth));
    return compare(client, work, result, truth === null ? null : ofWork(truth, work), usage);
  } catch (error) {
    return `failed: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function named<T>(list: string, known: Readonly<Record<string, T>>, option: string): T[] {
  return list.split(",").map((name) => {
    const found = known[name];
    if (found !== undefined) return found;
    throw new Error(`${option}: "${name}" is none of ${Object.keys(known).join(", ")}`);
  });
}

function load(): string {
  return loadavg()
    .map((each) => each.toFixed(2))
    .join(" ");
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
