// The whole product on the lab, from nothing to nothing: hosts, the cluster stack, experiment stacks, and their removal.
// The tests are one story: each goes on where the one before it ended, but for those that run side by side. Needs the
// tools of `lab/with-tools`, and root.
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { SuiteState } from "../../cli/suite/state.ts";
import type { Summary } from "../../workloads/collector/summary.ts";
import type { Verdicts } from "../../workloads/collector/verdicts.ts";
import type { Manifest, Quality, RequestRow, Timeline } from "../../workloads/shared/rows.ts";
import { describeForCi } from "./ci-account.ts";
import { labDirectory, labRemains, labState } from "./lab-state.ts";
import { logLines, sendSpan, targets, unknownMetrics, wrongAnswers } from "./platform.ts";
import { rbacCases, rbacOfCases } from "./rbac-cases.ts";
import { playStepByStep } from "./step-by-step.ts";
import {
  type Host,
  hostState,
  hosts,
  lab,
  Project,
  Running,
  readJson,
  readRows,
  repository,
  sha256,
  ssh,
  until,
} from "./support.ts";
import { chatOnce } from "./support-browser.ts";

const requestsOfSmoke = 60;
/** What is in no state, no log and no result: keys, the kubeconfig that holds one, and tokens. */
const secretText = /PRIVATE KEY|client-key-data|eyJhbGciOi/;
/** Checks that fail where something else keeps the machine busy: that is what they are for, and no defect of ours. */
const checksOfTheMachine = new Set(["lag-p99-ms", "sent-rate-share", "targets-up-share"]);
const off = { mode: "off", reason: "switched off in the cluster's configuration" };
const up = ["--yes", "--skip-preview"];
const unchanged = [...up, "--expect-no-changes"];

let project: Project;
/** Each host before anything was installed on it. */
const pristine: Partial<Record<Host, string[]>> = {};
let firstRun: { readonly id: string; readonly jobs: readonly string[] };

interface List<T> {
  readonly items: readonly T[];
}
interface Named {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string };
}
interface Pod extends Named {
  readonly spec: { readonly nodeName: string };
  readonly status: {
    readonly phase: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly {
      readonly containerID?: string;
      readonly restartCount: number;
      readonly state: { readonly running?: { readonly startedAt: string } };
    }[];
  };
}

async function pods(): Promise<readonly Pod[]> {
  return (await project.kubectl<List<Pod>>("get", "pods", "-A")).items;
}

/** Waits until a node's lease was renewed and every pod was ready after an instant of the host's clock. */
async function untilBack(since: Date, { restarted }: { readonly restarted: boolean }): Promise<void> {
  await until("the cluster to be back", 120, async () => {
    const lease = await project.kubectl<{ readonly spec: { readonly renewTime: string } }>(
      ...["get", "lease", "-n", "kube-node-lease", "server-1"],
    );
    if (new Date(lease.spec.renewTime) < since) return `the node's lease is from ${lease.spec.renewTime}`;
    if ((await nodeReady("server-1")) !== "True") return "the node is not Ready";
    const late = (await pods()).filter(({ status }) => {
      const ready = status.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
      const fresh = status.containerStatuses?.every(
        ({ state }) => new Date(state.running?.startedAt ?? 0) >= since,
      );
      return !ready || (restarted && !fresh);
    });
    return late.length === 0
      ? undefined
      : `not ready: ${late.map(({ metadata }) => metadata.name).join(", ")}`;
  });
}

async function nodeReady(name: string): Promise<string | undefined> {
  const node = await project.kubectl<Pod>("get", "node", name);
  return node.status.conditions?.find(({ type }) => type === "Ready")?.status;
}

/** A controller that cannot renew its lease, as the API server is away, exits and is started again: it is made so. */
const electsLeader = /^(chaos-controller-manager|kuberay-operator)-/;

/** Container ids and restart counts: the same as long as nothing was started anew. */
async function containers(): Promise<string[]> {
  const all = (await pods()).flatMap(({ metadata, status }) =>
    electsLeader.test(metadata.name)
      ? [`${metadata.name} ${metadata.uid}`]
      : (status.containerStatuses ?? []).map(
          ({ containerID, restartCount }) => `${metadata.name} ${containerID} ${restartCount}`,
        ),
  );
  return all.sort();
}

async function jobs(): Promise<string[]> {
  const { items } = await project.kubectl<List<Named>>("get", "jobs", "-n", "exp-smoke");
  return items.map(({ metadata }) => `${metadata.name} ${metadata.uid}`).sort();
}

/** The requests of a run that the engine sent a span for; those of the gate have other ids. */
function requestsWithSpan(folder: string, experimentId: string): string[] {
  const lines = gunzipSync(readFileSync(join(folder, "traces/spans.jsonl.gz"))).toString();
  const id = /"key":"gen_ai\.request\.id","value":\{"stringValue":"([^"]+)"/g;
  return [...lines.matchAll(id)]
    .map(([, requestId = ""]) => requestId)
    .filter((requestId) => requestId.startsWith(experimentId))
    .sort();
}

/** Reads fetched results and checks that they are whole: every file of the manifest, every row, no failed check of the data. */
function checkResults(id: string): Timeline {
  const folder = project.file(join("fetched", id));
  const manifest = readJson<Manifest>(join(folder, "manifest.json"));
  expect(manifest).toMatchObject({ schemaVersion: 1, experimentId: id, complete: true });
  const changed = manifest.files.filter(({ path, sizeBytes, sha256: expected }) => {
    const file = join(folder, path);
    return statSync(file).size !== sizeBytes || sha256(file) !== expected;
  });
  expect(changed).toEqual([]);

  const telling = manifest.files.filter(({ path }) => {
    const content = readFileSync(join(folder, path));
    return secretText.test((path.endsWith(".gz") ? gunzipSync(content) : content).toString());
  });
  expect(telling).toEqual([]);

  const rows = readRows<RequestRow>(join(folder, "load/requests.jsonl"));
  expect(rows).toHaveLength(requestsOfSmoke);
  expect(new Set(rows.map(({ requestId }) => requestId)).size).toBe(requestsOfSmoke);
  expect(rows.filter(({ status }) => status !== "ok")).toEqual([]);
  expect(requestsWithSpan(folder, id)).toEqual(rows.map(({ requestId }) => requestId).sort());

  const summary = readJson<Summary>(join(folder, "summary.json"));
  expect(summary.measurementOf).toBe("stand-in");
  expect(summary.overall.requests).toEqual({
    scheduled: 48,
    sent: 48,
    ok: 48,
    failed: 0,
    failedByStatus: {},
  });
  const { checks } = readJson<Quality>(join(folder, "quality.json"));
  expect(checks.filter(({ check, pass }) => !pass && !checksOfTheMachine.has(check))).toEqual([]);
  return readJson<Timeline>(join(folder, "timeline.json"));
}

beforeAll(async () => {
  project = new Project();
  await lab("down.sh");
  expect(labRemains()).toEqual([]);
});

afterAll(async () => {
  project?.dispose();
  await lab("down.sh");
});

test("lab-up makes the hosts from nothing; a second one changes nothing", async () => {
  await lab("up.sh", "1");
  const before = labState();
  expect(Object.keys(before).sort()).toEqual([
    ".lab/charts.sha256",
    ".lab/gateway-api.sha256",
    ".lab/images.json",
    ".lab/k3s-next.sha256",
    ".lab/k3s.sha256",
    ".lab/ssh/id_ed25519",
    ".lab/ssh/known_hosts",
    "agent-1.pid",
    "mirror.pid",
    "server-1.pid",
  ]);
  const again = await lab("up.sh", "1");
  expect(labState()).toEqual(before);
  expect(again.seconds).toBeLessThan(5);
  for (const host of Object.keys(hosts) as Host[]) pristine[host] = await hostState(host);
});

/** Changes the cluster's configuration in the copy of the project; returns how to take the change back. */
function configureCluster(change: (config: Record<string, Record<string, unknown>>) => void): () => void {
  const file = project.file("configs/clusters/lab.yaml");
  const original = readFileSync(file, "utf8");
  const config = parse(original);
  change(config);
  writeFileSync(file, stringify(config));
  return () => writeFileSync(file, original);
}

test("the cluster stack installs the platform; a second `up` changes nothing", async () => {
  configureCluster((config) => {
    config["rbac"] = { ...rbacOfCases };
  });
  await project.init("dev");
  const { output } = await project.pulumi("up", "dev", up, { timeoutMs: 400_000 });
  const labImages = readJson<Record<string, string>>(join(repository, ".lab/images.json"));
  expect(await project.outputs("dev")).toEqual({
    kubeconfig: "[secret]",
    endpoints: {
      apiServer: "https://10.89.77.11:6443",
      entry: "http://entry.entry.svc",
      loki: "http://loki.logging.svc:3100",
      otlpGrpc: "http://otel-gateway.opentelemetry.svc:4317",
      otlpHttp: "http://otel-gateway.opentelemetry.svc:4318",
      prometheus: "http://prometheus.monitoring.svc:9090",
      traces: "http://otel-gateway.opentelemetry.svc:8080",
    },
    capabilities: {
      chaosMesh: { mode: "on", version: "2.8.3-lab" },
      cilium: off,
      deepflow: off,
      entry: { mode: "on", version: expect.stringMatching(/^\d/) },
      gatewayApi: { mode: "on", version: "v1.6.1" },
      gpuOperator: off,
      grafana: off,
      istio: off,
      k3s: { mode: "on", version: "v1.36.4+k3s1" },
      kubeStateMetrics: { mode: "on", version: "v2.20.0" },
      kuberay: { mode: "on", version: "1.6.2-lab" },
      loki: { mode: "on", version: "3.7.6" },
      opentelemetry: { mode: "on", version: "0.159.0" },
      prometheus: { mode: "on", version: expect.stringMatching(/^v\d/) },
      rbac: { mode: "on" },
      storage: { mode: "on", version: "local-path" },
    },
    storageClass: "local-path",
    images: expect.objectContaining({ serveSimulator: labImages["serveSimulator"], load: labImages["load"] }),
    accelerators: {},
    operators: [
      { kind: "Group", name: "operators@test" },
      { kind: "ServiceAccount", name: "ci", namespace: "llmeval-access" },
    ],
    passwords: { entry: "[secret]" },
  });
  const secrets = await project.outputs("dev", ["--show-secrets"]);
  writeFileSync(project.file("kubeconfig"), String(secrets["kubeconfig"]), { mode: 0o600 });
  expect(await nodeReady("server-1")).toBe("True");
  await project.pulumi("up", "dev", unchanged, { timeoutMs: 60_000 });

  // Nothing secret is in plain text in the state, in what `up` printed, or in a preview of everything.
  const preview = await project.pulumi("preview", "dev", ["--diff", "--show-sames"], { timeoutMs: 60_000 });
  const token = (await ssh("server-1", "cat /etc/rancher/k3s/token /etc/rancher/k3s/agent-token")).stdout;
  const plain = [...token.trim().split("\n"), (secrets["passwords"] as { readonly entry: string }).entry];
  expect(plain.map((text) => text.length)).toEqual([48, 48, 32]);
  for (const text of [project.stateText("dev"), output, preview.output]) {
    expect(plain.filter((secret) => text.includes(secret))).toEqual([]);
    expect(text).not.toMatch(secretText);
  }
});

test("a preview after a one-line change of the configuration shows just that change", async () => {
  const restore = configureCluster((config) => {
    config["prometheus"] = { ...config["prometheus"], retention: "3d" };
  });
  const { stdout } = await project.pulumi("preview", "dev", ["--json"], { timeoutMs: 60_000 });
  restore();
  const { steps } = JSON.parse(stdout) as {
    readonly steps: readonly { readonly op: string; readonly urn: string; readonly diffReasons?: unknown }[];
  };
  expect(
    steps.filter(({ op }) => op !== "same").map(({ op, urn }) => `${op} ${urn.split("::").at(-1)}`),
  ).toEqual(["update prometheus-server"]);
});

test("every target of Prometheus is up, and the parts answer their users", async () => {
  await until("Prometheus to have scraped every target", 90, async () => {
    const { down } = await targets(project);
    return down.length === 0 ? undefined : down.join(", ");
  });
  expect((await targets(project)).jobs).toMatchInlineSnapshot(`
    [
      "apiserver",
      "cadvisor",
      "chaos-mesh",
      "kube-state-metrics",
      "kubelet",
      "kubelet-resource",
      "kuberay-operator",
      "loki",
      "node",
      "otel-collector",
      "pods",
      "prometheus",
    ]
  `);
  await until("the metrics of metrics-server", 90, () =>
    project.run("kubectl", ["top", "node", "server-1"]).then(
      () => undefined,
      () => "kubectl top has nothing yet",
    ),
  );
  const crds = await project.kubectl<List<Named>>("get", "crds");
  expect(
    crds.items.filter(({ metadata }) => metadata.name.endsWith("gateway.networking.k8s.io")).length,
  ).toBe(10);
  expect(await sendSpan(project, "span-of-a-test")).toContain("span-of-a-test");
  const capacity = await project.run("npx", ["llmeval", "capacity", "--kubeconfig", "kubeconfig"]);
  expect(capacity.stdout).toMatch(/left for models +\d+\.\d+ +\d+\.\d+\n/);
});

test("K3s: a restart of the service keeps the pods, a reboot of the host brings them back", async () => {
  const before = await containers();
  const restart = new Date();
  await ssh("server-1", "systemctl restart k3s");
  await untilBack(restart, { restarted: false });
  expect(await containers()).toEqual(before);

  const boot = "stat -c %.Y /proc/1";
  const firstBoot = (await ssh("server-1", boot)).stdout;
  const reboot = new Date();
  // The connection ends before the host does.
  await ssh("server-1", "(sleep 1; systemctl reboot) >/dev/null 2>&1 &");
  await until("server-1 to have rebooted", 60, async () =>
    (await ssh("server-1", boot)).stdout === firstBoot ? "it is still the first boot" : undefined,
  );
  await untilBack(reboot, { restarted: true });
});

/** For engines only, as hosts with GPUs are. */
const agent = {
  name: "agent-1",
  address: hosts["agent-1"],
  labels: { "llmeval.io/role": "gpu" },
  taints: ["llmeval.io/role=gpu:NoSchedule"],
};
const onAgent = {
  nodeSelector: agent.labels,
  tolerations: [{ key: "llmeval.io/role", value: "gpu" }],
};

test("K3s: an agent joins by the stack's configuration; a wrong token is refused", async () => {
  configureCluster((config) => {
    config["k3s"] = { ...config["k3s"], agents: [agent] };
  });
  await project.pulumi("up", "dev", up, { timeoutMs: 180_000 });
  expect(await nodeReady("agent-1")).toBe("True");

  const wrong = await ssh(
    "agent-1",
    "cd /tmp && k3s agent --token=wrong-token --data-dir=/tmp/other 2>&1; status=$?; rm -rf /tmp/other; exit $status",
    { expectedCode: 1 },
  );
  expect(wrong.stdout.trimEnd().split("\n").at(-1)).toBe(
    "k3s: token is not accepted by https://10.89.77.11:6443; copy <data-dir>/server/token of that server",
  );
});

test("an experiment is played on two hosts with the rights of a CI account, and its results are fetched whole", async () => {
  await describeForCi(project);
  expect(project.resources("ci")).toEqual([]);
  await project.init("exp-smoke");
  project.configure("exp-smoke", {
    "llmeval:kind": "experiment",
    "llmeval:cluster": "ci",
    "llmeval:overrides": { placement: { worker: onAgent } },
    "pulumi:disable-default-providers": ["kubernetes"],
  });
  await project.pulumi("up", "exp-smoke", up, { timeoutMs: 240_000 });
  const { experimentId, t0, resultsDirectory } = (await project.outputs("exp-smoke")) as {
    readonly experimentId: string;
    readonly t0: { readonly unixNs: string };
    readonly resultsDirectory: string;
  };
  const timeline = checkResults(experimentId);
  expect(timeline.replicas.map(({ node }) => node)).toEqual(["agent-1"]);
  const load = await project.kubectl<List<Pod>>(
    "get",
    "pods",
    "-n",
    "exp-smoke",
    "-l",
    "app.kubernetes.io/name=load",
  );
  expect(load.items.map(({ spec }) => spec.nodeName)).toEqual(["server-1"]);
  expect({ experimentId, t0: t0.unixNs, resultsDirectory }).toEqual({
    experimentId: expect.stringMatching(/^smoke-r1-[0-9a-f]{6}$/),
    t0: timeline.t0UnixNs,
    resultsDirectory: `fetched/${experimentId}`,
  });
  expect(project.stateText("exp-smoke")).not.toMatch(secretText);
  firstRun = { id: experimentId, jobs: await jobs() };
});

test("a second `up` of a finished experiment changes nothing and plays nothing", async () => {
  await project.pulumi("up", "exp-smoke", unchanged, { timeoutMs: 60_000 });
  expect(await jobs()).toEqual(firstRun.jobs);
});

test("logs of containers, of Ray and of Serve are in Loki, under the experiment that they belong to", async () => {
  const lines = await logLines(project, '{namespace="exp-smoke"}');
  expect(new Set(lines.map(({ labels }) => labels["experiment"]))).toEqual(new Set(["smoke"]));
  for (const file of ["/logs/raylet.out", "/logs/serve/replica_", "/var/log/pods/exp-smoke_load-"]) {
    const found = await logLines(project, `{namespace="exp-smoke"} | file =~ ".*${file}.*"`);
    expect([file, found.length]).not.toEqual([file, 0]);
  }
});

test("dashboards ask for metrics that exist, apart from those that this lab cannot have", async () => {
  // Parts that are off, faults that nobody has made, and what needs cgroup v2 or a disk of the pod's own.
  const absent = /^(DCGM_|cilium_|hubble_|istio_|llmeval_fault_|container_(fs|pressure)_)/;
  // Of the simulator, of a kernel without clock discipline, and of errors that nobody has met.
  const never = [
    "(ray_)?vllm[:_]num_preemptions(_total)?",
    "(ray_)?vllm[:_]prefix_cache_hits(_total)?",
    "(ray_)?vllm[:_]prefix_cache_queries(_total)?",
    "(ray_)?vllm[:_]request_queue_time_seconds_bucket",
    "node_timex_offset_seconds",
    "ray_serve_deployment_error_counter_total",
    "ray_serve_num_http_error_requests_total",
  ];
  let unknown: string[] = [];
  // Ray exports some of its metrics a minute after the start.
  await until("all other metrics", 90, async () => {
    unknown = (await unknownMetrics(project)).filter((name) => !absent.test(name));
    const late = unknown.filter((name) => !never.includes(name));
    return late.length === 0 ? undefined : late.join(", ");
  });
  expect(unknown).toEqual(never);
});

test.concurrent("the chat page talks to the experiment's model through the entry, which asks for a password", async () => {
  const { passwords } = await project.outputs("dev", ["--show-secrets"]);
  const { entry } = passwords as { readonly entry: string };
  const address = `${hosts["server-1"]}:30080/chat/exp-smoke/`;
  expect(await chatOnce(`http://llmeval:${entry}@${address}`, "Say something.")).toMatch(/\w+/);
  expect((await fetch(`http://${address}`)).status).toBe(401);
});

test.concurrent("people and CI accounts may do what they need and nothing else", async () => {
  expect(await wrongAnswers(project, rbacCases("exp-smoke"))).toEqual([]);
});

test.concurrent("bad input is one clear error, and nothing is created", async ({ expect }) => {
  const good = { "llmeval:kind": "experiment", "llmeval:cluster": "dev", "llmeval:experiment": "smoke" };
  await project.init("exp-bad", good);
  await project.init("gone", { "llmeval:kind": "cluster", "llmeval:cluster": "lab" });
  await importCluster("gone", "https://127.0.0.1:1");
  const errors: Record<string, string> = {};
  for (const [name, config] of Object.entries({
    "misspelt key": { "llmeval:overrides": { load: { ratePerSecnd: 4 } } },
    "unknown model": { "llmeval:modelId": "falcon-h2" },
    "negative rate": { "llmeval:overrides": { load: { ratePerSecond: -4 } } },
    "missing cluster stack": { "llmeval:cluster": "nosuch" },
    "unreachable API server": { "llmeval:cluster": "gone" },
    "parallelism that does not fit": {
      "llmeval:overrides": { engine: "vllm", parallelism: { tensorParallelism: 8, acceleratorsPerPod: 8 } },
    },
  })) {
    project.configure("exp-bad", { ...good, ...config });
    const { output } = await project.pulumi("up", "exp-bad", up, { timeoutMs: 60_000, expectedCode: 1 });
    errors[name] = errorsOf(output);
    expect(project.resources("exp-bad")).toEqual([]);
  }
  expect(errors).toMatchInlineSnapshot(`
    {
      "missing cluster stack": "error: cluster stack nosuch is not deployed, or its kubeconfig cannot be decrypted with this passphrase; deploy it by: pulumi up -s nosuch, or name another one by: pulumi config set llmeval:cluster NAME; nothing was created",
      "misspelt key": "error: experiment bad cannot be used, 1 problem:
      - Pulumi.exp-bad.yaml llmeval:overrides: load.ratePerSecnd: unknown key; did you mean "ratePerSecond"? (allowed: api, arrivals, burstSize, concurrency, iterations, outputTokens, promptTokens, prompts, rampToRatePerSecond, ratePerSecond, requestTimeoutSeconds, seed, spawnRatePerSecond, stopAfterDeadSeconds, stopWhenSaturated, stream, workers)",
      "negative rate": "error: experiment bad cannot be used, 1 problem:
      - Pulumi.exp-bad.yaml llmeval:overrides: load.ratePerSecond: is -4, allowed: more than 0; give a number of requests per second more than 0, or a list of such numbers",
      "parallelism that does not fit": "error: experiment bad cannot be used, 1 problem:
      - Pulumi.exp-bad.yaml llmeval:overrides: engine: dataParallelism 1 x tensorParallelism 8 x pipelineParallelism 1 takes 8 accelerators, but cluster dev has none; use another cluster (llmeval:cluster), or the stand-in engine: pulumi config set --path llmeval:overrides.engine llm-d-inference-sim",
      "unknown model": "error: experiment bad cannot be used, 1 problem:
      - Pulumi.exp-bad.yaml llmeval:modelId: modelId: "falcon-h2" is not known; allowed: falcon-2-11b, falcon-h1-7b-instruct, gemma-2-9b, llama-3dot1-8b-instruct, mistral-0dot3-7b-instruct, phi-4, qwen-2dot5-7b-instruct; or add configs/models/falcon-h2.yaml",
      "unreachable API server": "error: the API server https://127.0.0.1:1 of cluster gone cannot be used: connect ECONNREFUSED 127.0.0.1:1; nothing was created. Start the cluster, or bring its stack up to date: pulumi up -s gone",
    }
  `);
});

/** The diagnostics of an operation; the program's own words begin with "error:". */
function errorsOf(output: string): string {
  const text = output.slice(output.indexOf("Diagnostics:"), output.indexOf("Resources:"));
  return text.replace(/^ {4}/gm, "").split("\n").slice(2).join("\n").trim();
}

/** Gives a stack the outputs of a cluster whose API server is at another address. */
async function importCluster(stack: string, server: string): Promise<void> {
  const outputs = await project.outputs("dev", ["--show-secrets"]);
  const kubeconfig = String(outputs["kubeconfig"]).replace(/server: .*/, `server: ${server}`);
  const type = "pulumi:pulumi:Stack";
  const urn = `urn:pulumi:${stack}::llm-serving-eval::${type}::llm-serving-eval-${stack}`;
  const resource = { urn, custom: false, type, outputs: { ...outputs, kubeconfig } };
  const state = { version: 3, deployment: { manifest: {}, resources: [resource] } };
  await project.run("pulumi", ["stack", "import", "-s", stack], {
    timeoutMs: 30_000,
    stdin: JSON.stringify(state),
  });
}

test.concurrent("an existing cluster is used through its kubeconfig, without K3s", async () => {
  const restore = configureCluster((config) => {
    config["gatewayApi"] = { mode: "external" };
  });
  await project.init("existing", {
    "llmeval:kind": "cluster",
    "llmeval:cluster": "lab",
    "llmeval:kubeconfig": "kubeconfig",
    "pulumi:disable-default-providers": ["kubernetes"],
  });
  const { stdout } = await project.pulumi("preview", "existing", ["--json"], { timeoutMs: 60_000 });
  restore();
  const { steps } = JSON.parse(stdout) as {
    readonly steps: readonly { readonly op: string; readonly urn: string }[];
  };
  expect(new Set(steps.map(({ op }) => op))).toEqual(new Set(["create"]));
  expect(steps.filter(({ urn }) => /K3s|command:/.test(urn))).toEqual([]);
  expect(steps.filter(({ urn }) => urn.includes("Deployment")).length).toBeGreaterThan(0);
});

test.concurrent("deploy, benchmark, collect, delete: each step alone, on a cluster and an engine that are there already", async () => {
  await playStepByStep(project);
});

test("destroy of the experiment removes its namespace; the results on disk stay", async () => {
  await project.pulumi("destroy", "exp-smoke", up, { timeoutMs: 60_000 });
  const namespaces = await project.kubectl<List<Named>>("get", "namespaces");
  expect(namespaces.items.map(({ metadata }) => metadata.name)).not.toContain("exp-smoke");
  const roles = await project.kubectl<List<Named>>("get", "clusterroles,clusterrolebindings");
  expect(roles.items.filter(({ metadata }) => metadata.name.includes("exp-smoke"))).toEqual([]);
  await until("the volume of the results to be deleted", 30, async () => {
    const { items } = await project.kubectl<List<Named>>("get", "persistentvolumes");
    return items.length === 0 ? undefined : items.map(({ metadata }) => metadata.name).join(", ");
  });
  checkResults(firstRun.id);
});

test("K3s: an agent leaves by the stack's configuration", async () => {
  configureCluster((config) => {
    config["k3s"] = { ...config["k3s"], agents: [] };
  });
  await project.pulumi("up", "dev", up, { timeoutMs: 180_000 });
  const nodes = await project.kubectl<List<Named>>("get", "nodes");
  expect(nodes.items.map(({ metadata }) => metadata.name)).toEqual(["server-1"]);
  expect(await hostState("agent-1")).toEqual(pristine["agent-1"]);
});

test("a suite of faults, a control and what cannot work is played by one command, and each verdict is right", async () => {
  const command = ["cli/llmeval.ts", "suite", "run", "lab-faults"];
  const { stdout } = await project.run("node", command, { timeoutMs: 540_000 });
  process.stdout.write(`\n${stdout.trimEnd().split("\n").slice(-12).join("\n")}\n`);
  const { cases } = readJson<SuiteState>(project.file("fetched/suites/lab-faults/state.json"));
  expect(
    cases.map(({ name, status, verdicts }) => ({
      name,
      status,
      verdicts: verdicts.map((cell) => cell.verdict),
    })),
  ).toEqual([
    // Processor stress, no fault, memory stress, and processor stress that is too weak to show.
    { name: "1-stress", status: "done", verdicts: ["valid", "control-clean", "valid", "no-effect"] },
    // A delay that this kernel cannot make, a partition, a killed container, a killed pod.
    { name: "2-kill", status: "done", verdicts: ["not-delivered", "valid", "valid", "valid"] },
  ]);
  const kills = project.file(`fetched/${cases[1]?.results.at(-1)}/verdicts.json`);
  const [delay] = readJson<Verdicts>(kills).cells;
  expect(delay?.reasons.join("\n")).toMatch(/tc|netem|qdisc/);

  const left = await ssh("server-1", "pgrep -a stress-ng || true");
  expect(left.stdout).toBe("");
  const chaos = await project.kubectl<List<Named>>("get", "networkchaos,stresschaos,podchaos", "-A");
  expect(chaos.items).toEqual([]);
  // Chaos Mesh keeps one beside each pod that it has acted on, for as long as the pod lives: the entry's.
  const networks = await project.kubectl<List<{ readonly spec: object }>>("get", "podnetworkchaos", "-A");
  expect(networks.items.map(({ spec }) => spec)).toEqual([{}]);
});

test("destroy of the cluster leaves the host as it was", async () => {
  await project.pulumi("destroy", "dev", up, { timeoutMs: 180_000 });
  expect(await hostState("server-1")).toEqual(pristine["server-1"]);
});

test("lab-down removes everything, also of a lab that was half built", async () => {
  await lab("down.sh");
  expect(labRemains()).toEqual([]);

  const half = new Running(join(repository, "lab/up.sh"), ["0"], {});
  await half.saw(/mirror: /, 60_000);
  half.kill();
  await half.end(5_000);
  await lab("down.sh");
  expect(labRemains()).toEqual([]);

  await lab("up.sh", "0");
  const [pid = ""] = readFileSync(join(labDirectory, "run/server-1.pid"), "utf8").split(" ");
  process.kill(Number(pid), "SIGKILL");
  rmSync(join(repository, ".lab"), { recursive: true });
  await lab("down.sh");
  expect(labRemains()).toEqual([]);
});
