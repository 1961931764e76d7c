// The real collector and the real Loki with their configurations, on temporary folders. Without an API server the one
// processor that asks it is left out; what it would add to a Ray pod's lines is given.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import * as yaml from "yaml";
import { lokiSchema, toLokiConfig } from "../../../../components/cluster/observability/loki.ts";
import {
  opentelemetrySchema,
  toAgentConfig,
  toGatewayConfig,
} from "../../../../components/cluster/observability/opentelemetry-config.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { freePort } from "../../../support/port.ts";
import { root, temporaryFolder } from "../../../workloads/support.ts";

vi.setConfig({ testTimeout: 120_000 });

const collector = join(root, ".tools/otel-collector/otelcol-contrib");
const uid = "6f0f6e5c-6a55-4a4e-9a51-6a3f8a2c7d10";
// A start on a whole second, so that a time is its digits.
const startMs = Math.floor(Date.now() / 1000 - 60) * 1000;
const startText = new Date(startMs).toISOString().slice(0, 19);

interface Line {
  readonly time: string;
  readonly line: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
}

test("container lines and Ray's files reach Loki with their times and labels, once, over a restart of the agent", async () => {
  const folder = temporaryFolder();
  const lokiUrl = await startLoki(join(folder, "loki"));
  const container = join(folder, `logs/default_web-0_${uid}/web/0.log`);
  const write = (path: string, text: string) => {
    mkdirSync(dirname(path), { recursive: true });
    appendFileSync(path, text);
  };
  write(
    container,
    `${startText}.123456789Z stdout F first\n` +
      `${startText}.123456790Z stderr P one line \n${startText}.123456791Z stderr F in two parts\n`,
  );
  write(
    join(folder, `logs/opentelemetry_otel-agent-x_${uid}/collector/0.log`),
    `${startText}.1Z stderr F own\n`,
  );
  write(join(folder, `logs/logging_loki-x_${uid}/loki/0.log`), `${startText}.1Z stderr F loki\n`);
  const volume = join(folder, `pods/${uid}/volumes/kubernetes.io~empty-dir/ray-logs`);
  const session = join(volume, "session_2026-01-31_12-00-00_1");
  const rayTime = startText.replace("T", " ");
  write(join(session, "logs/raylet.out"), `[${rayTime},250 I 7 7] (raylet) started\n`);
  write(join(session, "logs/serve/replica_1.log"), `INFO ${rayTime},500 llm replica -- POST 200\n`);
  write(join(session, "logs/monitor.log"), `${rayTime},750\tINFO monitor.py:1 -- up\n`);
  write(join(session, "logs/worker-1.err"), "  Traceback: no time here\n");
  write(join(session, "logs/other.txt"), "not a log\n");
  symlinkSync(session, join(volume, "session_latest"));

  const config = copyOf(
    toAgentConfig(lokiUrl, {
      podLogs: join(folder, "logs"),
      pods: join(folder, "pods"),
      state: join(folder, "state"),
    }),
  ) as { receivers: Record<string, { resource: object }> };
  for (const { resource } of Object.values(config.receivers)) {
    Object.assign(resource, { ray_io_node_type: "worker", app: "kuberay" });
  }

  const first = await startCollector(folder, config);
  await vi.waitFor(async () => expect(await linesOf(lokiUrl)).toHaveLength(6), {
    timeout: 30_000,
    interval: 250,
  });
  await stop(first);
  // What is written while no agent runs, and after.
  write(container, `${startText}.900000001Z stdout F while away\n`);
  await startCollector(folder, config);
  write(container, `${startText}.900000002Z stdout F back\n`);
  await vi.waitFor(async () => expect(await linesOf(lokiUrl)).toHaveLength(8), {
    timeout: 30_000,
    interval: 250,
  });

  const lines = await linesOf(lokiUrl);
  const ofContainer = { namespace: "default", app: "kuberay", container: "web", node: "node-1" };
  const ofRay = { namespace: "unknown", app: "kuberay", container: "ray-worker", node: "node-1" };
  const nanoseconds = (fraction: string) => `${startMs / 1000}${fraction}`;
  const timeless = lines.find(({ line }) => line.includes("Traceback"));
  expect(lines.map(({ time, line, labels }) => ({ time, line, labels }))).toEqual([
    { time: nanoseconds("123456789"), line: "first", labels: ofContainer },
    { time: nanoseconds("123456790"), line: "one line in two parts", labels: ofContainer },
    { time: nanoseconds("250000000"), line: `[${rayTime},250 I 7 7] (raylet) started`, labels: ofRay },
    { time: nanoseconds("500000000"), line: `INFO ${rayTime},500 llm replica -- POST 200`, labels: ofRay },
    { time: nanoseconds("750000000"), line: `${rayTime},750\tINFO monitor.py:1 -- up`, labels: ofRay },
    { time: nanoseconds("900000001"), line: "while away", labels: ofContainer },
    { time: nanoseconds("900000002"), line: "back", labels: ofContainer },
    { time: timeless?.time, line: "  Traceback: no time here", labels: ofRay },
  ]);
  // The time at which it was read.
  expect(Math.abs(Number(timeless?.time) / 1e6 - Date.now())).toBeLessThan(60_000);
  const [fromContainer, , , fromServe] = lines.map(({ metadata }) => metadata);
  expect(fromContainer).toEqual({
    pod: "web-0",
    pod_uid: uid,
    ray_io_node_type: "worker",
    restart_count: "0",
    file: container,
    stream: "stdout",
    observed_timestamp: expect.stringMatching(/^\d{19}$/),
    detected_level: "unknown",
  });
  expect(fromServe).toEqual({
    pod_uid: uid,
    ray_io_node_type: "worker",
    file: "/tmp/ray/session_2026-01-31_12-00-00_1/logs/serve/replica_1.log",
    observed_timestamp: expect.stringMatching(/^\d{19}$/),
    detected_level: "info",
  });
});

test("spans by OTLP are in the gateway's file when the client is answered; logs go to Loki; metrics are refused", async () => {
  const folder = temporaryFolder();
  const lokiUrl = await startLoki(join(folder, "loki"));
  const traces = join(folder, "traces");
  mkdirSync(traces);
  const { traces: defaults } = parseConfig(opentelemetrySchema, {}, { file: "x" });
  const config = copyOf(toGatewayConfig(defaults, traces, lokiUrl)) as object;
  const { receivers } = config as {
    receivers: { otlp: { protocols: Record<string, { endpoint: string }> } };
  };
  const [grpc, http] = [await freePort(), await freePort()];
  Object.assign(receivers.otlp.protocols["grpc"] ?? {}, { endpoint: `127.0.0.1:${grpc}` });
  Object.assign(receivers.otlp.protocols["http"] ?? {}, { endpoint: `127.0.0.1:${http}` });
  await startCollector(folder, config);

  const send = async (path: string, body: object) =>
    (
      await fetch(`http://127.0.0.1:${http}/v1/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      })
    ).status;
  const resource = { attributes: [{ key: "k8s.pod.name", value: { stringValue: "llm-0" } }] };
  const span = {
    traceId: "5b8efff798038103d269b633813fc60c",
    spanId: "eee19b7ec3c1b174",
    name: "llm_request",
    kind: 2,
    startTimeUnixNano: `${startMs / 1000}123456789`,
    endTimeUnixNano: `${startMs / 1000}987654321`,
  };
  expect(await send("traces", { resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] })).toBe(200);
  const [written, rest] = readFileSync(join(traces, "traces.jsonl"), "utf8").split("\n");
  expect(JSON.parse(written as string)).toMatchObject({
    resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }],
  });
  expect(rest).toBe("");

  const logRecords = [{ timeUnixNano: `${startMs / 1000}000000007`, body: { stringValue: "by OTLP" } }];
  expect(await send("logs", { resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] })).toBe(200);
  await vi.waitFor(async () => expect(await linesOf(lokiUrl)).toHaveLength(1), {
    timeout: 30_000,
    interval: 250,
  });
  const [line] = await linesOf(lokiUrl);
  expect(line).toMatchObject({
    time: `${startMs / 1000}000000007`,
    line: "by OTLP",
    labels: { namespace: "unknown" },
    metadata: { pod: "llm-0" },
  });

  expect(await send("metrics", { resourceMetrics: [] })).toBe(404);
});

/** With no object in it twice, as it would be read from the file. */
function copyOf(config: object): unknown {
  return JSON.parse(JSON.stringify(config));
}

async function start(command: string, args: readonly string[], readyUrl: string): Promise<ChildProcess> {
  const child = spawn(command, args, { env: { NODE_NAME: "node-1" }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (data: Buffer) => (output += String(data)));
  child.on("error", (error) => (output += error.message));
  onTestFinished(() => void child.kill("SIGKILL"));
  const isReady = async () => (await fetch(readyUrl).catch(() => undefined))?.ok === true;
  const deadline = Date.now() + 60_000;
  while (!(await isReady())) {
    if (child.exitCode !== null || Date.now() > deadline)
      throw new Error(`${command} is not ready:\n${output}`);
    await setTimeout(100);
  }
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  await once(child, "exit");
}

async function startLoki(folder: string): Promise<string> {
  const port = await freePort();
  const config = yaml.parse(
    yaml.stringify(toLokiConfig(parseConfig(lokiSchema, {}, { file: "x" }))).replaceAll("/loki", folder),
  );
  Object.assign(config.server, {
    http_listen_address: "127.0.0.1",
    http_listen_port: port,
    grpc_listen_address: "127.0.0.1",
    grpc_listen_port: await freePort(),
  });
  mkdirSync(folder);
  writeFileSync(join(folder, "loki.yaml"), yaml.stringify(config));
  const url = `http://127.0.0.1:${port}`;
  await start(join(root, ".tools/loki/loki"), [`-config.file=${folder}/loki.yaml`], `${url}/ready`);
  return url;
}

/** Starts a collector without the processor that asks the API server, on ports of its own. */
async function startCollector(folder: string, given: object): Promise<ChildProcess> {
  const config = copyOf(given) as {
    extensions: { health_check: { endpoint: string } };
    processors: Record<string, unknown>;
    service: {
      telemetry: { metrics: unknown };
      pipelines: Record<string, { processors: string[] }>;
    };
  };
  const health = `127.0.0.1:${await freePort()}`;
  config.extensions.health_check.endpoint = health;
  config.service.telemetry.metrics = { level: "none" };
  delete config.processors["k8s_attributes"];
  for (const pipeline of Object.values(config.service.pipelines)) {
    pipeline.processors = pipeline.processors.filter((name) => name !== "k8s_attributes");
  }
  const path = join(folder, "collector.yaml");
  writeFileSync(path, yaml.stringify(config));
  return start(collector, [`--config=${path}`], `http://${health}/`);
}

/** All lines of the last ten minutes, oldest first. */
async function linesOf(lokiUrl: string): Promise<Line[]> {
  const query = new URLSearchParams({
    query: '{namespace=~".+"}',
    start: String(BigInt(Date.now() - 600_000) * 1_000_000n),
    end: String(BigInt(Date.now() + 1000) * 1_000_000n),
    limit: "5000",
    direction: "forward",
  });
  const response = await fetch(`${lokiUrl}/loki/api/v1/query_range?${query}`, {
    headers: { "X-Loki-Response-Encoding-Flags": "categorize-labels" },
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`Loki answers ${response.status}: ${text}`);
  const { data } = JSON.parse(text) as {
    data: {
      result: {
        stream: Record<string, string>;
        values: [string, string, { structuredMetadata?: Record<string, string> }][];
      }[];
    };
  };
  return data.result
    .flatMap(({ stream, values }) =>
      values.map(([time, line, categories]) => ({
        time,
        line,
        labels: stream,
        metadata: categories.structuredMetadata ?? {},
      })),
    )
    .sort((left, right) => (BigInt(left.time) < BigInt(right.time) ? -1 : 1));
}
