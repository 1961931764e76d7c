// A real Prometheus on a free port of 127.0.0.1, for tests of queries and of what a configuration makes of samples.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as yaml from "yaml";
import { freePort } from "./port.ts";

const program = resolve(import.meta.dirname, "../../.tools/prometheus/prometheus");
const startTimeoutMilliseconds = 30_000;

export interface PrometheusServer {
  readonly url: string;
  /** What an API path answers to a form; errors of the query are part of the answer. */
  post(
    path: string,
    form: Readonly<Record<string, string>>,
  ): Promise<{ status: string; error?: string; data: unknown }>;
  /** Stops the server and removes its files. */
  dispose(): Promise<void>;
}

/** Starts Prometheus with a configuration, as an object; throws with its output when it does not get ready. */
export async function startPrometheus(configuration: Record<string, unknown>): Promise<PrometheusServer> {
  if (!existsSync(program)) throw new Error(`${program} is missing; make it by: make .tools/prometheus`);
  const directory = mkdtempSync(join(tmpdir(), "prometheus-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  writeFileSync(
    join(directory, "prometheus.yml"),
    yaml.stringify(configuration, { aliasDuplicateObjects: false }),
  );
  const server = spawn(
    program,
    [
      `--config.file=${directory}/prometheus.yml`,
      `--storage.tsdb.path=${directory}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let log = "";
  server.stderr.on("data", (chunk) => {
    log += chunk;
  });
  const dispose = async (): Promise<void> => {
    await stop(server);
    rmSync(directory, { recursive: true, force: true });
  };
  const deadline = Date.now() + startTimeoutMilliseconds;
  while (!(await isReady(url))) {
    if (server.exitCode !== null || Date.now() > deadline) {
      await dispose();
      throw new Error(`Prometheus did not get ready:\n${log}`);
    }
    await delay(50);
  }
  return {
    url,
    async post(path, form) {
      const body = new URLSearchParams(form);
      const response = await fetch(`${url}${path}`, { method: "POST", body });
      return (await response.json()) as { status: string; error?: string; data: unknown };
    },
    dispose,
  };
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, "exit");
  server.kill("SIGKILL");
  await exited;
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/-/ready`)).ok;
  } catch {
    return false;
  }
}
