// Helpers of the tests that run whole programs as child processes against fake servers on loopback.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, vi } from "vitest";

export const root = resolve(import.meta.dirname, "../..");

// Each test starts real processes, on a machine that may be busy.
vi.setConfig({ testTimeout: 60_000 });

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "llmeval-test-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Text for stdin; without it stdin is closed. */
  readonly stdin?: string;
  readonly cwd?: string;
}

function start(program: string, options: RunOptions): ChildProcess {
  const child = spawn(process.execPath, ["--no-warnings", program, ...(options.args ?? [])], {
    cwd: options.cwd ?? root,
    // Nothing of the caller's environment: a KUBECONFIG of the developer must not be reachable.
    env: { PATH: process.env["PATH"] ?? "", ...options.env },
    stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  child.stdin?.end(options.stdin);
  cleanups.push(() => {
    child.kill("SIGKILL");
  });
  return child;
}

/** Runs a program of the repository to its end. */
export function run(program: string, options: RunOptions = {}): Promise<Result> {
  const child = start(program, options);
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return new Promise((done) => child.once("close", (status) => done({ status, stdout, stderr })));
}

/** Starts the real reader on a free port and returns its address. */
export function startReader(folder: string): Promise<string> {
  const child = start("workloads/reader/main.ts", { env: { ROOT: folder, PORT: "0" } });
  return new Promise((done, fail) => {
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      const port = /on port (\d+)/.exec(text)?.[1];
      if (port !== undefined) done(`http://127.0.0.1:${port}`);
    });
    child.once("exit", (status) => fail(new Error(`reader ended with ${status}: ${text}`)));
  });
}

export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly json?: unknown;
}

export interface FakeServer {
  readonly url: string;
  readonly port: number;
  /** "GET /path" of each request, in order. */
  readonly requests: string[];
}

/** A server on loopback whose answers a function makes; undefined is a 404. */
export async function fakeServer(
  answer: (
    request: IncomingMessage,
    url: URL,
    body: string,
  ) => Reply | undefined | Promise<Reply | undefined>,
): Promise<FakeServer> {
  const requests: string[] = [];
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    requests.push(`${request.method} ${request.url}`);
    const url = new URL(request.url ?? "/", "http://fake");
    const reply = (await answer(request, url, Buffer.concat(chunks).toString("utf8"))) ?? { status: 404 };
    const body = reply.json === undefined ? (reply.body ?? "") : JSON.stringify(reply.json);
    response.writeHead(reply.status ?? 200, reply.headers ?? {});
    response.end(body);
  };
  const server: Server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  cleanups.push(
    () =>
      new Promise<void>((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  );
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, requests };
}

/** A request as the load generator writes it: sent on time, three gaps of 10 ms after a TTFT of 50 ms. */
export function requestRow(overrides: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    requestId: "smoke-r1-3f9ac2-000000",
    cell: "rate-2-iteration-1",
    phase: "before",
    scheduledUnixNs: "1700000000000000000",
    sentUnixNs: "1700000000000000000",
    lagNs: 100_000,
    connectNs: null,
    connectionReused: true,
    headersNs: 40_000_000,
    firstChunkNs: 45_000_000,
    firstTokenNs: 50_000_000,
    lastTokenNs: 80_000_000,
    doneNs: 81_000_000,
    ttftNs: 50_000_000,
    itlNs: [10_000_000, 10_000_000, 10_000_000],
    chunkTokens: [1, 1, 1, 1],
    e2eNs: 81_000_000,
    tpotNs: 10_000_000,
    status: "ok",
    httpStatus: 200,
    error: null,
    promptTokens: 64,
    outputTokens: 4,
    expectedPromptTokens: 64,
    expectedOutputTokens: 4,
    finishReason: "length",
    worker: 0,
    responseBytes: 512,
    ...overrides,
  };
}

/** Progress lines without what differs from run to run. */
export function stable(text: string): string {
  return text
    .replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /gm, "")
    .replace(/^\[ *\d+ s\] /gm, "")
    .replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:PORT")
    .replace(/\S*llmeval-test-\w+/g, "TMP");
}
