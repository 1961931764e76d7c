// The gate as it runs in the cluster: a child process against a fake Serve API, engine and Kubernetes API.
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type FakeServer, fakeServer, type Reply, root, run, stable, temporaryFolder } from "./support.ts";

const main = join(root, "workloads/gate/main.ts");

interface Fake {
  readonly replicas: () => readonly { readonly id: string; readonly ip: string; readonly state?: string }[];
  /** Value of x-llmeval-replica for the n-th completion; undefined for no header. */
  readonly answeredBy: (n: number) => string | undefined;
  readonly completionStatus?: (n: number) => number;
  readonly deployments?: (own: unknown) => Readonly<Record<string, unknown>>;
  readonly applicationStatus?: string;
  readonly metrics?: () => string;
  readonly pods?: Reply;
}

interface Cluster extends FakeServer {
  readonly bodies: unknown[];
}

async function fakeCluster(fake: Fake): Promise<Cluster> {
  let completions = 0;
  const bodies: unknown[] = [];
  const server = await fakeServer((request, url, body) => {
    if (url.pathname === "/api/serve/applications/") {
      const own = {
        status: "HEALTHY",
        message: "",
        replicas: fake
          .replicas()
          .map(({ id, ip, state }) => ({ replica_id: id, node_ip: ip, state: state ?? "RUNNING" })),
      };
      const deployments = fake.deployments?.(own) ?? { Simulator: own };
      const status = fake.applicationStatus ?? "RUNNING";
      return { json: { applications: { llm: { status, message: "Traceback:\n  no GPU", deployments } } } };
    }
    if (request.method === "POST") {
      completions += 1;
      bodies.push(JSON.parse(body));
      const name = fake.answeredBy(completions);
      return {
        status: fake.completionStatus?.(completions) ?? 200,
        headers: name === undefined ? {} : { "x-llmeval-replica": name },
        json: { choices: [{ text: "hello" }] },
      };
    }
    if (url.pathname === "/metrics") return { body: fake.metrics?.() ?? "" };
    if (url.pathname === "/api/v1/namespaces/exp-smoke/pods") {
      return (
        fake.pods ?? { json: { items: [rayPod("worker-a", "10.0.0.1"), rayPod("worker-b", "127.0.0.1")] } }
      );
    }
    return undefined;
  });
  return { ...server, bodies };
}

function rayPod(name: string, podIP: string): unknown {
  return {
    metadata: { name, labels: { "ray.io/cluster": "smoke" } },
    spec: { nodeName: `node-of-${name}`, containers: [] },
    status: { podIP },
  };
}

function environment(
  cluster: FakeServer,
  folder: string,
  overrides: Record<string, string> = {},
): Record<string, string> {
  return {
    EXPERIMENT_ID: "smoke-r1-3f9ac2",
    RESULTS_DIR: folder,
    SERVE_URL: `${cluster.url}/v1/chat/completions`,
    SERVE_API: cluster.url,
    MODEL: "falcon-h1-7b-instruct",
    API: "chat",
    EXPECTED_REPLICAS: "2",
    LEAD_SECONDS: "5",
    TIMEOUT_SECONDS: "10",
    NAMESPACE: "exp-smoke",
    INTERVAL_SECONDS: "0.02",
    METRICS_PORT: String(cluster.port),
    KUBE_API_URL: cluster.url,
    ...overrides,
  };
}

function resultsFolder(loadReady = true): string {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "load"));
  if (loadReady) writeFileSync(join(folder, "load/ready.json"), '{"schemaVersion":1,"pid":1}');
  return folder;
}

test("passes when each replica has named itself, and records where each runs", async () => {
  // The second replica comes to life later, and only the tenth completion reaches it.
  let looks = 0;
  const cluster = await fakeCluster({
    replicas: () => [
      { id: "aaa", ip: "10.0.0.1" },
      { id: "bbb", ip: "127.0.0.1", state: ++looks > 2 ? "RUNNING" : "STARTING" },
    ],
    answeredBy: (n) => (n < 10 ? "aaa" : "llm#Simulator#bbb"),
  });
  const folder = resultsFolder();
  const before = BigInt(Date.now()) * 1_000_000n;
  const { status, stdout, stderr } = await run(main, { env: environment(cluster, folder) });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const timeline = JSON.parse(readFileSync(join(folder, "timeline.json"), "utf8"));
  expect(timeline).toEqual({
    schemaVersion: 1,
    experimentId: "smoke-r1-3f9ac2",
    gatePassedUnixNs: expect.stringMatching(/^\d{19}$/),
    t0UnixNs: String(BigInt(timeline.gatePassedUnixNs) + 5_000_000_000n),
    leadSeconds: 5,
    replicas: [
      { id: "aaa", node: "node-of-worker-a", pod: "worker-a" },
      { id: "bbb", node: "node-of-worker-b", pod: "worker-b" },
    ],
    attempts: 12,
  });
  expect(BigInt(timeline.gatePassedUnixNs) >= before).toBe(true);
  expect(cluster.bodies[0]).toEqual({
    model: "falcon-h1-7b-instruct",
    messages: [{ role: "user", content: "Say hello (smoke-r1-3f9ac2 gate 1)." }],
    max_tokens: 4,
    temperature: 0,
  });
  expect(stable(stdout).replace(/T0 is .*/, "T0 is INSTANT")).toMatchInlineSnapshot(`
    "gate: smoke-r1-3f9ac2: waiting for 2 replicas of falcon-h1-7b-instruct
    gate: 1 of 2 replicas of Simulator run
    gate: 1 of 2 replicas have answered a completion, silent: bbb
    gate: replica aaa answered from pod worker-a on node node-of-worker-a
    gate: replica bbb answered from pod worker-b on node node-of-worker-b
    gate: passed after 12 completions; T0 is INSTANT
    "
  `);
});

test("without the header, a replica has answered when its own counter has grown", async () => {
  let completions = 0;
  const cluster = await fakeCluster({
    replicas: () => [
      { id: "aaa", ip: "10.0.0.1" },
      { id: "bbb", ip: "127.0.0.1" },
    ],
    // ray.serve.llm: an ingress in front of the engine's deployment.
    deployments: (own) => ({ OpenAiIngress: { status: "HEALTHY", replicas: [] }, "LLMServer:falcon": own }),
    answeredBy: () => {
      completions += 1;
      return undefined;
    },
    metrics: () =>
      [
        `ray_serve_deployment_request_counter_total{application="llm",deployment="LLMServer:falcon",replica="aaa"} ${7 + completions}`,
        `ray_serve_deployment_request_counter_total{application="llm",replica="LLMServer:falcon#bbb"} ${completions > 8 ? 4.0 : 3.0}`,
        `ray_serve_deployment_request_counter_total{application="llm",replica="ingress"} 99`,
      ].join("\n"),
    // Only the pod on loopback can be asked; the other is away.
    pods: { json: { items: [rayPod("worker-b", "127.0.0.1")] } },
  });
  const folder = resultsFolder();
  const { status } = await run(main, {
    env: environment(cluster, folder, { SERVE_URL: cluster.url, API: "completions" }),
  });
  expect(status).toBe(0);
  expect(JSON.parse(readFileSync(join(folder, "timeline.json"), "utf8"))).toMatchObject({
    replicas: [
      { id: "aaa", node: null, pod: null },
      { id: "bbb", node: "node-of-worker-b", pod: "worker-b" },
    ],
    attempts: 12,
  });
  expect(cluster.requests).toContain("POST /v1/completions");
  expect(cluster.bodies[0]).toMatchObject({ prompt: "Say hello (smoke-r1-3f9ac2 gate 1)." });
});

test("an engine of others passes after answers in a row; nobody sees its replicas", async () => {
  // The third completion fails: the count begins anew.
  const service = await fakeCluster({
    replicas: () => [],
    answeredBy: () => undefined,
    completionStatus: (n) => (n === 3 ? 503 : 200),
  });
  const folder = resultsFolder();
  // As its pod is set: neither a Serve API, nor rights in the Kubernetes API.
  const {
    SERVE_API: _serve,
    EXPECTED_REPLICAS: _replicas,
    KUBE_API_URL: _kube,
    ...own
  } = environment(service, folder);
  const env = { ...own, SERVE_URL: `${service.url}/v1`, EXPECTED_ANSWERS: "3", LOG_LEVEL: "debug" };
  const { status, stdout, stderr } = await run(main, { env });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(JSON.parse(readFileSync(join(folder, "timeline.json"), "utf8"))).toMatchObject({
    replicas: [],
    attempts: 6,
  });
  expect(service.requests).toEqual(Array(6).fill("POST /v1/chat/completions"));
  expect(
    stable(stdout)
      .replace(/T0 is .*/, "T0 is INSTANT")
      .replaceAll(/\d+ ms/g, "N ms"),
  ).toMatchInlineSnapshot(`
    "gate: smoke-r1-3f9ac2: waiting for 3 answers in a row of http://127.0.0.1:PORT/v1 as falcon-h1-7b-instruct
    gate: completion 1: 200, N ms
    gate: completion 2: 200, N ms
    gate: completion 3: http://127.0.0.1:PORT/v1/chat/completions answered 503: {"choices":[{"text":"hello"}]}, N ms
    gate: the service has answered 2 of 3 completions in a row; last problem: http://127.0.0.1:PORT/v1/chat/completions answered 503: {"choices":[{"text":"hello"}]}
    gate: completion 4: 200, N ms
    gate: completion 5: 200, N ms
    gate: completion 6: 200, N ms
    gate: the replicas behind the service cannot be seen from here
    gate: passed after 6 completions; T0 is INSTANT
    "
  `);

  const unready = await run(main, {
    env: { ...env, RESULTS_DIR: resultsFolder(false), LOG_LEVEL: "info", TIMEOUT_SECONDS: "1" },
  });
  const dead = await run(main, {
    env: { ...env, RESULTS_DIR: resultsFolder(), SERVE_URL: "http://127.0.0.1:9", TIMEOUT_SECONDS: "1" },
  });
  expect(stable(unready.stderr + dead.stderr)).toMatchInlineSnapshot(`
    "gate: timed out after 1 s waiting for the gate: the service has answered; the load generator is not ready (no load/ready.json)
    gate: timed out after 1 s waiting for the gate: the service has answered 0 of 3 completions in a row; last problem: http://127.0.0.1:PORT/v1/chat/completions: connect ECONNREFUSED 127.0.0.1:PORT
    "
  `);
});

test("keeps the timeline of this experiment, refuses that of another", async () => {
  const cluster = await fakeCluster({ replicas: () => [], answeredBy: () => undefined });
  const folder = resultsFolder();
  const timeline = '{"experimentId":"smoke-r1-3f9ac2","t0UnixNs":"1800000000123456789"}';
  writeFileSync(join(folder, "timeline.json"), timeline);
  const again = await run(main, { env: environment(cluster, folder) });
  expect({ ...again, stdout: stable(again.stdout) }).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "",
      "stdout": "gate: timeline.json is there already: T0 2027-01-15T08:00:00.123456789Z is kept
    ",
    }
  `);
  expect(readFileSync(join(folder, "timeline.json"), "utf8")).toBe(timeline);
  const other = await run(main, { env: environment(cluster, folder, { EXPERIMENT_ID: "smoke-r2-aaaaaa" }) });
  expect({ ...other, stderr: stable(other.stderr) }).toMatchInlineSnapshot(`
    {
      "status": 1,
      "stderr": "gate: TMP/timeline.json belongs to experiment smoke-r1-3f9ac2, not to smoke-r2-aaaaaa: give each its own RESULTS_DIR
    ",
      "stdout": "",
    }
  `);
  expect(cluster.requests).toEqual([]);
});

test("a timeout says what was missing", async () => {
  const two = [
    { id: "aaa", ip: "10.0.0.1" },
    { id: "bbb", ip: "127.0.0.1" },
  ];
  const fakes: Record<string, Fake> = {
    "a replica that does not start": {
      replicas: () => two.slice(0, 1),
      answeredBy: () => "aaa",
      applicationStatus: "DEPLOYING",
    },
    "a silent replica": { replicas: () => two, answeredBy: () => "aaa" },
    "an engine that fails": { replicas: () => two, answeredBy: () => "aaa", completionStatus: () => 503 },
    "an unknown replica": { replicas: () => two, answeredBy: () => "zzz" },
    "no metrics page": {
      replicas: () => two,
      answeredBy: () => undefined,
      pods: { status: 403, json: { kind: "Status", message: "pods is forbidden" } },
    },
    "no application": {
      replicas: () => [],
      answeredBy: () => undefined,
      deployments: () => ({}),
      applicationStatus: "DEPLOY_FAILED",
    },
  };
  const texts = await Promise.all(
    Object.entries(fakes).map(async ([name, fake]) => {
      const env = environment(await fakeCluster(fake), resultsFolder(), { TIMEOUT_SECONDS: "1" });
      const { status, stderr } = await run(main, { env });
      return `${name} (${status}): ${stable(stderr)}`;
    }),
  );
  const ready = await fakeCluster({ replicas: () => two, answeredBy: (n) => (n % 2 === 0 ? "aaa" : "bbb") });
  const notReady = await run(main, {
    env: environment(ready, resultsFolder(false), { TIMEOUT_SECONDS: "1" }),
  });
  const nobody = await run(main, {
    env: environment(ready, resultsFolder(), { SERVE_API: "http://127.0.0.1:9", TIMEOUT_SECONDS: "1" }),
  });
  texts.push(`load not ready: ${stable(notReady.stderr)}`, `nobody there: ${stable(nobody.stderr)}`);
  expect(texts.join("")).toMatchInlineSnapshot(`
    "a replica that does not start (1): gate: timed out after 1 s waiting for the gate: 1 of 2 replicas of Simulator run (application llm is DEPLOYING: Traceback: no GPU)
    a silent replica (1): gate: timed out after 1 s waiting for the gate: 1 of 2 replicas have answered a completion, silent: bbb
    an engine that fails (1): gate: timed out after 1 s waiting for the gate: 0 of 2 replicas have answered a completion, silent: aaa, bbb; last problem: http://127.0.0.1:PORT/v1/chat/completions answered 503: {"choices":[{"text":"hello"}]}
    an unknown replica (1): gate: timed out after 1 s waiting for the gate: 0 of 2 replicas have answered a completion, silent: aaa, bbb; last problem: a response names the replica zzz, which the Serve API does not list
    no metrics page (1): gate: timed out after 1 s waiting for the gate: 0 of 2 replicas have answered a completion, silent: aaa, bbb; last problem: no metrics page of a Ray pod could be read (pods could not be listed: http://127.0.0.1:PORT/api/v1/namespaces/exp-smoke/pods answered 403: pods is forbidden)
    no application (1): gate: timed out after 1 s waiting for the gate: application llm is DEPLOY_FAILED: Traceback: no GPU
    load not ready: gate: timed out after 1 s waiting for the gate: every replica has answered; the load generator is not ready (no load/ready.json)
    nobody there: gate: timed out after 1 s waiting for the gate: the Serve API has not answered: http://127.0.0.1:PORT/api/serve/applications/: connect ECONNREFUSED 127.0.0.1:PORT
    "
  `);
});

test("reports every wrong variable at once, from a ConfigMap's mount", async () => {
  // A ConfigMap is mounted through links (main.ts -> ..data/main.ts), without a package.json.
  const mount = temporaryFolder();
  mkdirSync(join(mount, "..2026"));
  for (const part of ["gate", "shared"]) {
    cpSync(join(root, "workloads", part), join(mount, "..2026", part), { recursive: true });
    symlinkSync(join("..data", part), join(mount, part));
  }
  symlinkSync("..2026", join(mount, "..data"));
  const { status, stdout, stderr } = await run(join(mount, "gate/main.ts"), {
    env: {
      SERVE_URL: "ftp://x",
      API: "chats",
      EXPECTED_REPLICAS: "1.5",
      LEAD_SECONDS: "-1",
      MODEL: "m",
      SERVE_API: "http://x",
    },
  });
  expect({ status, stdout, stderr }).toMatchInlineSnapshot(`
    {
      "status": 1,
      "stderr": "gate: environment is wrong: EXPERIMENT_ID is not set; RESULTS_DIR is not set; SERVE_URL is "ftp://x", allowed: an http or https URL; API is "chats", allowed: chat, completions; EXPECTED_REPLICAS is "1.5", allowed: an integer, >= 1; LEAD_SECONDS is "-1", allowed: a number, 0 to 3600; TIMEOUT_SECONDS is not set; NAMESPACE is not set
    ",
      "stdout": "",
    }
  `);
});
