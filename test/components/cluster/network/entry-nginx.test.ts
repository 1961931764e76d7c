// The entry's configuration in a real nginx, in front of fake engines that a fake DNS server names.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readPages, toHtpasswd } from "../../../../components/cluster/network/entry.ts";
import {
  folders,
  insidePort,
  nginxPort,
  toNginxConfig,
} from "../../../../components/cluster/network/entry-nginx.ts";
import { chatOnce } from "../../../e2e/support-browser.ts";
import { projectDir } from "../../../experiments/project.ts";
import { freePort } from "../../../support/port.ts";
import { entryConfig } from "./entry-config.ts";

/** nginx of the lab's image; the machine itself has none. */
const nginx = process.env["LLMEVAL_NGINX"] ?? join(projectDir, ".tools/nginx-layer/nginx");
const folder = mkdtempSync(join(tmpdir(), "entry-"));
const tokenDelayMs = 200;
const password = "correct-horse-battery-staple";
const basic = `Basic ${Buffer.from(`llmeval:${password}`).toString("base64")}`;

/** What the engine and Grafana were asked, with headers. */
const asked: IncomingMessage[] = [];
let processes: ChildProcess[] = [];
let open: string;
let locked: string;
/** The port for programs of the cluster, by the address of the other one. */
const inside = new Map<string, string>();
const closers: (() => void)[] = [];

beforeAll(async () => {
  // Started by root, nginx reads as another user.
  chmodSync(folder, 0o755);
  const engine = await listen(createServer(answer));
  const dns = await fakeDns();
  open = await start("open", { auth: "off", answerTimeoutSeconds: 1 }, engine, dns);
  locked = await start("locked", { auth: "on", maxBodyMebibytes: 1 }, engine, dns);
});

afterAll(async () => {
  for (const child of processes) child.kill("SIGTERM");
  await Promise.all(
    processes.map((child) => child.exitCode ?? new Promise((done) => child.once("exit", done))),
  );
  processes = [];
  for (const close of closers) close();
  rmSync(folder, { recursive: true, force: true });
});

/** An engine that answers any path: a stream for completions, silence for /v1/silent, otherwise what it was asked. */
function answer(incoming: IncomingMessage, response: ServerResponse): void {
  asked.push(incoming);
  incoming.resume();
  if (incoming.url === "/v1/silent") return;
  if (incoming.url === "/v1/chat/completions") {
    response.writeHead(200, { "content-type": "text/event-stream", "x-request-id": "the engine's" });
    void (async () => {
      for (const content of ["one ", "two ", "three"]) {
        response.write(`data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`);
        await sleep(tokenDelayMs);
      }
      response.end("data: [DONE]\n\n");
    })();
    return;
  }
  response.writeHead(incoming.url === "/v1/wrong" ? 503 : 200, { "content-type": "application/json" });
  const models = incoming.url === "/v1/models" ? { data: [{ id: "model" }] } : {};
  response.end(JSON.stringify({ url: incoming.url, host: incoming.headers.host, ...models }));
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Knows the Serve service of exp-live and Grafana; any other name does not exist. */
async function fakeDns(): Promise<number> {
  const known = ["llm-serve-svc.exp-live.svc.cluster.local", "grafana.monitoring.svc.cluster.local"];
  const socket = createSocket("udp4");
  socket.on("message", (query, peer) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.subarray(at + 1, at + 1 + length).toString());
      at += length + 1;
    }
    const found = known.includes(labels.join("."));
    const header = Buffer.from(query.subarray(0, 12));
    header.writeUInt16BE(found ? 0x8180 : 0x8183, 2);
    header.writeUInt16BE(found ? 1 : 0, 6);
    header.writeUInt32BE(0, 8);
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 1]);
    const question = query.subarray(12, at + 5);
    socket.send(
      Buffer.concat(found ? [header, question, record] : [header, question]),
      peer.port,
      peer.address,
    );
  });
  await new Promise<void>((done) => socket.bind(0, "127.0.0.1", done));
  closers.push(() => socket.close());
  return socket.address().port;
}

/** Starts nginx with the product's configuration; only addresses and folders are those of the test. */
async function start(
  name: string,
  config: Readonly<Record<string, unknown>>,
  engine: number,
  dns: number,
): Promise<string> {
  const home = join(folder, name);
  const port = await freePort();
  const inner = await freePort();
  const pages = readPages(join(projectDir, "workloads"), true);
  for (const [path, text] of Object.entries(pages)) {
    mkdirSync(dirname(join(home, "www", path)), { recursive: true });
    writeFileSync(join(home, "www", path), text);
  }
  writeFileSync(join(home, "htpasswd"), toHtpasswd("llmeval", password, "salt"));
  const text = toNginxConfig({
    config: entryConfig(config),
    clusterDns: "10.43.0.10",
    grafanaUrl: `http://grafana.monitoring.svc:${engine}`,
  })
    .replace("resolver 10.43.0.10", `resolver 127.0.0.1:${dns}`)
    .replace(`listen ${nginxPort}`, `listen 127.0.0.1:${port}`)
    .replace(`listen ${insidePort}`, `listen 127.0.0.1:${inner}`)
    .replaceAll("cluster.local:8000", `cluster.local:${engine}`)
    // First, as the test's own folder may lie in /tmp.
    .replaceAll("/tmp/", `${home}/`)
    .replaceAll(folders.auth, home)
    .replaceAll(folders.config, home)
    .replace("/dev/stdout", `${home}/access.log`);
  const file = join(home, "nginx.conf");
  writeFileSync(file, text);
  const checked = execFileSync(nginx, ["-e", "stderr", "-t", "-c", file], {
    encoding: "utf8",
    stdio: "pipe",
  });
  expect(checked).toBe("");
  processes.push(spawn(nginx, ["-e", "stderr", "-c", file], { stdio: ["ignore", "ignore", "ignore"] }));
  const url = `http://127.0.0.1:${port}`;
  inside.set(url, `http://127.0.0.1:${inner}`);
  for (let tries = 0; ; tries++) {
    const health = await fetch(`${url}/healthz`).catch(() => undefined);
    if (health?.status === 200) return url;
    if (tries > 100) throw new Error(`nginx does not answer at ${url}`);
    await sleep(50);
  }
}

/** As fetch, but the path goes out as it is written, without being tidied up. */
function raw(
  url: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(url);
  return new Promise((done, fail) => {
    const sent = request({ hostname, port, path, headers, agent: false }, async (response) => {
      let body = "";
      for await (const piece of response) body += piece;
      done({ status: response.statusCode ?? 0, body });
    });
    sent.on("error", fail);
    sent.end();
  });
}

function messageIn(body: string): string {
  return (JSON.parse(body) as { error: { message: string } }).error.message;
}

test("a model's interface is reached under its namespace, with the query", async () => {
  const response = await fetch(`${open}/models/exp-live/v1/models/meta-llama/Llama-3.1?a=1&b=%20`);
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({
    url: "/v1/models/meta-llama/Llama-3.1?a=1&b=%20",
    host: expect.stringMatching(/^llm-serve-svc\.exp-live\.svc\.cluster\.local:\d+$/),
  });
});

test("each token of a stream leaves when it comes", async () => {
  const response = await fetch(`${open}/models/exp-live/v1/chat/completions`, { method: "POST", body: "{}" });
  expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f]{32}$/);
  const began = performance.now();
  const times: number[] = [];
  for await (const _ of response.body as unknown as AsyncIterable<Uint8Array>)
    times.push(performance.now() - began);
  expect(times.length).toBeGreaterThanOrEqual(3);
  // Buffered, all would come at once at the end.
  expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(2 * tokenDelayMs * 0.8);
});

test("trace context and a client's request id go through, and the entry's headers are added", async () => {
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const response = await fetch(`${open}/models/exp-live/v1/models`, {
    headers: { traceparent, "x-request-id": "mine-1", authorization: "Bearer key" },
  });
  expect(response.headers.get("x-request-id")).toBe("mine-1");
  expect(asked.at(-1)?.headers).toMatchObject({
    traceparent,
    "x-request-id": "mine-1",
    "x-forwarded-for": "127.0.0.1",
    authorization: "Bearer key",
  });
});

test("the log has a line of JSON per request, without the query", async () => {
  await fetch(`${open}/models/exp-live/v1/models?secret=1`, { headers: { "x-request-id": "logged-1" } });
  const line = await waitForLog("open", '"requestId":"logged-1"');
  expect(JSON.parse(line)).toEqual({
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    unixSeconds: expect.stringMatching(/^\d+\.\d{3}$/),
    requestId: "logged-1",
    traceparent: "",
    method: "GET",
    path: "/models/exp-live/v1/models",
    namespace: "exp-live",
    status: "200",
    seconds: expect.stringMatching(/^\d+\.\d{3}$/),
    upstream: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    upstreamStatus: "200",
    upstreamConnectSeconds: expect.stringMatching(/^\d+\.\d{3}$/),
    upstreamHeaderSeconds: expect.stringMatching(/^\d+\.\d{3}$/),
    upstreamSeconds: expect.stringMatching(/^\d+\.\d{3}$/),
    receivedBytes: expect.stringMatching(/^\d+$/),
    sentBytes: expect.stringMatching(/^\d+$/),
    client: "127.0.0.1",
    user: "",
  });
});

async function waitForLog(name: string, text: string): Promise<string> {
  for (let tries = 0; tries < 100; tries++) {
    const line = readFileSync(join(folder, name, "access.log"), "utf8")
      .split("\n")
      .find((line) => line.includes(text));
    if (line !== undefined) return line;
    await sleep(20);
  }
  throw new Error(`no log line holds ${text}`);
}

test("an experiment that is not there is an error that names it", async () => {
  const response = await fetch(`${open}/models/exp-gone/v1/models`);
  expect(response.status).toBe(502);
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(await response.json()).toEqual({
    error: {
      message: "no model answers in namespace exp-gone: there is no such experiment, or its engine is not up",
      type: "entry_proxy",
      code: 502,
    },
  });
});

test("a model that stays silent is an error that says so", async () => {
  const response = await fetch(`${open}/models/exp-live/v1/silent`);
  expect(response.status).toBe(504);
  expect(messageIn(await response.text())).toMatch(
    /^no byte came for 1 s, or no connection: no model answers in/,
  );
});

test("an engine's own error comes through as it is", async () => {
  const response = await fetch(`${open}/models/exp-live/v1/wrong`);
  expect([response.status, await response.json()]).toEqual([
    503,
    { url: "/v1/wrong", host: expect.any(String) },
  ]);
});

test.each([
  "/models/kube-system/v1/models",
  "/models/monitoring/v1/x",
  "/models/exp-live",
  "/models/exp-live/",
  "/models/exp-live/metrics",
  "/models/exp-live/api/serve/applications/",
  "/models/exp-live/v1/../metrics",
  "/models/exp-live/v1/%2e%2e/metrics",
  "/models/exp-live/v1/a%0d%0aX-Evil:%201",
  "/models/exp-live/v1/a%20b",
  "/models/exp-live.kube-system/v1/models",
  "/models/exp-live%2ekube-system/v1/models",
  "/models/exp-live@10.43.0.1/v1/models",
  "/models/exp-/v1/models",
  "/models/EXP-live/v1/models",
  "/models/exp-live-/v1/models",
  `/models/exp-${"a".repeat(60)}/v1/models`,
  "/chat/kube-system/",
  "/chat/exp-live/chat.js",
  "/nginx.conf",
  "/assets/../nginx.conf",
])("%s leads nowhere", async (path) => {
  const before = asked.length;
  const { status } = await raw(open, path);
  expect(status).toBe(404);
  expect(asked.length).toBe(before);
});

test("a path that climbs out of the root is refused by nginx itself", async () => {
  expect((await raw(open, "/assets/%2e%2e/%2e%2e/nginx.conf")).status).toBe(400);
});

test("a namespace that is no experiment's is named in the refusal", async () => {
  const { body } = await raw(open, "/models/kube-system/v1/models");
  expect(messageIn(body)).toBe(
    "namespace kube-system: only /models/exp-.../v1/... and /chat/exp-.../ lead to experiments",
  );
});

test("only reading and asking, and only from the entry's own pages", async () => {
  const url = `${open}/models/exp-live/v1/models`;
  expect((await fetch(url, { method: "DELETE" })).status).toBe(405);
  const { host } = new URL(open);
  expect((await raw(open, "/models/exp-live/v1/models", { origin: `http://${host}` })).status).toBe(200);
  expect((await raw(open, "/models/exp-live/v1/models", { origin: "http://evil.test" })).status).toBe(403);
  expect((await raw(open, "/models/exp-live/v1/models", { origin: "null" })).status).toBe(403);
});

test("the pages come with a strict policy, the assets with their types", async () => {
  const page = await fetch(`${open}/chat/exp-live/`);
  expect(page.headers.get("content-type")).toBe("text/html");
  expect(page.headers.get("content-security-policy")).toBe(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
      "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  );
  expect(await page.text()).toContain('<script type="module" src="/assets/chat.js">');
  const types = ["chat.js", "style.css", "icon.svg"].map(async (file) => {
    const response = await fetch(`${open}/assets/${file}`);
    return [response.status, response.headers.get("content-type")];
  });
  expect(await Promise.all(types)).toEqual([
    [200, "text/javascript"],
    [200, "text/css"],
    [200, "image/svg+xml"],
  ]);
  expect(await (await fetch(`${open}/`)).text()).toContain('href="/grafana/"');
});

test("redirects stay on the entry", async () => {
  const locations = [
    "/chat/exp-live",
    "/chat/?namespace=exp-live",
    "/chat/?namespace=//evil.test",
    "/grafana",
  ].map(async (path) => (await fetch(`${open}${path}`, { redirect: "manual" })).headers.get("location"));
  expect(await Promise.all(locations)).toEqual(["/chat/exp-live/", "/chat/exp-live/", "/", "/grafana/"]);
});

test("Grafana gets its path and the host that the reader typed", async () => {
  const response = await fetch(`${open}/grafana/d/abc?orgId=1`);
  expect(await response.json()).toEqual({ url: "/grafana/d/abc?orgId=1", host: new URL(open).host });
});

test("with a password, everything but the health check asks for it", async () => {
  for (const path of ["/", "/chat/exp-live/", "/models/exp-live/v1/models", "/grafana/", "/assets/chat.js"]) {
    const response = await fetch(`${locked}${path}`);
    expect([path, response.status]).toEqual([path, 401]);
    expect(response.headers.get("www-authenticate")).toBe('Basic realm="LLM serving evaluation"');
    expect(messageIn(await response.text())).toBe("user and password are missing or wrong");
  }
  const wrong = `Basic ${Buffer.from("llmeval:wrong").toString("base64")}`;
  const url = `${locked}/models/exp-live/v1/models`;
  expect((await fetch(url, { headers: { authorization: wrong } })).status).toBe(401);
  expect((await fetch(url, { headers: { authorization: basic } })).status).toBe(200);
  // Neither an engine's log nor Grafana's login gets to see it.
  expect(asked.at(-1)?.headers.authorization).toBeUndefined();
  await fetch(`${locked}/grafana/`, { headers: { authorization: basic } });
  expect(asked.at(-1)?.headers.authorization).toBeUndefined();
  expect((await fetch(`${locked}/healthz`)).status).toBe(200);
});

test("programs of the cluster reach the models, and nothing else, without the password", async () => {
  const url = inside.get(locked) as string;
  const models = await fetch(`${url}/models/exp-live/v1/models`, {
    headers: { authorization: "Bearer key" },
  });
  expect([models.status, await models.json()]).toEqual([200, expect.objectContaining({ url: "/v1/models" })]);
  // It is the engine's own here.
  expect(asked.at(-1)?.headers.authorization).toBe("Bearer key");
  const gone = await fetch(`${url}/models/exp-gone/v1/models`);
  expect([gone.status, messageIn(await gone.text())]).toEqual([
    502,
    "no model answers in namespace exp-gone: there is no such experiment, or its engine is not up",
  ]);
  for (const path of ["/", "/chat/exp-live/", "/grafana/", "/models/kube-system/v1/models"]) {
    const response = await fetch(`${url}${path}`);
    expect([path, response.status, messageIn(await response.text())]).toEqual([
      path,
      404,
      "only /models/exp-.../v1/... is here",
    ]);
  }
  const large = { method: "POST", body: "x".repeat(1024 * 1024 + 1) };
  expect((await fetch(`${url}/models/exp-live/v1/chat/completions`, large)).status).toBe(413);
});

test("the chat page works through the entry, with its policy and its password", async () => {
  const address = locked.replace("http://", `http://llmeval:${password}@`);
  expect(await chatOnce(`${address}/chat/exp-live/`, "hello")).toBe("one two three");
  await expect(chatOnce(`${address}/chat/exp-gone/`, "hello")).rejects.toThrow(
    "no model answers in namespace exp-gone",
  );
});

test("a request that is too large is refused with the limit", async () => {
  const response = await fetch(`${locked}/models/exp-live/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: basic },
    body: "x".repeat(1024 * 1024 + 1),
  });
  expect([response.status, messageIn(await response.text())]).toEqual([
    413,
    "the request is larger than 1 MiB",
  ]);
});
