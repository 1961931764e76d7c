// The llmeval command as Pulumi and people call it: a child process against a fake API server in front of the real reader.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import {
  type FakeServer,
  fakeServer,
  type Reply,
  type Result,
  root,
  run,
  stable,
  startReader,
  temporaryFolder,
} from "../workloads/support.ts";

const id = "smoke-r1-3f9ac2";
const t0UnixNs = "1700000000123456789";

interface Cluster {
  readonly server: FakeServer;
  /** /results/<id> of the volume. */
  readonly volume: string;
  readonly jobs: unknown[];
  readonly pods: unknown[];
  readonly logs: Map<string, string>;
  /** Answers of the API server itself, one per request, before it works. */
  readonly faults: Reply[];
}

async function fakeCluster(): Promise<Cluster> {
  const results = temporaryFolder();
  const volume = join(results, id);
  mkdirSync(join(volume, "load"), { recursive: true });
  const reader = await startReader(results);
  const state = {
    jobs: [] as unknown[],
    pods: [] as unknown[],
    logs: new Map<string, string>(),
    faults: [] as Reply[],
  };
  const notFound = (what: string): Reply => ({
    status: 404,
    json: { kind: "Status", message: `${what} not found` },
  });
  const server = await fakeServer(async (request, url) => {
    const fault = state.faults.shift();
    if (fault !== undefined) return fault;
    if (request.headers.authorization !== "Bearer secret-token")
      return { status: 401, json: { kind: "Status", message: "Unauthorized" } };
    const own = "/api/v1/namespaces/exp-smoke";
    const proxy = `${own}/services/http:results:8080/proxy`;
    if (url.pathname === own) return { json: { kind: "Namespace" } };
    if (url.pathname.startsWith(proxy)) {
      const answer = await fetch(`${reader}${url.pathname.slice(proxy.length)}`);
      return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
    }
    if (url.pathname === `${own}/pods`) return { json: { items: state.pods } };
    if (url.pathname === "/apis/batch/v1/namespaces/exp-smoke/jobs") return { json: { items: state.jobs } };
    const pod = /pods\/([^/]+)\/log$/.exec(url.pathname)?.[1];
    if (pod !== undefined) {
      const lines = (state.logs.get(pod) ?? "").split("\n").slice(-Number(url.searchParams.get("tailLines")));
      return { body: lines.join("\n") };
    }
    return notFound(url.pathname);
  });
  return { server, volume, ...state };
}

function kubeconfig(server: string, user: unknown = { token: "secret-token" }): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
  });
}

function llmeval(args: readonly string[], stdin?: string, env: Record<string, string> = {}): Promise<Result> {
  return run(join(root, "cli/llmeval.ts"), { args, env, ...(stdin === undefined ? {} : { stdin }) });
}

const common = (timeoutSeconds = 20): string[] => [
  "--namespace",
  "exp-smoke",
  "--experiment-id",
  id,
  "--poll-seconds",
  "0.05",
  "--progress-seconds",
  "0.01",
  "--timeout-seconds",
  String(timeoutSeconds),
];

function job(role: string, conditions: unknown[] = [], active = 0): unknown {
  const labels = { "app.kubernetes.io/name": role, "llmeval/experiment-id": id };
  return { metadata: { name: `${role}-${id}`, labels }, status: { conditions, active } };
}

function jobPod(role: string, status: unknown): unknown {
  return {
    metadata: { name: `${role}-x1`, labels: { "batch.kubernetes.io/job-name": `${role}-${id}` } },
    spec: { nodeName: "server-1", containers: [{ name: role }] },
    status,
  };
}

const failed = [
  {
    type: "Failed",
    status: "True",
    reason: "BackoffLimitExceeded",
    message: "Job has reached the specified backoff limit",
  },
];

const timeline = {
  schemaVersion: 1,
  experimentId: id,
  gatePassedUnixNs: "1699999995123456789",
  t0UnixNs,
  leadSeconds: 5,
  replicas: [{ id: "aaa", node: "server-1", pod: "worker-a" }],
  attempts: 4,
};

const distribution = (n: number, p50: number): unknown => ({
  n,
  mean: p50,
  min: p50,
  p50,
  p90: p50 * 1.5,
  p95: p50 * 1.8,
  p99: p50 * 2,
  max: p50 * 2,
});
const stats = (ok: number, failures: Record<string, number> = {}): Record<string, unknown> => {
  const failedCount = Object.values(failures).reduce((sum, count) => sum + count, 0);
  return {
    seconds: 15,
    requests: {
      scheduled: ok + failedCount,
      sent: ok + failedCount,
      ok,
      failed: failedCount,
      failedByStatus: failures,
    },
    ratePerSecond: { target: 4, sent: 4, completed: ok / 15 },
    outputTokensPerSecond: 60,
    ttftMs: distribution(ok, 52.1234),
    itlMs: distribution(ok * 15, 9.87654),
    tpotMs: distribution(ok, 9.9),
    e2eMs: distribution(ok, 201.5),
    lagMs: distribution(ok, 0.21),
  };
};

/** Results as the collector leaves them. */
function writeResults(
  volume: string,
  overrides: Record<string, unknown> = {},
  summaryOverrides: Record<string, unknown> = {},
): void {
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(volume, path)), { recursive: true });
    writeFileSync(join(volume, path), text);
  };
  write("timeline.json", JSON.stringify(timeline));
  write("load/load.json", "{}");
  write("logs/worker a/ray#1.log", "a line\n");
  write("metrics/empty.jsonl.gz", "");
  const phases = [
    { name: "before", ...stats(30) },
    { name: "fault", ...stats(27, { http_error: 2, timeout: 1 }) },
  ];
  write(
    "summary.json",
    JSON.stringify(
      {
        schemaVersion: 1,
        experimentId: id,
        measurementOf: "stand-in",
        measurementText: "answered by a stand-in, not by a model: llm-d-inference-sim v0.10.2.",
        standIns: ["engine: llm-d-inference-sim v0.10.2"],
        model: "falcon-h1-7b-instruct",
        t0UnixNs,
        t0: "2023-11-14T22:13:20.123456789Z",
        endedUnixNs: "1700000041000000000",
        cells: [
          { id: "rate-4-iteration-1", measured: stats(60), phases: [{ name: "before", ...stats(60) }] },
          { id: "rate-4-iteration-2", measured: stats(57, { http_error: 2, timeout: 1 }), phases },
        ],
        overall: stats(117, { http_error: 2, timeout: 1 }),
        quality: { verdict: "fail", failed: ["targets-up-share"], checks: 2 },
        ...summaryOverrides,
      },
      undefined,
      2,
    ),
  );
  write(
    "quality.json",
    JSON.stringify({
      schemaVersion: 1,
      experimentId: id,
      verdict: "fail",
      checks: [
        {
          check: "load-ended",
          value: true,
          threshold: "true",
          pass: true,
          note: "Job load has failed (OOMKilled)",
        },
        {
          check: "targets-up-share",
          value: 0.93,
          threshold: ">= 0.99",
          pass: false,
          note: "ray 10.0.0.1:8080",
        },
      ],
    }),
  );
  const paths = [
    "load/load.json",
    "logs/worker a/ray#1.log",
    "metrics/empty.jsonl.gz",
    "quality.json",
    "summary.json",
    "timeline.json",
  ];
  const files = paths.map((path) => {
    const bytes = readFileSync(join(volume, path));
    return { path, sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  });
  const manifest = {
    schemaVersion: 1,
    experimentId: id,
    completedUnixNs: "1",
    standIns: [],
    complete: true,
    files,
    versions: {},
  };
  write("manifest.json", JSON.stringify({ ...manifest, ...overrides }));
}

/**
 * stderr without what differs from run to run; which of the fetched files get a line depends on the machine. How to
 * look in has tests of its own.
 */
const progressOf = (stderr: string): string =>
  stable(stderr)
    .replace(/^(fetching: |file .* came damaged).*\n/gm, "")
    .replace(/^look in \(.*\n(?: {2}.*\n)*what each of them shows.*\n/gm, "");

/** Resolves a little after the second request for what holds the text: its progress line is out by then. */
async function said(server: FakeServer, text: string): Promise<void> {
  const later = (milliseconds: number): Promise<void> =>
    new Promise((done) => setTimeout(done, milliseconds));
  while (server.requests.filter((line) => line.includes(text)).length < 2) await later(20);
}

test("help, and clear errors for what cannot be understood", async () => {
  const calls = [
    ["--help"],
    ["results", "--help"],
    ["summary", "--help"],
    ["frobnicate"],
    ["t0", "--frob", "1"],
    ["t0"],
    ["results", "--namespace", "n", "--experiment-id", "../x", "y"],
    ["t0", ...common(), "--timeout-seconds", "soon"],
    ["fetch", "--namespace"],
    ["summary"],
    ["summary", "/none"],
    ["t0", ...common()],
    ["t0", ...common(), "--kubeconfig", "/none"],
  ];
  const texts = await Promise.all(
    calls.map(async (args) => {
      const { status, stdout, stderr } = await llmeval(args);
      return `$ llmeval ${args.join(" ")}\n${stdout}${stderr}(${status})\n`;
    }),
  );
  texts.push(
    (await llmeval(["t0", ...common()], "clusters: [")).stderr,
    (await llmeval(["t0", ...common()], "a: 1")).stderr,
  );
  expect(texts.join("\n")).toMatchInlineSnapshot(`
    "$ llmeval --help
    usage: llmeval COMMAND [options]

      explain    show what an experiment comes to: values and their origin, timeline, cost
      schema     print the JSON Schema of a kind of configuration file, for editors
      t0         wait until the gate has set T0, and print it
      deploy     deploy an experiment's engine, and play nothing
      benchmark  play an experiment's load and faults, on a deployment that is there or a new one
      collect    collect and fetch the results of the run that is there
      delete     take an experiment down; fetched results stay
      load       wait until the load has ended, and print what it sent
      results    wait until the results are complete, fetch and verify them, and print the summary
      fetch      fetch the results of a finished experiment, without waiting for it to finish
      status     show how far an experiment is
      charts     fetch the Helm charts that a cluster's parts need, checked against their pinned digests
      suite      run, resume, stop and show a suite of experiments
      capacity   show what the platform asks of each node, and what is left for models
      summary    print the table of fetched results

    llmeval COMMAND --help tells the options of one command
    (0)

    $ llmeval results --help
    usage: llmeval results [options]

    wait until the results are complete, fetch and verify them, and print the summary
    Prints the summary, as JSON where stdout is no terminal. What is there already is not fetched again.

      --namespace NAME      namespace of the experiment (required)
      --experiment-id ID    id of the experiment, e.g. smoke-r1-3f9ac2 (required)
      --kubeconfig FILE     kubeconfig; else text on stdin, else $KUBECONFIG
      --output DIR          where results are kept (default fetched)
      --timeout-seconds N   longest time to wait (default 7200)
      --poll-seconds N      time between two looks (default 2)
      --progress-seconds N  shortest time between two progress lines (default 3)
      --debug               where the wait fails, tell the last lines of each log
      --help                this text
    (0)

    $ llmeval summary --help
    usage: llmeval summary DIR [options]

    print the table of fetched results

      --help  this text
    (0)

    $ llmeval frobnicate
    error: llmeval: unknown command "frobnicate", known: explain, schema, t0, deploy, benchmark, collect, delete, load, results, fetch, status, charts, suite, capacity, summary
    (1)

    $ llmeval t0 --frob 1
    error: llmeval t0: unknown option '--frob'; see: llmeval t0 --help
    (1)

    $ llmeval t0
    error: llmeval t0: --namespace is missing; --experiment-id is missing; see: llmeval t0 --help
    (1)

    $ llmeval results --namespace n --experiment-id ../x y
    error: llmeval results: unexpected argument y; --experiment-id is "../x", allowed: lower-case letters, digits, "-" and "."; see: llmeval results --help
    (1)

    $ llmeval t0 --namespace exp-smoke --experiment-id smoke-r1-3f9ac2 --poll-seconds 0.05 --progress-seconds 0.01 --timeout-seconds 20 --timeout-seconds soon
    error: llmeval t0: --timeout-seconds is "soon", allowed: a number of seconds above 0
    (1)

    $ llmeval fetch --namespace
    error: llmeval fetch: option '--namespace <value>' argument missing; see: llmeval fetch --help
    (1)

    $ llmeval summary
    error: llmeval summary: DIR is missing; see: llmeval summary --help
    (1)

    $ llmeval summary /none
    error: /none holds no manifest.json: give the folder of fetched results, e.g. fetched/<experiment-id>
    (1)

    $ llmeval t0 --namespace exp-smoke --experiment-id smoke-r1-3f9ac2 --poll-seconds 0.05 --progress-seconds 0.01 --timeout-seconds 20
    error: no kubeconfig: give --kubeconfig FILE, its text on stdin, or KUBECONFIG; of a cluster stack: pulumi stack output kubeconfig --show-secrets -s STACK
    (1)

    $ llmeval t0 --namespace exp-smoke --experiment-id smoke-r1-3f9ac2 --poll-seconds 0.05 --progress-seconds 0.01 --timeout-seconds 20 --kubeconfig /none
    error: --kubeconfig names a file that cannot be read: ENOENT: no such file or directory, open '/none'
    (1)

    error: kubeconfig of stdin is not YAML: Flow sequence in block collection must be sufficiently indented and end with a ] at line 1, column 12: clusters: [ ^ 

    error: kubeconfig of stdin names no API server in its current context ""
    "
  `);
});

test("t0: waits through a restart of the API server, tells how far the gate is, prints T0", async () => {
  const { server, volume, jobs, pods, logs, faults } = await fakeCluster();
  faults.push(
    { status: 503, json: { kind: "Status", message: "apiserver is shutting down" } },
    { status: 401, json: { kind: "Status", message: "Unauthorized" } },
  );
  jobs.push(job("gate", [], 1));
  pods.push(jobPod("gate", { phase: "Running" }), {
    metadata: { name: "w" },
    spec: { containers: [] },
    status: {
      phase: "Pending",
      containerStatuses: [{ name: "c", state: { waiting: { reason: "ImagePullBackOff" } } }],
    },
  });
  logs.set("gate-x1", "2027-01-15T08:00:00.000Z gate: 1 of 2 replicas of Simulator run");
  const running = llmeval(["t0", ...common()], kubeconfig(server.url));
  await said(server, "/pods/gate-x1/log");
  writeFileSync(join(volume, "timeline.json"), JSON.stringify(timeline));
  const { status, stdout, stderr } = await running;
  expect({ status, stderr: progressOf(stderr) }).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "no answer, trying again: http://127.0.0.1:PORT results reader of namespace exp-smoke: smoke-r1-3f9ac2/timeline.json answered 503: apiserver is shutting down
    refused: http://127.0.0.1:PORT results reader of namespace exp-smoke: smoke-r1-3f9ac2/timeline.json answered 401: Unauthorized
    gate: 1 of 2 replicas of Simulator run; pods: 1 Pending (ImagePullBackOff), 1 Running
    T0 of smoke-r1-3f9ac2 is 2023-11-14T22:13:20.123456789Z, 1 replicas have answered
    ",
    }
  `);
  expect(JSON.parse(stdout)).toEqual({
    t0UnixNs,
    t0: "2023-11-14T22:13:20.123456789Z",
    gatePassedUnixNs: "1699999995123456789",
    replicas: timeline.replicas,
  });
});

test("a failed gate ends the wait at once, with the last lines of its log", async () => {
  const { server, jobs, pods, logs } = await fakeCluster();
  jobs.push(job("gate", failed));
  pods.push(jobPod("gate", { phase: "Failed" }));
  logs.set(
    "gate-x1",
    "gate: 1 of 2 replicas of Simulator run\ngate: timed out after 600 s waiting for the gate: 1 of 2 replicas run",
  );
  const folder = temporaryFolder();
  for (const args of [
    ["t0", ...common(3600)],
    ["results", ...common(3600), "--output", folder],
  ]) {
    const { status, stdout, stderr } = await llmeval(args, kubeconfig(server.url));
    expect({ status, stdout, stderr }).toMatchInlineSnapshot(`
      {
        "status": 1,
        "stderr": "error: Job gate-smoke-r1-3f9ac2 in namespace exp-smoke has failed (BackoffLimitExceeded: Job has reached the specified backoff limit); last lines of its log:
        gate: 1 of 2 replicas of Simulator run
        gate: timed out after 600 s waiting for the gate: 1 of 2 replicas run
      look in (kubeconfig: pulumi stack output kubeconfig --show-secrets -s CLUSTER):
        kubectl -n exp-smoke get pods -o wide
        kubectl -n exp-smoke get events --sort-by=.metadata.creationTimestamp
        kubectl -n exp-smoke logs job/gate-smoke-r1-3f9ac2
        kubectl -n exp-smoke logs job/load-smoke-r1-3f9ac2
        kubectl -n exp-smoke logs job/conductor-smoke-r1-3f9ac2
        kubectl -n exp-smoke logs job/collector-smoke-r1-3f9ac2
        kubectl get --raw /api/v1/namespaces/exp-smoke/services/http:results:8080/proxy/smoke-r1-3f9ac2/
        npx llmeval status --namespace exp-smoke --experiment-id smoke-r1-3f9ac2
      what each of them shows, and how to play on: docs/debugging.md
      ",
        "stdout": "",
      }
    `);
  }
});

test("results: waits, fetches, verifies, prints; a second call needs no cluster", async () => {
  const { server, volume, jobs, pods, logs } = await fakeCluster();
  jobs.push(job("gate"), job("load", [], 1), job("collector", [], 1));
  pods.push(jobPod("collector", { phase: "Running" }));
  logs.set("collector-x1", "2027-01-15T08:00:00.000Z collector: metrics: job ray (1 of 8)");
  writeFileSync(join(volume, "timeline.json"), JSON.stringify(timeline));
  const endsUnixNs = String(BigInt(Date.now() + 60_000) * 1_000_000n);
  writeFileSync(
    join(volume, "load/progress.json"),
    JSON.stringify({ scheduled: 80, sent: 57, completed: 55, failed: 0, endsUnixNs }),
  );
  const output = temporaryFolder();
  const args = ["results", ...common(), "--output", output];
  const running = llmeval(args, kubeconfig(server.url));
  await said(server, "load/progress.json");
  writeFileSync(join(volume, "load/load.json"), "{}");
  await said(server, "/pods/collector-x1/log");
  writeResults(volume);
  const { status, stdout, stderr } = await running;
  const { table: shown, ...summary } = JSON.parse(stdout) as { table: string };
  const told = {
    status,
    stderr: progressOf(stderr).replace(/\d\d s left/, "N s left"),
    table: stable(shown),
  };
  expect(told).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "load: 57/80 requests sent, 0 failed, N s left
    collecting: collector: metrics: job ray (1 of 8)
    fetched 6 of 6 files, all 6 verified by sha256 (10.6 kB)
    ",
      "table": "
    experiment smoke-r1-3f9ac2, model falcon-h1-7b-instruct, T0 2023-11-14T22:13:20.123456789Z
    *** STAND-IN, NO MEASUREMENT OF A MODEL: answered by a stand-in, not by a model: llm-d-inference-sim v0.10.2. ***

    latencies in ms, of requests that ended ok, warm-up excluded
                        requests  errors  sent/s  target/s  done/s  TTFT p50 / p90 / p99  ITL p50 / p90 / p99  E2E p50 / p90 / p99  lag p99
    rate-4-iteration-1        60       0    4.00      4.00    4.00     52.1 / 78.2 / 104   9.88 / 14.8 / 19.8      202 / 302 / 403     0.42
    rate-4-iteration-2        60       3    4.00      4.00    3.80     52.1 / 78.2 / 104   9.88 / 14.8 / 19.8      202 / 302 / 403     0.42
      before                  30       0    4.00      4.00    2.00     52.1 / 78.2 / 104   9.88 / 14.8 / 19.8      202 / 302 / 403     0.42
      fault                   30       3    4.00      4.00    1.80     52.1 / 78.2 / 104   9.88 / 14.8 / 19.8      202 / 302 / 403     0.42
    all                      120       3    4.00      4.00    7.80     52.1 / 78.2 / 104   9.88 / 14.8 / 19.8      202 / 302 / 403     0.42

    errors: 2 http_error, 1 timeout
    quality: 1 of 2 checks passed
      failed: targets-up-share is 0.93, asked: >= 0.99 (ray 10.0.0.1:8080)
    results: TMP/smoke-r1-3f9ac2 (6 files)
    ",
    }
  `);
  expect(summary).toEqual(JSON.parse(readFileSync(join(volume, "summary.json"), "utf8")));
  for (const path of ["manifest.json", "logs/worker a/ray#1.log", "metrics/empty.jsonl.gz"]) {
    expect(readFileSync(join(output, id, path))).toEqual(readFileSync(join(volume, path)));
  }
  expect(existsSync(join(output, `${id}.partial`))).toBe(false);

  const before = server.requests.length;
  const again = await llmeval(args, "not a kubeconfig");
  expect({
    status: again.status,
    first: progressOf(again.stderr).split("\n")[0],
    stdout: again.stdout,
  }).toEqual({
    status: 0,
    first: `${id} is fetched already, all files verified`,
    stdout,
  });
  expect(server.requests).toHaveLength(before);

  // A file that was changed on disk is fetched again, and only that one.
  writeFileSync(join(output, id, "logs/worker a/ray#1.log"), "b line\n");
  writeFileSync(join(output, id, "notes.txt"), "mine\n");
  const mended = await llmeval(args, kubeconfig(server.url));
  expect(progressOf(mended.stderr)).toMatch(/^fetched 1 of 6 files, all 6 verified by sha256/);
  expect(readFileSync(join(output, id, "logs/worker a/ray#1.log"), "utf8")).toBe("a line\n");
  expect(readFileSync(join(output, id, "notes.txt"), "utf8")).toBe("mine\n");

  const table = await llmeval(["summary", join(output, id)]);
  expect(table).toEqual({ status: 0, stdout: shown, stderr: "" });
});

test("fetch: needs a manifest; continues a half-done folder; refuses what does not fit", async () => {
  const { server, volume, jobs } = await fakeCluster();
  jobs.push(job("gate", [], 1));
  const output = temporaryFolder();
  const config = join(output, "kubeconfig");
  writeFileSync(config, kubeconfig(server.url));
  const fetch = (): Promise<Result> =>
    llmeval(["fetch", ...common(5), "--output", output], undefined, { KUBECONFIG: config });
  const none = await fetch();

  writeResults(volume);
  mkdirSync(join(output, `${id}.partial/load`), { recursive: true });
  writeFileSync(join(output, `${id}.partial/load/load.json`), "{}");
  const continued = await fetch();
  expect(continued.status).toBe(0);
  expect(server.requests.filter((line) => line.endsWith("load/load.json"))).toEqual([]);
  rmSync(join(output, id), { recursive: true });

  writeFileSync(join(volume, "quality.json"), "{}");
  const changed = await fetch();
  writeResults(volume, { files: [{ path: "../../x", sizeBytes: 1, sha256: "00" }] });
  const climbing = await fetch();
  writeResults(volume, { experimentId: "other-r1-000000" });
  const foreign = await fetch();
  writeResults(volume, { schemaVersion: 2 });
  const newer = await fetch();
  expect(existsSync(join(output, id))).toBe(false);
  const texts = [none, changed, climbing, foreign, newer].map(
    ({ status, stderr }) => `${progressOf(stderr)}(${status})`,
  );
  expect(texts.join("\n")).toMatchInlineSnapshot(`
    "error: smoke-r1-3f9ac2 in namespace exp-smoke has no manifest.json yet (gate: no pod yet; pods: none); wait for it with: llmeval results
    (1)
    error: file quality.json of smoke-r1-3f9ac2 has sha256 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a, the manifest says 44a11bac423d11776de04055f5ca99d344b8ac6bfdc312bc012d493082bcb2f2: it was changed after the collector had finished
    (1)
    error: manifest.json of smoke-r1-3f9ac2 names the file "../../x", allowed: paths below the folder
    (1)
    error: manifest.json of smoke-r1-3f9ac2 belongs to other-r1-000000
    (1)
    error: manifest.json of smoke-r1-3f9ac2 has schemaVersion 2, this llmeval reads 1
    (1)"
  `);
});

test("a run that did not complete is an error, with its files kept", async () => {
  const { server, volume, jobs, pods, logs } = await fakeCluster();
  writeResults(volume, { complete: false });
  renameSync(join(volume, "manifest.json"), join(volume, "later.json"));
  jobs.push(job("load", failed), job("collector", [], 1));
  pods.push(jobPod("load", { phase: "Failed" }), jobPod("collector", { phase: "Running" }));
  logs.set("load-x1", "load: out of memory");
  const output = temporaryFolder();
  const running = llmeval(["results", ...common(), "--output", output], kubeconfig(server.url));
  await said(server, "/pods/collector-x1/log");
  renameSync(join(volume, "later.json"), join(volume, "manifest.json"));
  const { status, stdout, stderr } = await running;
  expect(status).toBe(1);
  const { table } = JSON.parse(stdout) as { table: string };
  expect(
    progressOf(stderr) + stable(table).replace(/\nlatencies(?:.|\n)*?\n\n/, "\n(table)\n"),
  ).toMatchInlineSnapshot(`
    "the load has failed; collector: pod Running
    fetched 6 of 6 files, all 6 verified by sha256 (10.6 kB)
    error: experiment smoke-r1-3f9ac2 did not complete: Job load-smoke-r1-3f9ac2 in namespace exp-smoke has failed (BackoffLimitExceeded: Job has reached the specified backoff limit); last lines of its log:
      load: out of memory
    what there is lies in TMP/smoke-r1-3f9ac2; for another run raise llmeval:run in the stack's configuration

    experiment smoke-r1-3f9ac2, model falcon-h1-7b-instruct, T0 2023-11-14T22:13:20.123456789Z
    *** STAND-IN, NO MEASUREMENT OF A MODEL: answered by a stand-in, not by a model: llm-d-inference-sim v0.10.2. ***
    *** INCOMPLETE: the load has not ended by itself; these figures are of a part of it ***

    (table)
    errors: 2 http_error, 1 timeout
    quality: 1 of 2 checks passed
      failed: targets-up-share is 0.93, asked: >= 0.99 (ray 10.0.0.1:8080)
    results: TMP/smoke-r1-3f9ac2 (6 files)
    "
  `);
  expect(existsSync(join(output, id, "manifest.json"))).toBe(true);
});

test("an engine's results carry no stand-in line", async () => {
  const { volume } = await fakeCluster();
  writeResults(
    volume,
    {},
    { measurementOf: "engine", measurementText: "answered by the engine that the experiment names" },
  );
  expect((await llmeval(["summary", volume])).stdout).not.toMatch(/stand-in/i);
});

test("credentials: of a file beside the kubeconfig, and of a program that makes them", async () => {
  const { server, volume } = await fakeCluster();
  writeFileSync(join(volume, "timeline.json"), JSON.stringify(timeline));
  const folder = temporaryFolder();
  writeFileSync(join(folder, "token"), "secret-token\n");
  writeFileSync(join(folder, "config"), kubeconfig(server.url, { tokenFile: "token" }));
  const credential = {
    apiVersion: "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    status: { token: "secret-token" },
  };
  const exec = {
    apiVersion: credential.apiVersion,
    command: process.execPath,
    args: ["-e", `console.log(${JSON.stringify(JSON.stringify(credential))})`],
    interactiveMode: "Never",
  };
  const results = await Promise.all([
    llmeval(["t0", ...common(), "--kubeconfig", join(folder, "config")]),
    llmeval(["t0", ...common()], kubeconfig(server.url, { exec })),
    llmeval(["t0", ...common()], kubeconfig(server.url, { tokenFile: "/none/token" })),
  ]);
  expect(results.map(({ status, stderr }) => `${progressOf(stderr)}(${status})`)).toMatchInlineSnapshot(`
    [
      "T0 of smoke-r1-3f9ac2 is 2023-11-14T22:13:20.123456789Z, 1 replicas have answered
    (0)",
      "T0 of smoke-r1-3f9ac2 is 2023-11-14T22:13:20.123456789Z, 1 replicas have answered
    (0)",
      "error: credentials of the kubeconfig of stdin cannot be used: ENOENT: no such file or directory, open '/none/token'
    (1)",
    ]
  `);
});

test("limits and refusals end with what was missing", async () => {
  const { server, faults, jobs, pods } = await fakeCluster();
  const away = llmeval(["t0", ...common(1)], kubeconfig("http://127.0.0.1:9"));
  const other = llmeval(
    ["results", "--namespace", "none", ...common(1).slice(2), "--output", temporaryFolder()],
    kubeconfig(server.url),
  );
  const texts = [(await away).stderr, (await other).stderr];
  jobs.push(job("gate", [], 1));
  texts.push((await llmeval(["t0", ...common(1)], kubeconfig(server.url))).stderr);
  const message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available.";
  const conditions = [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }];
  pods.push(jobPod("gate", { phase: "Pending", conditions }));
  texts.push((await llmeval(["t0", ...common(1)], kubeconfig(server.url))).stderr);
  faults.push(
    ...Array.from({ length: 20 }, () => ({
      status: 403,
      json: { kind: "Status", message: "services is forbidden" },
    })),
  );
  texts.push((await llmeval(["t0", ...common()], kubeconfig(server.url))).stderr);
  expect(progressOf(texts.join(""))).toMatchInlineSnapshot(`
    "no answer, trying again: http://127.0.0.1:PORT results reader of namespace exp-smoke: smoke-r1-3f9ac2/timeline.json: connect ECONNREFUSED 127.0.0.1:PORT
    error: timed out after 1 s waiting for T0 of smoke-r1-3f9ac2: no answer, trying again: http://127.0.0.1:PORT results reader of namespace exp-smoke: smoke-r1-3f9ac2/timeline.json: connect ECONNREFUSED 127.0.0.1:PORT
    not there yet: http://127.0.0.1:PORT results reader of namespace none: smoke-r1-3f9ac2/manifest.json answered 404: /api/v1/namespaces/none/services/http:results:8080/proxy/smoke-r1-3f9ac2/manifest.json not found
    error: timed out after 1 s waiting for the results of smoke-r1-3f9ac2: not there yet: http://127.0.0.1:PORT results reader of namespace none: smoke-r1-3f9ac2/manifest.json answered 404: /api/v1/namespaces/none/services/http:results:8080/proxy/smoke-r1-3f9ac2/manifest.json not found
    gate: no pod yet; pods: none
    error: timed out after 1 s waiting for T0 of smoke-r1-3f9ac2: gate: no pod yet; pods: none
    gate: pod Pending (Unschedulable): 0/1 nodes are available: 1 Insufficient cpu; pods: 1 Pending (Unschedulable)
    error: timed out after 1 s waiting for T0 of smoke-r1-3f9ac2: gate: pod Pending (Unschedulable): 0/1 nodes are available: 1 Insufficient cpu; pods: 1 Pending (Unschedulable)
    refused: http://127.0.0.1:PORT results reader of namespace exp-smoke: smoke-r1-3f9ac2/timeline.json answered 403: services is forbidden
    error: the API server refuses: http://127.0.0.1:PORT results reader of namespace exp-smoke: smoke-r1-3f9ac2/timeline.json answered 403: services is forbidden; check the kubeconfig's user and its rights
    "
  `);
  expect(texts.join("")).not.toContain("secret-token");
});

test("status: one page", async () => {
  const { server, volume, jobs, pods } = await fakeCluster();
  writeFileSync(join(volume, "timeline.json"), JSON.stringify(timeline));
  jobs.push(job("gate", [{ type: "Complete", status: "True" }]), job("load", failed));
  pods.push(
    jobPod("load", {
      phase: "Failed",
      containerStatuses: [{ name: "load", state: { terminated: { reason: "OOMKilled" } } }],
    }),
  );
  const page = await llmeval(
    ["status", "--namespace", "exp-smoke", "--experiment-id", id],
    kubeconfig(server.url),
  );
  expect(page).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "",
      "stdout": "namespace exp-smoke
      gate       complete
      load       failed: BackoffLimitExceeded: Job has reached the specified backoff limit
      collector  no such Job
    pods
      load-x1  Failed (OOMKilled)  server-1
    experiment smoke-r1-3f9ac2
      load: pod Failed (OOMKilled)
    ",
    }
  `);
  const none = await llmeval(["status", "--namespace", "none"], kubeconfig(server.url));
  expect({ ...none, stderr: progressOf(none.stderr) }).toMatchInlineSnapshot(`
    {
      "status": 1,
      "stderr": "error: namespace none does not exist in http://127.0.0.1:PORT
    ",
      "stdout": "",
    }
  `);
});
