// What is read from the cluster's other parts: Loki, trace files, DeepFlow, Grafana; against fakes, and the real Loki.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { expect, onTestFinished, test } from "vitest";
import * as yaml from "yaml";
import { lokiSchema, toLokiConfig } from "../../components/cluster/observability/loki.ts";
import { parseConfig } from "../../components/config-problems.ts";
import { exportFlows, flowTables } from "../../workloads/collector/flows.ts";
import { exportGrafana } from "../../workloads/collector/grafana.ts";
import { exportLoki, type LogLine } from "../../workloads/collector/loki.ts";
import { Patience } from "../../workloads/collector/patience.ts";
import { exportTraces, traceFiles } from "../../workloads/collector/traces.ts";
import { KubeClient } from "../../workloads/shared/kube.ts";
import { freePort } from "../support/port.ts";
import { type FakeFlow, fakeDeepFlow, fakeLoki, fakeTraces, spanLine } from "./fake-observability.ts";
import { fakeServer, root, stable, temporaryFolder } from "./support.ts";

const start = 1_700_000_000;
const window = { startUnixSeconds: start, endUnixSeconds: start + 60 };

function args(url: string, folder = temporaryFolder()) {
  return { url, namespace: "exp-a", window, folder, patience: new Patience(0), seconds: 60, apart: true };
}

function linesOf<T>(folder: string, path: string): T[] {
  const text = gunzipSync(readFileSync(join(folder, path))).toString("utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

const at = (offsetNs: number): string => String(BigInt(start) * 1_000_000_000n + BigInt(offsetNs));
const logLine = (offsetNs: number, line: string, labels: Record<string, string> = {}): LogLine => ({
  unixNs: at(offsetNs),
  labels: { namespace: "exp-a", container: "c", ...labels },
  line,
});

test("Loki: every line of the window once, over pages that break in the middle of an instant", async () => {
  // Two streams with a line each at 6000 instants: the page of 5000 ends between the two of an instant, or after both.
  const both = Array.from({ length: 6000 }, (_, n) => [
    logLine(n, `a${n}`, { pod: "a" }),
    logLine(n, `b${n}`, { pod: "b", file: "/tmp/ray/x.log" }),
  ]).flat();
  const apart = [logLine(7, "taken back", { pod: "conductor-1" })];
  const others = [
    logLine(-1, "before"),
    logLine(60e9, "after"),
    { ...logLine(5, "x"), labels: { namespace: "b" } },
  ];
  const { url, requests } = await fakeLoki([...both, ...apart, ...others]);
  const given = args(url);
  expect(await exportLoki(given)).toEqual({
    part: "loki",
    state: "exported",
    files: [
      { path: "loki/logs.jsonl.gz", rows: 12_000 },
      { path: "faults/loki/logs.jsonl.gz", rows: 1 },
    ],
    reasons: [],
  });
  const lines = linesOf<LogLine>(given.folder, "loki/logs.jsonl.gz");
  expect(new Set(lines.map(({ line }) => line)).size).toBe(12_000);
  expect(lines[1]).toEqual({
    unixNs: "1700000000000000000",
    labels: { namespace: "exp-a", container: "c", pod: "b", file: "/tmp/ray/x.log" },
    line: "b0",
  });
  expect(lines.map(({ unixNs }) => unixNs)).toEqual(lines.map(({ unixNs }) => unixNs).sort());
  expect(linesOf<LogLine>(given.folder, "faults/loki/logs.jsonl.gz")).toEqual(apart);
  expect(requests).toHaveLength(1 + 3);
});

test("Loki: nothing in the window is told, and leaves no file", async () => {
  const given = args((await fakeLoki([])).url);
  expect(await exportLoki(given)).toEqual({
    part: "loki",
    state: "exported",
    files: [],
    reasons: ["Loki holds no line of namespace exp-a in the window"],
  });
  expect(existsSync(join(given.folder, "loki/logs.jsonl.gz"))).toBe(false);
});

test("Loki: what is missing, refused, too dense or too slow is told; what came before is kept", async () => {
  const few = [logLine(1, "one"), logLine(2, "two")];
  const missing = await exportLoki(args((await fakeLoki(few, { counts: 3 })).url));
  expect(missing).toMatchObject({
    state: "failed",
    files: [{ rows: 2 }],
    reasons: ["loki/logs.jsonl.gz: 2 lines of 3 that Loki counts"],
  });

  const many = Array.from({ length: 5001 }, (_, n) => logLine(n, `${n}`));
  const refused = await exportLoki(args((await fakeLoki(many, { fails: 2 })).url));
  expect(refused).toMatchObject({ state: "failed", files: [{ rows: 5000 }] });
  expect(stable(refused.reasons.join().replace(/\/loki\/api\S+/, "/..."))).toBe(
    "loki/logs.jsonl.gz: http://127.0.0.1:PORT/... answered 400: maximum of bytes read reached; 5000 lines are kept",
  );

  const dense = Array.from({ length: 5001 }, (_, n) => logLine(3, `${n}`));
  expect((await exportLoki(args((await fakeLoki(dense)).url))).reasons).toEqual([
    `loki/logs.jsonl.gz: more than 5000 lines at the instant ${at(3)}; 5000 lines are kept`,
  ]);

  const slow = await exportLoki({ ...args((await fakeLoki(few)).url), seconds: -1 });
  expect(slow).toMatchObject({
    state: "failed",
    files: [],
    reasons: ["loki/logs.jsonl.gz: stopped after -1 s; 0 lines are kept"],
  });
});

test("the real Loki: instants shared by lines and streams, the edges of the window, structured metadata", async () => {
  const folder = temporaryFolder();
  const url = await startLoki(join(folder, "loki"));
  const from = Math.floor(Date.now() / 1000) - 120;
  const push = async (
    container: string,
    lines: readonly [offsetNs: bigint, line: string][],
  ): Promise<void> => {
    const values = lines.map(([offset, line]) => [
      String(BigInt(from) * 1_000_000_000n + offset),
      line,
      { pod: "worker-a", file: "/tmp/ray/session/logs/raylet.out" },
    ]);
    const response = await fetch(`${url}/loki/api/v1/push`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ streams: [{ stream: { namespace: "exp-a", container }, values }] }),
    });
    if (!response.ok) throw new Error(`Loki answers ${response.status}: ${await response.text()}`);
  };
  const numbered = (count: number, step: bigint): [bigint, string][] =>
    Array.from({ length: count }, (_, n) => [BigInt(n) * step, `line ${n}`]);
  await push("ray-head", numbered(4000, 1_000_000n));
  await push("ray-worker", numbered(4000, 1_000_000n));
  await push("proxy", numbered(900, 0n));
  await push("gate", [[60_000_000_000n, "at the end of the window, which is outside"]]);
  const result = await exportLoki({
    ...args(url, folder),
    window: { startUnixSeconds: from, endUnixSeconds: from + 60 },
  });
  expect(result).toEqual({
    part: "loki",
    state: "exported",
    files: [{ path: "loki/logs.jsonl.gz", rows: 8900 }],
    reasons: [],
  });
  const lines = linesOf<LogLine>(folder, "loki/logs.jsonl.gz");
  expect(new Set(lines.map((line) => JSON.stringify(line))).size).toBe(8900);
  const labels = { namespace: "exp-a", pod: "worker-a", file: "/tmp/ray/session/logs/raylet.out" };
  expect(
    lines.find(({ line, labels: { container } }) => line === "line 7" && container === "ray-head"),
  ).toMatchObject({
    unixNs: String(BigInt(from) * 1_000_000_000n + 7_000_000n),
    labels: { ...labels, container: "ray-head" },
  });
});

/** Without a test's fakes: the program that the cluster runs, with the configuration that the cluster gives it. */
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
  const loki = spawn(join(root, ".tools/loki/loki"), [`-config.file=${folder}/loki.yaml`], {
    stdio: "ignore",
  });
  onTestFinished(() => void loki.kill("SIGKILL"));
  const url = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + 50_000;
  while ((await fetch(`${url}/ready`).catch(() => undefined))?.ok !== true) {
    if (loki.exitCode !== null || Date.now() > deadline) throw new Error("Loki is not ready");
    await sleep(100);
  }
  return url;
}

test("traces: the spans of the namespace that touch the window, from the files that can hold them", async () => {
  const { url, requests } = await fakeTraces({
    "traces.jsonl": [
      spanLine("exp-a", "inside", start + 1, start + 2),
      spanLine("exp-b", "of exp-a's neighbour", start + 1, start + 2),
      spanLine("exp-a", "after", start + 60, start + 61),
      '{"resourceSpans":[{"resource":{"attributes":[{"key":"exp-a',
    ].join("\n"),
    "traces-2023-11-14T22-13-30.000.jsonl": `${spanLine("exp-a", "across the start", start - 5, start)}\n`,
    "traces-2023-11-14T22-00-00.000.jsonl": `${spanLine("exp-a", "old", start - 900, start - 890)}\n`,
    "other.txt": "",
  });
  const given = args(url);
  expect(await exportTraces(given)).toEqual({
    part: "traces",
    state: "exported",
    files: [{ path: "traces/spans.jsonl.gz", rows: 2 }],
    reasons: ["traces/spans.jsonl.gz: 1 lines of the gateway's files are no JSON"],
  });
  expect(linesOf(given.folder, "traces/spans.jsonl.gz")).toEqual([
    JSON.parse(spanLine("exp-a", "across the start", start - 5, start)),
    JSON.parse(spanLine("exp-a", "inside", start + 1, start + 2)),
  ]);
  expect(requests).toEqual(["GET /", "GET /traces-2023-11-14T22-13-30.000.jsonl", "GET /traces.jsonl"]);
  expect(existsSync(join(given.folder, "traces/download.tmp"))).toBe(false);
});

test("traces: a cluster to which nobody sends spans is no defect; a file that is gone is one", async () => {
  const silent = args((await fakeTraces({ "traces.jsonl": "" })).url);
  expect(await exportTraces(silent)).toEqual({
    part: "traces",
    state: "exported",
    files: [],
    reasons: ["nobody in namespace exp-a has sent spans in the window"],
  });
  const { url } = await fakeServer((_, { pathname }) =>
    pathname === "/" ? { json: [{ name: "traces.jsonl" }] } : undefined,
  );
  const failed = await exportTraces(args(url));
  expect(failed).toMatchObject({ state: "failed", files: [] });
  expect(stable(failed.reasons.join())).toBe(
    "traces/spans.jsonl.gz: http://127.0.0.1:PORT/traces.jsonl answered 404; 0 spans are kept",
  );
});

test("trace files: oldest first, none that was put aside before the window", () => {
  const names = [
    "traces.jsonl",
    "traces-2023-11-14T22-20-00.500.jsonl",
    "traces-2023-11-14T22-13-19.999.jsonl",
  ];
  expect(traceFiles(names, window)).toEqual(["traces-2023-11-14T22-20-00.500.jsonl", "traces.jsonl"]);
});

const flow = (time: number, overrides: Record<string, unknown> = {}): FakeFlow => ({
  time: start + time,
  pod_0: "load-1",
  pod_ns_0: "exp-a",
  pod_ns_1: "kube-system",
  _id: time,
  ...overrides,
});

const columnsOf = (table: string): readonly string[] => flowTables[table]?.columns ?? [];

test("flows: stretches that are too full are cut in two; sides, instants and unknown columns", async () => {
  const queries: string[] = [];
  const l7 = [
    ...Array.from({ length: 12 }, (_, n) => flow(n * 5, { end_time_us: n })),
    flow(3, { pod_ns_0: "other", pod_ns_1: "exp-a", pod_0: "gateway" }),
    flow(4, { pod_ns_0: "other" }),
    flow(5, { pod_0: "conductor-7" }),
    flow(60),
  ];
  const { url } = await fakeDeepFlow(
    {
      l7_flow_log: { columns: columnsOf("l7_flow_log").filter((name) => name !== "is_tls"), flows: l7 },
      l4_flow_log: { columns: columnsOf("l4_flow_log"), flows: [] },
    },
    queries,
  );
  const given = args(url);
  expect(await exportFlows({ ...given, pageRows: 10 })).toEqual({
    part: "deepflow",
    state: "exported",
    files: [
      { path: "flows/l7.jsonl.gz", rows: 13 },
      { path: "faults/flows/l7.jsonl.gz", rows: 1 },
    ],
    reasons: ["flows/l7.jsonl.gz: this DeepFlow has no is_tls"],
  });
  const rows = linesOf<Record<string, unknown>>(given.folder, "flows/l7.jsonl.gz");
  expect(rows.map(({ time }) => Number(time) - start)).toEqual([
    0, 3, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55,
  ]);
  expect(rows[2]).toMatchObject({ pod_0: "load-1", end_time_us: 1, trace_id: null });
  const stretches = queries.flatMap((sql) => {
    const [, from, to] = /l7_flow_log WHERE time >= (\d+) AND time < (\d+)/.exec(sql) ?? [];
    return from === undefined ? [] : [[Number(from) - start, Number(to) - start]];
  });
  expect(stretches).toEqual([
    [0, 60],
    [0, 30],
    [30, 60],
  ]);
  expect(queries.at(-1)).toMatch(
    /^SELECT _id, time, toUnixTimestamp64Micro\(start_time\) AS start_time_us, toUnixTimestamp64Micro\(end_time\) AS end_time_us, pod_0, pod_1, /,
  );
});

test("flows: a second that is too full, and a refusal, are told", async () => {
  const crowded = Array.from({ length: 10 }, () => flow(7));
  const { url } = await fakeDeepFlow({ l7_flow_log: { columns: columnsOf("l7_flow_log"), flows: crowded } });
  expect(await exportFlows({ ...args(url), pageRows: 10 })).toEqual({
    part: "deepflow",
    state: "failed",
    files: [],
    reasons: [
      `flows/l7.jsonl.gz: 10 flows or more in the second ${start + 7}: the others are missing`,
      "flows/l4.jsonl.gz: DeepFlow answered FAILED: no such table (show tags from l4_flow_log)",
    ],
  });
});

test("Grafana: the files that it is provisioned from, the youngest of each", async () => {
  const map = (name: string, created: string, data: Record<string, string>) => ({
    metadata: { name, creationTimestamp: created },
    data,
  });
  const { url, requests } = await fakeServer(() => ({
    json: {
      items: [
        map("board-2", "2026-02-01T00:00:00Z", { "llmeval-cluster.json": "new\n" }),
        map("board-1", "2026-01-01T00:00:00Z", { "llmeval-cluster.json": "old\n" }),
        map("provisioning-1", "2026-01-01T00:00:00Z", { "datasources.yaml": "a\nb\n" }),
      ],
    },
  }));
  const folder = temporaryFolder();
  const result = await exportGrafana(new KubeClient({ baseUrl: url }), folder, new Patience(0));
  expect(result).toEqual({
    part: "grafana",
    state: "exported",
    files: [{ path: "grafana/datasources.yaml" }, { path: "grafana/llmeval-cluster.json" }],
    reasons: [],
  });
  expect(readFileSync(join(folder, "grafana/llmeval-cluster.json"), "utf8")).toBe("new\n");
  expect(requests).toEqual([
    "GET /api/v1/namespaces/grafana/configmaps?labelSelector=app.kubernetes.io%2Fname%3Dgrafana",
  ]);
});

test("Grafana: who may not read its ConfigMaps goes without", async () => {
  const { url } = await fakeServer(() => ({ status: 403, json: { message: "configmaps is forbidden" } }));
  const result = await exportGrafana(new KubeClient({ baseUrl: url }), temporaryFolder(), new Patience(0));
  expect({ ...result, reasons: result.reasons.map(stable) }).toMatchObject({
    part: "grafana",
    state: "absent",
    reasons: [expect.stringContaining("its configuration may not be read")],
  });
});
