// The collector as it runs in the cluster: a child process against a fake Prometheus and Kubernetes API.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { expect, test, vi } from "vitest";
import type { Summary } from "../../workloads/collector/summary.ts";
import { fakeLoki, fakeTraces, spanLine } from "./fake-observability.ts";
import {
  type FakeServer,
  fakeServer,
  type Reply,
  requestRow,
  root,
  run,
  stable,
  temporaryFolder,
} from "./support.ts";

const main = join(root, "workloads/collector/main.ts");
const id = "smoke-r1-3f9ac2";
const t0 = 1_700_000_000;
const nanoseconds = (seconds: number): string => String(BigInt(Math.round(seconds * 1000)) * 1_000_000n);

/** Two cells of 2 requests/s: 2 s of warm-up, then 4 s (of which the second cell has a fault phase). */
const spec = {
  target: { model: "falcon-h1-7b-instruct" },
  cells: [
    {
      id: "rate-2-iteration-1",
      startOffsetSeconds: 0,
      durationSeconds: 6,
      ratePerSecond: 2,
      arrivals: "constant",
      phases: [
        { name: "warm-up", startOffsetSeconds: 0, durationSeconds: 2 },
        { name: "before", startOffsetSeconds: 2, durationSeconds: 4 },
      ],
    },
    {
      id: "rate-2-iteration-2",
      startOffsetSeconds: 6,
      durationSeconds: 4,
      ratePerSecond: 2,
      arrivals: "constant",
      phases: [
        { name: "before", startOffsetSeconds: 0, durationSeconds: 2 },
        { name: "fault", startOffsetSeconds: 2, durationSeconds: 2 },
      ],
    },
  ],
};

/** The whole schedule, half a second apart; the rows of the fault fail. TTFT and E2E grow by 10 ms per request. */
function rows(): Record<string, unknown>[] {
  return Array.from({ length: 20 }, (_, n) => {
    const at = n * 0.5;
    const [cell, phase] =
      at < 6
        ? ["rate-2-iteration-1", at < 2 ? "warm-up" : "before"]
        : ["rate-2-iteration-2", at < 8 ? "before" : "fault"];
    const base = {
      requestId: `${id}-${String(n).padStart(6, "0")}`,
      cell,
      phase,
      scheduledUnixNs: nanoseconds(t0 + at),
      sentUnixNs: nanoseconds(t0 + at),
      lagNs: n * 100_000,
      ttftNs: n * 10_000_000,
      e2eNs: n * 10_000_000 + 31_000_000,
      doneNs: n * 10_000_000 + 31_000_000,
    };
    if (phase !== "fault") return requestRow(base);
    const status = n === 19 ? "timeout" : "http_error";
    const failed = {
      ttftNs: null,
      tpotNs: null,
      firstTokenNs: null,
      lastTokenNs: null,
      outputTokens: null,
      finishReason: null,
    };
    return requestRow({
      ...base,
      ...failed,
      itlNs: null,
      chunkTokens: null,
      status,
      httpStatus: n === 19 ? null : 503,
      error: n === 19 ? "no answer" : 'bad, "upstream"\nreset',
    });
  });
}

interface Volume {
  readonly folder: string;
  readonly env: Record<string, string>;
}

function volume(prometheus: string, kube: string, overrides: Readonly<Record<string, string>> = {}): Volume {
  const base = temporaryFolder();
  const folder = join(base, id);
  mkdirSync(join(folder, "load"), { recursive: true });
  const write = (name: string, value: unknown): void =>
    writeFileSync(join(base, name), typeof value === "string" ? value : JSON.stringify(value));
  const lines = rows();
  write(`${id}/timeline.json`, {
    schemaVersion: 1,
    experimentId: id,
    t0UnixNs: nanoseconds(t0),
    replicas: [],
  });
  write(`${id}/load/requests.jsonl`, `${lines.map((line) => JSON.stringify(line)).join("\n")}\n`);
  write(`${id}/load/load.json`, {
    schemaVersion: 1,
    loadGenerator: "k6 2.2.0 + llmeval extension 1",
    startedUnixNs: nanoseconds(t0 - 20),
    endedUnixNs: nanoseconds(t0 + 11),
    t0UnixNs: nanoseconds(t0),
    requests: { scheduled: 20, sent: 20, ok: 16, failed: 4 },
    lagNs: { mean: 0, p50: 0, p99: 0, max: 0 },
    aborted: false,
    abortReason: null,
  });
  write("load-spec.json", spec);
  write("experiment.json", {
    experiment: { name: "smoke" },
    images: { node: "registry/node@sha256:11" },
    standIns: [
      { part: "engine", name: "llm-d-inference-sim", version: "v0.10.2" },
      { part: "k3s", name: "k3s", version: "1.36.4-stand-in" },
    ],
  });
  return {
    folder,
    env: {
      EXPERIMENT_ID: id,
      RESULTS_DIR: folder,
      NAMESPACE: "exp-smoke",
      PROMETHEUS_URL: prometheus,
      LOAD_TIMEOUT_SECONDS: "1",
      SCRAPE_INTERVAL_SECONDS: "5",
      EXPERIMENT_FILE: join(base, "experiment.json"),
      LOAD_SPEC_FILE: join(base, "load-spec.json"),
      POLL_SECONDS: "0.05",
      RETRY_SECONDS: "0.1",
      KUBE_API_URL: kube,
      ...overrides,
    },
  };
}

/** A Prometheus with two jobs; each series has a sample every 5 s, at x.25 s. */
function fakePrometheus(down = false, more: readonly string[] = []): Promise<FakeServer> {
  const names: Record<string, string[]> = {
    ray: ["ray_a", "ray_b.c", "up", ...more],
    "kubelet/cadvisor": ["container_x", "up"],
  };
  return fakeServer((request, url, body): Reply | undefined => {
    const data = (value: unknown): Reply => ({ json: { status: "success", data: value } });
    if (url.pathname === "/api/v1/label/job/values") return data(Object.keys(names));
    if (url.pathname === "/api/v1/label/__name__/values") {
      return data(names[/job="([^"]+)"/.exec(url.searchParams.get("match[]") ?? "")?.[1] ?? ""]);
    }
    if (url.pathname === "/api/v1/status/buildinfo") return data({ version: "3.14.0" });
    if (url.pathname === "/api/v1/label/namespace/values") return data(["exp-other", "exp-smoke"]);
    if (url.pathname === "/api/v1/targets")
      return data({ activeTargets: [{ discoveredLabels: { __meta_kubernetes_namespace: "exp-other" } }] });
    if (url.pathname !== "/api/v1/query" || request.method !== "POST") return undefined;

    const form = new URLSearchParams(body);
    const query = form.get("query") ?? "";
    const [, selector, range] = /^(.*)\[(\d+)ms\]$/.exec(query) ?? [];
    const end = Number(form.get("time"));
    const start = end - Number(range) / 1000;
    const pattern = /__name__=~("(?:[^"\\]|\\.)*")/.exec(selector ?? "")?.[1];
    const job = /job="([^"]+)"/.exec(selector ?? "")?.[1];
    // A real Prometheus refuses what would load too many samples.
    const wanted = pattern === undefined ? "up" : (JSON.parse(pattern) as string);
    if (wanted.split("|").length > 2)
      return {
        status: 422,
        json: { status: "error", error: "query processing would load too many samples" },
      };
    const series = Object.entries(names)
      .filter(([name]) => job === undefined || job === name)
      .flatMap(([name, metrics]) => metrics.map((metric) => ({ name, metric })))
      .filter(({ metric }) => new RegExp(`^(?:${wanted})$`).test(metric))
      .map(({ name, metric }) => {
        const values: [number, string][] = [];
        for (let at = Math.floor(start / 5) * 5 + 0.25; at <= end; at += 5) {
          if (at > start) values.push([at, metric === "up" && down && at > t0 ? "0" : "1"]);
        }
        return { metric: { __name__: metric, job: name, instance: "10.0.0.1:8080" }, values };
      });
    // Another experiment plays beside this one.
    const beside = series.map((one) => ({ ...one, metric: { ...one.metric, namespace: "exp-other" } }));
    return data({ resultType: "matrix", result: [...series, ...beside] });
  });
}

function fakeKube(failedLoad = false, more: readonly unknown[] = []): Promise<FakeServer> {
  const pod = {
    metadata: { name: "worker-a", namespace: "exp-smoke", managedFields: [{ manager: "x" }] },
    spec: { nodeName: "server-1", containers: [{ name: "ray-worker" }], initContainers: [{ name: "wait" }] },
    status: { containerStatuses: [{ name: "ray-worker", restartCount: 1 }] },
  };
  const conditions = [
    { type: "Failed", status: "True", reason: "BackoffLimitExceeded", message: "too many" },
  ];
  const jobOf = (experimentId: string): unknown => ({
    metadata: {
      name: `load-${experimentId}`,
      labels: { "app.kubernetes.io/name": "load", "llmeval/experiment-id": experimentId },
    },
  });
  return fakeServer((_, url): Reply | undefined => {
    const own = "/api/v1/namespaces/exp-smoke";
    if (url.pathname === `${own}/pods`) return { json: { items: [pod, ...more] } };
    if (url.pathname.endsWith("/log") && more.length > 0) return { body: "log\n" };
    if (url.pathname === `${own}/pods/worker-a/log`) {
      const container = url.searchParams.get("container");
      if (container === "wait")
        return { status: 400, json: { kind: "Status", message: "container wait has no log" } };
      return {
        body: `2027-01-15T08:00:00.000000001Z ${container} ${url.searchParams.get("previous") ?? "now"}\n`,
      };
    }
    if (url.pathname === "/version") return { json: { gitVersion: "v1.36.4" } };
    if (url.pathname === "/api/v1/nodes")
      return { status: 403, json: { kind: "Status", message: "nodes is forbidden" } };
    if (url.pathname === "/apis/batch/v1/namespaces/exp-smoke/jobs") {
      return {
        json: {
          items: failedLoad
            ? [jobOf("smoke-r0-000000"), { ...(jobOf(id) as object), status: { conditions } }]
            : [],
        },
      };
    }
    return { json: { items: [{ metadata: { name: url.pathname.split("/").at(-1) } }] } };
  });
}

const read = (folder: string, name: string): unknown => JSON.parse(readFileSync(join(folder, name), "utf8"));

function lines(folder: string, name: string): unknown[] {
  const text = gunzipSync(readFileSync(join(folder, name))).toString("utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);
}

test("exports everything, and a manifest that lists it", async () => {
  const { folder, env } = volume((await fakePrometheus()).url, (await fakeKube()).url);
  const { status, stdout, stderr } = await run(main, { env });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(
    stable(stdout).replace(/, \d+ s after T0|, -\d+ s after T0/, ", N s after T0"),
  ).toMatchInlineSnapshot(`
    "collector: experiment
    collector: load specification
    collector: timeline
    collector: requests
    collector: metrics: jobs of the window
    collector: metrics: job ray (1 of 2)
    collector: metrics: job kubelet/cadvisor (2 of 2)
    collector: metrics: health of the scrapes
    collector: metrics: targets
    collector: metrics: version
    collector: objects and logs
    collector: version of Kubernetes
    collector: diverse
    collector: hashing
    collector: done: 30 files, 20 requests, quality pass, N s after T0
    "
  `);

  // Metrics: every sample from 30 s before T0 to two scrapes after the end, each series once.
  const [first, ...others] = lines(folder, "metrics/ray.jsonl.gz") as {
    metric: unknown;
    values: [number, string][];
  }[];
  expect(first?.metric).toEqual({ __name__: "ray_a", job: "ray", instance: "10.0.0.1:8080" });
  expect(first?.values).toEqual(Array.from({ length: 11 }, (_, n) => [t0 - 29.75 + n * 5, "1"]));
  expect(others.map(({ metric }) => (metric as { __name__: string }).__name__)).toEqual(["ray_b.c", "up"]);
  expect(lines(folder, "metrics/kubelet_cadvisor.jsonl.gz")).toHaveLength(2);
  expect(read(folder, "metrics/scrape-health.json")).toMatchObject({
    window: { startUnixSeconds: t0 - 30, endUnixSeconds: t0 + 21 },
    jobs: [
      { job: "ray", metricNames: 3, lines: 3, samples: 33 },
      { job: "kubelet/cadvisor", metricNames: 2, lines: 2, samples: 22 },
    ],
    up: [
      { job: "kubelet/cadvisor", instance: "10.0.0.1:8080", samples: 5, expectedSamples: 4, upShare: 1 },
      { job: "ray", instance: "10.0.0.1:8080", samples: 5, expectedSamples: 4, upShare: 1 },
    ],
    targets: { activeTargets: [] },
  });

  // Logs and objects.
  expect(readdirSync(join(folder, "logs/worker-a")).sort()).toEqual([
    "ray-worker.log",
    "ray-worker.previous.log",
  ]);
  expect(readFileSync(join(folder, "logs/worker-a/ray-worker.previous.log"), "utf8")).toBe(
    "2027-01-15T08:00:00.000000001Z ray-worker true\n",
  );
  expect(read(folder, "objects/rayservices.json")).toEqual({
    items: [{ metadata: { name: "rayservices" } }],
  });
  expect(JSON.stringify(read(folder, "objects/pods.json"))).not.toContain("managedFields");

  // Quality: four requests of the fault have failed, which is a result and no defect.
  const quality = read(folder, "quality.json") as {
    checks: { check: string; value: unknown; pass: boolean }[];
  };
  expect(
    quality.checks.map(({ check, value, pass }) => `${pass ? "pass" : "FAIL"} ${check} ${value}`),
  ).toMatchInlineSnapshot(`
    [
      "pass load-ended true",
      "pass load-not-aborted false",
      "pass rows-equal-scheduled 20",
      "pass rows-readable 0",
      "pass requests-ok 12",
      "pass lag-p99-ms 1.885",
      "pass prompt-tokens-as-expected 1",
      "pass output-tokens-as-expected 1",
      "pass sent-rate-share 1",
      "pass metrics-jobs 2",
      "pass metrics-jobs-empty 0",
      "pass targets-up-share 1",
      "pass export-problems 0",
    ]
  `);
  expect(quality).toMatchObject({
    verdict: "pass",
    notes: [
      expect.stringContaining("nodes is forbidden"),
      expect.stringContaining("container wait has no log"),
      "loki: the cluster's stack states no address of it",
      "traces: the cluster's stack states no address of it",
      "deepflow: the cluster's stack states no address of it",
      "grafana: the cluster's stack states no address of it",
    ],
  });

  // The manifest.
  const manifest = read(folder, "manifest.json") as {
    files: { path: string; sizeBytes: number; sha256: string; rows?: number }[];
  };
  expect(manifest).toMatchObject({
    schemaVersion: 1,
    experimentId: id,
    complete: true,
    standIns: ["engine: llm-d-inference-sim v0.10.2", "k3s: k3s 1.36.4-stand-in"],
    versions: {
      kubernetes: "v1.36.4",
      prometheus: "3.14.0",
      loadGenerator: "k6 2.2.0 + llmeval extension 1",
      "image.node": "registry/node@sha256:11",
    },
  });
  expect(
    manifest.files.map(({ path, rows: count }) => (count === undefined ? path : `${path} ${count}`)),
  ).toMatchInlineSnapshot(`
    [
      "cells.json",
      "diverse/events.txt",
      "diverse/images.json",
      "diverse/nodes.json",
      "diverse/pods.txt",
      "diverse/versions.json",
      "experiment.json",
      "exports.json",
      "load/load.json",
      "load/requests.jsonl 20",
      "load/spec.json",
      "logs/worker-a/ray-worker.log",
      "logs/worker-a/ray-worker.previous.log",
      "metrics/kubelet_cadvisor.jsonl.gz 2",
      "metrics/ray.jsonl.gz 3",
      "metrics/scrape-health.json",
      "objects/deployments.json",
      "objects/endpointslices.json",
      "objects/events.json",
      "objects/jobs.json",
      "objects/persistentvolumeclaims.json",
      "objects/pods.json",
      "objects/rayclusters.json",
      "objects/rayservices.json",
      "objects/services.json",
      "quality.json",
      "requests.columns.json",
      "requests.csv 20",
      "summary.json",
      "timeline.json",
    ]
  `);
  for (const { path, sizeBytes, sha256 } of manifest.files) {
    const bytes = readFileSync(join(folder, path));
    expect([path, bytes.length, createHash("sha256").update(bytes).digest("hex")]).toEqual([
      path,
      sizeBytes,
      sha256,
    ]);
  }
});

test("summary: exact figures per cell and phase, without the warm-up", async () => {
  const { folder, env } = volume((await fakePrometheus()).url, (await fakeKube()).url);
  expect((await run(main, { env })).status).toBe(0);
  const summary = read(folder, "summary.json") as { cells: unknown[] };
  expect(summary).toMatchObject({
    schemaVersion: 1,
    experimentId: id,
    measurementOf: "stand-in",
    measurementText:
      "answered by a stand-in, not by a model: llm-d-inference-sim v0.10.2. The figures describe the simulator and the test rig.",
    model: "falcon-h1-7b-instruct",
    t0UnixNs: "1700000000000000000",
    t0: "2023-11-14T22:13:20.000000000Z",
    endedUnixNs: "1700000011000000000",
    slo: null,
    loadGenerator: null,
    saturation: null,
    impact: [],
    quality: { verdict: "pass", failed: [], checks: 13 },
  });
  // Requests 4 to 11: TTFT 40, 50 ... 110 ms; numpy.percentile([40, ..., 110], [50, 90, 95, 99]).
  expect(summary.cells[0]).toEqual({
    id: "rate-2-iteration-1",
    arrivals: "constant",
    concurrency: null,
    startUnixNs: "1700000000000000000",
    durationSeconds: 6,
    skipped: false,
    warmUp: { seconds: 2, requests: { scheduled: 4, sent: 4, ok: 4, failed: 0, failedByStatus: {} } },
    measured: {
      seconds: 4,
      requests: { scheduled: 8, sent: 8, ok: 8, failed: 0, failedByStatus: {} },
      ratePerSecond: { target: 2, sent: 2, completed: 2 },
      goodput: null,
      outputTokensPerSecond: 8,
      ttftMs: { n: 8, mean: 75, min: 40, p50: 75, p90: 103, p95: 106.5, p99: 109.3, max: 110 },
      itlMs: { n: 24, mean: 10, min: 10, p50: 10, p90: 10, p95: 10, p99: 10, max: 10 },
      tpotMs: { n: 8, mean: 10, min: 10, p50: 10, p90: 10, p95: 10, p99: 10, max: 10 },
      e2eMs: { n: 8, mean: 106, min: 71, p50: 106, p90: 134, p95: 137.5, p99: 140.3, max: 141 },
      lagMs: { n: 8, mean: 0.75, min: 0.4, p50: 0.75, p90: 1.03, p95: 1.065, p99: 1.093, max: 1.1 },
    },
    phases: [expect.objectContaining({ name: "before", seconds: 4 })],
  });
  // The fault: nothing was ok, so there is no latency; the failures and their lag are there.
  const none = { n: 0, mean: null, min: null, p50: null, p90: null, p95: null, p99: null, max: null };
  expect((summary.cells[1] as { phases: unknown[] }).phases[1]).toEqual({
    name: "fault",
    seconds: 2,
    requests: { scheduled: 4, sent: 4, ok: 0, failed: 4, failedByStatus: { http_error: 3, timeout: 1 } },
    ratePerSecond: { target: 2, sent: 2, completed: 0 },
    goodput: null,
    outputTokensPerSecond: 0,
    ttftMs: none,
    itlMs: none,
    tpotMs: none,
    e2eMs: none,
    lagMs: { n: 4, mean: 1.75, min: 1.6, p50: 1.75, p90: 1.87, p95: 1.885, p99: 1.897, max: 1.9 },
  });
  expect((summary as unknown as { overall: unknown }).overall).toMatchObject({
    seconds: 8,
    requests: { scheduled: 16, sent: 16, ok: 12, failed: 4, failedByStatus: { http_error: 3, timeout: 1 } },
    ratePerSecond: { target: 2, sent: 2, completed: 1.5 },
    ttftMs: { n: 12, mean: 95, min: 40, p50: 95, p90: 139, max: 150 },
  });

  // The table: a row per request, failures too; what was not measured stays empty.
  const table = readFileSync(join(folder, "requests.csv"), "utf8");
  const [header, ...records] = table.split(/\n(?=smoke)/);
  expect(records).toHaveLength(20);
  expect(header).toMatchInlineSnapshot(
    `"request_id,cell,phase,fault_active,session,turn,status,http_status,scheduled_unix_ns,sent_unix_ns,lag_ms,connect_ms,connection_reused,headers_ms,first_chunk_ms,ttft_ms,last_token_ms,e2e_ms,tpot_ms,itl_n,itl_p50_ms,itl_p90_ms,itl_p99_ms,itl_max_ms,chunks,prompt_tokens,expected_prompt_tokens,output_tokens,expected_output_tokens,finish_reason,worker,response_bytes,error"`,
  );
  expect(records[4]).toMatchInlineSnapshot(
    `"smoke-r1-3f9ac2-000004,rate-2-iteration-1,before,,,,ok,200,1700000002000000000,1700000002000000000,0.4,,true,40,45,40,80,71,10,3,10,10,10,10,4,64,64,4,4,length,0,512,"`,
  );
  expect(records[18]).toMatchInlineSnapshot(`
    "smoke-r1-3f9ac2-000018,rate-2-iteration-2,fault,,,,http_error,503,1700000009000000000,1700000009000000000,1.8,,true,40,45,,,211,,0,,,,,0,64,64,,4,,0,512,"bad, ""upstream""
    reset""
  `);
  expect(
    (read(folder, "requests.columns.json") as { name: string }[]).map(({ name }) => name).join(","),
  ).toBe(header);
});

test("what fails is told and the rest is kept", async () => {
  const kube = await fakeKube();
  const { folder, env } = volume("http://127.0.0.1:9", "http://127.0.0.1:9", {});
  // The load was killed in the middle of a line; and it was slow, short of tokens, and one request was lost.
  const damaged = rows()
    .slice(0, 19)
    .map((row) => ({ ...row, lagNs: 60_000_000, outputTokens: 3 }));
  writeFileSync(
    join(folder, "load/requests.jsonl"),
    `${damaged.map((row) => JSON.stringify(row)).join("\n")}\n{"requestId":"smoke-r1-3f`,
  );
  const { status } = await run(main, { env: { ...env, PROMETHEUS_URL: `${kube.url}/none` } });
  expect(status).toBe(0);
  const quality = read(folder, "quality.json") as {
    verdict: string;
    checks: { check: string; pass: boolean; value: unknown; note?: string }[];
  };
  expect(quality.verdict).toBe("fail");
  expect(
    quality.checks
      .filter(({ pass }) => !pass)
      .map(({ check, value, note }) => stable(`${check} ${value}${note === undefined ? "" : `: ${note}`}`)),
  ).toMatchInlineSnapshot(`
    [
      "rows-equal-scheduled 19",
      "rows-readable 1",
      "lag-p99-ms 60",
      "output-tokens-as-expected 0",
      "metrics-jobs 0",
      "targets-up-share null",
      "export-problems 11: version of Kubernetes: http://127.0.0.1:PORT/version: connect ECONNREFUSED 127.0.0.1:PORT; objects/pods.json: http://127.0.0.1:PORT/api/v1/namespaces/exp-smoke/pods: connect ECONNREFUSED 127.0.0.1:PORT; objects/events.json: http://127.0.0.1:PORT/api/v1/namespaces/exp-smoke/events: connect ECONNREFUSED 127.0.0.1:PORT; objects/services.json: http://127.0.0.1:PORT/api/v1/namespaces/exp-smoke/services: connect ECONNREFUSED 127.0.0.1:PORT; objects/persistentvolumeclaims.json: http://127.0.0.1:PORT/api/v1/namespaces/exp-smoke/persistentvolumeclaims: connect ECONNREFUSED 127.0.0.1:PORT; objects/endpointslices.json: http://127.0.0.1:PORT/apis/discovery.k8s.io/v1/namespaces/exp-smoke/endpointslices: connect ECONNREFUSED 127.0.0.1:PORT; objects/deployments.json: http://127.0.0.1:PORT/apis/apps/v1/namespaces/exp-smoke/deployments: connect ECONNREFUSED 127.0.0.1:PORT; objects/jobs.json: http://127.0.0.1:PORT/apis/batch/v1/namespaces/exp-smoke/jobs: connect ECONNREFUSED 127.0.0.1:PORT; objects/rayservices.json: http://127.0.0.1:PORT/apis/ray.io/v1/namespaces/exp-smoke/rayservices: connect ECONNREFUSED 127.0.0.1:PORT; objects/rayclusters.json: http://127.0.0.1:PORT/apis/ray.io/v1/namespaces/exp-smoke/rayclusters: connect ECONNREFUSED 127.0.0.1:PORT; objects/nodes.json: http://127.0.0.1:PORT/api/v1/nodes: connect ECONNREFUSED 127.0.0.1:PORT",
    ]
  `);
  expect(read(folder, "manifest.json")).toMatchObject({
    complete: true,
    versions: { prometheus: "(unknown)", kubernetes: "(unknown)" },
  });
  expect((read(folder, "summary.json") as { quality: unknown }).quality).toMatchObject({ verdict: "fail" });
});

test("targets that were down and a load that failed fail the checks; the manifest says that it is not complete", async () => {
  const { folder, env } = volume((await fakePrometheus(true)).url, (await fakeKube(true)).url, {
    LOAD_TIMEOUT_SECONDS: "30",
    EXPERIMENT_FILE: "/none",
  });
  rmSync(join(folder, "load/load.json"));
  const { status } = await run(main, { env });
  expect(status).toBe(0);
  const { checks } = read(folder, "quality.json") as {
    checks: { check: string; pass: boolean; value: unknown; note?: string }[];
  };
  const told = checks
    .filter(({ pass }) => !pass)
    .map(({ check, value, note }) => `${check} ${value}: ${note}`);
  expect(told).toMatchInlineSnapshot(`
    [
      "load-ended false: Job load has failed (BackoffLimitExceeded: too many) and left no load.json",
      "load-not-aborted null: undefined",
      "rows-equal-scheduled 20: undefined",
      "targets-up-share 0: kubelet/cadvisor 10.0.0.1:8080, ray 10.0.0.1:8080",
      "export-problems 1: experiment: ENOENT: no such file or directory, open '/none'",
    ]
  `);
  expect(read(folder, "manifest.json")).toMatchObject({
    complete: false,
    standIns: ["unknown (there is no experiment file)"],
  });
  // Nobody knows what has answered: that must not pass for a measurement of a model.
  expect(read(folder, "summary.json")).toMatchObject({ measurementOf: "stand-in" });
});

test("a load that was aborted has left its rows, but is no complete result", async () => {
  const { folder, env } = volume((await fakePrometheus()).url, (await fakeKube()).url);
  const file = join(folder, "load/load.json");
  const report = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...report, aborted: true, abortReason: "signal: terminated" }));
  expect((await run(main, { env })).status).toBe(0);
  expect(read(folder, "manifest.json")).toMatchObject({ complete: false });
  expect(read(folder, "quality.json")).toMatchObject({
    verdict: "fail",
    checks: expect.arrayContaining([
      { check: "load-not-aborted", value: true, threshold: "false", pass: false, note: "signal: terminated" },
    ]),
  });
});

test("waits for the load within its limit; a complete manifest is kept", async () => {
  const kube = await fakeKube();
  const { folder, env } = volume("http://127.0.0.1:9", kube.url);
  renameSync(join(folder, "load/load.json"), join(folder, "later.json"));
  writeFileSync(
    join(folder, "load/progress.json"),
    '{"scheduled":20,"sent":7,"completed":5,"failed":0,"endsUnixNs":"1"}',
  );
  writeFileSync(join(folder, "timeline.json"), "not json");
  const running = run(main, { env: { ...env, LOAD_TIMEOUT_SECONDS: "20" } });
  // It says what it waits for between one look and the next.
  const looks = () => kube.requests.filter((request) => request.endsWith("/jobs")).length;
  await vi.waitFor(() => expect(looks()).toBeGreaterThan(1), { timeout: 20_000 });
  expect(existsSync(join(folder, "manifest.json"))).toBe(false);
  renameSync(join(folder, "later.json"), join(folder, "load/load.json"));
  const { status, stdout } = await running;
  expect(status).toBe(0);
  expect(stable(stdout).split("\n").slice(0, 5).join("\n")).toMatchInlineSnapshot(`
    "collector: the load plays: 7 of 20 requests sent
    collector: experiment
    collector: load specification
    collector: timeline
    collector: timeline failed: Unexpected token 'o', "not json" is not valid JSON"
  `);
  expect(read(folder, "manifest.json")).toMatchObject({ complete: true });

  const before = readFileSync(join(folder, "manifest.json"), "utf8");
  const again = await run(main, { env });
  expect({ ...again, stdout: stable(again.stdout) }).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "",
      "stdout": "collector: manifest.json is there already: nothing to do
    ",
    }
  `);
  expect(readFileSync(join(folder, "manifest.json"), "utf8")).toBe(before);
});

test("faults are judged, and what speaks of them is kept apart from what was observed", async () => {
  const conductor = {
    metadata: { name: "conductor-x", labels: { "app.kubernetes.io/name": "conductor" } },
    spec: { containers: [{ name: "conductor" }] },
  };
  const prometheus = await fakePrometheus(false, ["llmeval_fault_info"]);
  const planFile = join(temporaryFolder(), "plan.json");
  const cell = "rate-2-iteration-2";
  const entry = { fault: "cpu", cell, kind: "cpu", container: "ray-worker", expectedTargets: 1 };
  writeFileSync(planFile, JSON.stringify({ schemaVersion: 1, experimentId: id, faults: [entry] }));
  const { folder, env } = volume(prometheus.url, (await fakeKube(false, [conductor])).url, {
    FAULT_PLAN_FILE: planFile,
    CONDUCTOR_TIMEOUT_SECONDS: "5",
  });
  mkdirSync(join(folder, "faults", cell), { recursive: true });
  writeFileSync(join(folder, "faults", "conductor.json"), JSON.stringify({ faults: 1, delivered: 0 }));
  const reason = "its window had passed when the conductor came to it";
  const record = {
    delivery: "not-delivered",
    reason,
    intendedTargets: [],
    injected: { first: null, all: null },
  };
  writeFileSync(join(folder, "faults", cell, "cpu.json"), JSON.stringify(record));
  const { status, stdout, stderr } = await run(main, { env });
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toContain("collector: 0 of 1 faults were delivered");
  expect(read(folder, "verdicts.json")).toMatchObject({
    cells: [
      { cell: "rate-2-iteration-1", verdict: "unmeasured", faults: [] },
      { cell, verdict: "not-delivered", faults: [{ fault: "cpu", reasons: [reason] }] },
    ],
  });
  expect((read(folder, "summary.json") as Summary).cells.map(({ verdict }) => verdict)).toEqual([
    "unmeasured",
    "not-delivered",
  ]);
  const { checks } = read(folder, "quality.json") as {
    checks: { check: string; pass: boolean; note?: string }[];
  };
  expect(checks.at(-1)).toMatchObject({ check: "cells-as-planned", value: 0, pass: false });
  // No label outside faults/, but for the plan of the experiment itself and the verdicts.
  const { files } = read(folder, "manifest.json") as { files: { path: string }[] };
  const ofFaults = files.map(({ path }) => path).filter((path) => /^faults\//.test(path));
  expect(ofFaults).toEqual([
    "faults/conductor.json",
    "faults/logs/conductor-x/conductor.log",
    "faults/metrics/ray.jsonl.gz",
    "faults/objects/pods.json",
    "faults/plan.json",
    `faults/${cell}/cpu.json`,
  ]);
  expect(JSON.stringify(read(folder, "objects/pods.json"))).not.toContain("conductor");
  expect(JSON.stringify(lines(folder, "metrics/ray.jsonl.gz"))).not.toContain("llmeval_fault");
  expect(lines(folder, "faults/metrics/ray.jsonl.gz")).toHaveLength(1);
});

test("requests and the index of the cells tell when a fault acted, by its record", async () => {
  const planFile = join(temporaryFolder(), "plan.json");
  const cell = "rate-2-iteration-2";
  const entry = { fault: "cpu", cell, kind: "cpu", container: "ray-worker", expectedTargets: 1, object: {} };
  writeFileSync(planFile, JSON.stringify({ schemaVersion: 1, experimentId: id, faults: [entry] }));
  const { folder, env } = volume((await fakePrometheus()).url, (await fakeKube()).url, {
    FAULT_PLAN_FILE: planFile,
    CONDUCTOR_TIMEOUT_SECONDS: "5",
  });
  mkdirSync(join(folder, "faults", cell), { recursive: true });
  writeFileSync(join(folder, "faults", "conductor.json"), JSON.stringify({ faults: 1, delivered: 1 }));
  const between = (from: number, to: number) => ({
    notBeforeUnixNs: nanoseconds(t0 + from),
    notAfterUnixNs: nanoseconds(t0 + to),
    stampFirst: null,
    stampLast: null,
  });
  const record = {
    delivery: "delivered",
    oneShot: false,
    intendedTargets: [],
    planned: { startUnixNs: nanoseconds(t0 + 8), endUnixNs: nanoseconds(t0 + 9), durationSeconds: 1 },
    created: { requestedUnixNs: nanoseconds(t0 + 8), answeredUnixNs: nanoseconds(t0 + 8) },
    injected: { first: between(8.1, 8.2), all: between(8.1, 8.3) },
    recovery: {
      requestedUnixNs: nanoseconds(t0 + 9),
      recovered: between(9, 9.2),
      goneUnixNs: nanoseconds(t0 + 9.3),
    },
  };
  writeFileSync(join(folder, "faults", cell, "cpu.json"), JSON.stringify(record));
  expect((await run(main, { env })).status).toBe(0);
  const [header = "", ...records] = readFileSync(join(folder, "requests.csv"), "utf8").split(/\n(?=smoke)/);
  const at = header.split(",").indexOf("fault_active");
  // Request 16 is sent at T0 + 8 s and ends after 191 ms; 17 and 18 half a second later each; 19 at 9.5 s.
  expect(records.map((line) => line.split(",")[at])).toEqual([
    ...Array(16).fill(""),
    "cpu",
    "cpu",
    "cpu",
    "",
  ]);
  expect((read(folder, "cells.json") as { cells: unknown[] }).cells).toMatchObject([
    { id: "rate-2-iteration-1", requests: 12, faults: [] },
    {
      id: cell,
      skipped: false,
      startUnixNs: "1700000006000000000",
      start: "2023-11-14T22:13:26.000000000Z",
      end: "2023-11-14T22:13:30.000000000Z",
      requests: 8,
      phases: [
        { name: "before", endUnixNs: "1700000008000000000", requests: 4 },
        { name: "fault", startUnixNs: "1700000008000000000", requests: 4 },
      ],
      faults: [
        {
          fault: "cpu",
          kind: "cpu",
          record: `faults/${cell}/cpu.json`,
          actedFromUnixNs: nanoseconds(t0 + 8.1),
          actedToUnixNs: nanoseconds(t0 + 9.2),
        },
      ],
    },
  ]);
  // Four requests each are too few to tell but for the errors: all have failed.
  expect((read(folder, "summary.json") as Summary).impact).toMatchObject([
    { cell, severity: "major", changes: [{ severity: null }, {}, {}, {}, { change: 1, severity: "major" }] },
  ]);
  const left = { items: [{ metadata: { name: "stresschaos" } }] };
  expect(read(folder, "faults/objects/stresschaos.json")).toEqual(left);
});

test("goodput, the load generator's word and what the cluster's parts have: all of it in one run", async () => {
  const { folder, env } = volume((await fakePrometheus()).url, (await fakeKube()).url);
  const labels = { namespace: "exp-smoke", pod: "worker-a" };
  const loki = await fakeLoki([{ unixNs: nanoseconds(t0 + 1), labels, line: "hello" }]);
  const traces = await fakeTraces({ "traces.jsonl": spanLine("exp-smoke", "generate", t0 + 1, t0 + 2) });
  const slo = {
    ttftMilliseconds: 100,
    tpotMilliseconds: null,
    itlMilliseconds: null,
    e2eMilliseconds: null,
    attainmentShare: 0.9,
  };
  const experiment = {
    experiment: { name: "smoke", slo },
    standIns: [],
    stack: {
      endpoints: { loki: loki.url, traces: traces.url, deepflow: "http://127.0.0.1:9" },
      capabilities: { grafana: { mode: "on" } },
    },
  };
  writeFileSync(env["EXPERIMENT_FILE"] as string, JSON.stringify(experiment));
  const report = read(folder, "load/load.json") as object;
  const selfCheck = {
    cpuShare: 0.99,
    throttledSeconds: null,
    socketErrors: 2,
    lagP99Ms: 3,
    bottleneck: true,
    reasons: ["CPU share 0.99 is above 0.85"],
  };
  writeFileSync(join(folder, "load/load.json"), JSON.stringify({ ...report, selfCheck, skippedCells: [] }));
  expect((await run(main, { env })).status).toBe(0);

  // TTFT 40 ... 150 ms: 7 of the 8 of the first cell are within 100 ms, none of the second one's 8.
  const summary = read(folder, "summary.json") as Summary;
  expect(summary.cells.map(({ measured }) => measured.goodput)).toEqual([
    { requestsPerSecond: 1.75, share: 0.875 },
    { requestsPerSecond: 0, share: 0 },
  ]);
  expect(summary).toMatchObject({
    slo,
    loadGenerator: { bottleneck: true, reasons: ["CPU share 0.99 is above 0.85"] },
    overall: { goodput: { requestsPerSecond: 0.875, share: 0.4375 } },
    quality: { verdict: "fail", failed: ["load-generator-kept-up", "export-problems"] },
  });
  const { parts } = read(folder, "exports.json") as {
    parts: { part: string; state: string; files: unknown }[];
  };
  expect(parts.map(({ part, state, files }) => ({ part, state, files }))).toEqual([
    { part: "loki", state: "exported", files: [{ path: "loki/logs.jsonl.gz", rows: 1 }] },
    { part: "traces", state: "exported", files: [{ path: "traces/spans.jsonl.gz", rows: 1 }] },
    { part: "deepflow", state: "failed", files: [] },
    { part: "grafana", state: "exported", files: [] },
  ]);
  const quality = read(folder, "quality.json") as {
    checks: { check: string; value: number; note: string }[];
  };
  const problems = quality.checks.find(({ check }) => check === "export-problems");
  expect(problems?.value).toBe(2);
  expect(problems?.note).toContain(
    "deepflow: flows/l7.jsonl.gz: http://127.0.0.1:9/v1/query/: connect ECONNREFUSED",
  );
  expect(lines(folder, "loki/logs.jsonl.gz")).toEqual([
    { unixNs: nanoseconds(t0 + 1), labels, line: "hello" },
  ]);
});

test("a conductor that does not end is waited for in vain, and told", async () => {
  const planFile = join(temporaryFolder(), "plan.json");
  writeFileSync(planFile, JSON.stringify({ schemaVersion: 1, experimentId: id, faults: [] }));
  const { folder, env } = volume((await fakePrometheus()).url, (await fakeKube()).url, {
    FAULT_PLAN_FILE: planFile,
    CONDUCTOR_TIMEOUT_SECONDS: "0.2",
  });
  expect((await run(main, { env })).status).toBe(0);
  const { checks } = read(folder, "quality.json") as { checks: { check: string; note?: string }[] };
  expect(checks.find(({ check }) => check === "export-problems")?.note).toContain(
    "conductor: timed out after 0.2 s waiting for faults/conductor.json: the conductor has not ended",
  );
});
