// What is there already: a cluster, known by its kubeconfig, with parts of others; on it an engine of another stack. An
// experiment on them goes one step at a time by llmeval's verbs: a closed loop of one's own prompts, then a run that
// fails in debug mode, then its removal.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { stringify } from "yaml";
import type { Summary } from "../../workloads/collector/summary.ts";
import type { Manifest, RequestRow } from "../../workloads/shared/rows.ts";
import { type Project, type Result, readJson, readRows } from "./support.ts";

const clusterStack = "theirs";
const stack = "exp-theirs";

/** A cluster of others: nothing of it is ours to install. */
const cluster = {
  imagesFile: ".lab/images.json",
  ...Object.fromEntries(
    ["gatewayApi", "kuberay", "kubeStateMetrics"].map((part) => [part, { mode: "external" }]),
  ),
  ...Object.fromEntries(
    ["chaosMesh", "entry", "grafana", "opentelemetry", "rbac"].map((part) => [part, { mode: "off" }]),
  ),
  prometheus: { mode: "external", url: "http://prometheus.monitoring.svc:9090" },
  loki: { mode: "external", url: "http://loki.logging.svc:3100" },
};

const theirs = {
  description: "A closed loop of own prompts on the engine of another stack",
  modelId: "falcon-h1-7b-instruct",
  engine: "existing",
  existing: { url: "http://llm-serve-svc.exp-smoke.svc:8000/v1" },
  load: {
    concurrency: 2,
    prompts: { kind: "file", file: "prompts.jsonl" },
    outputTokens: 16,
    workers: 2,
    spawnRatePerSecond: 100,
    requestTimeoutSeconds: 10,
  },
  slo: { ttftMilliseconds: 2000, attainmentShare: 0.5 },
  timeline: { profile: "smoke", warmUpSeconds: 2, beforeSeconds: 6 },
  timeouts: { gateSeconds: 60, collectSeconds: 120 },
};

const prompts = [
  { prompt: "Where does the falcon nest?" },
  { prompt: "Name three falcons.", outputTokens: 4 },
];

/** Nobody answers at this address. */
const nobody = { existing: { url: "http://nobody.exp-smoke.svc:8000" }, timeouts: { gateSeconds: 10 } };

/** Describes the cluster, behind the kubeconfig of the project's copy, by a stack of its own. */
async function describeCluster(project: Project): Promise<void> {
  writeFileSync(project.file("configs/clusters/theirs.yaml"), stringify(cluster));
  await project.init(clusterStack, {
    "llmeval:kind": "cluster",
    "llmeval:cluster": "theirs",
    "llmeval:kubeconfig": "kubeconfig",
    "pulumi:disable-default-providers": ["kubernetes"],
  });
  await project.pulumi("up", clusterStack, ["--yes", "--skip-preview"], { timeoutMs: 60_000 });
  const { endpoints, capabilities } = await project.outputs(clusterStack);
  expect(endpoints).toEqual({
    apiServer: "https://10.89.77.11:6443",
    loki: "http://loki.logging.svc:3100",
    prometheus: "http://prometheus.monitoring.svc:9090",
  });
  expect(capabilities).toMatchObject({ k3s: { mode: "external" }, kuberay: { mode: "external" } });
  expect(project.resources(clusterStack)).toEqual(["pulumi:providers:kubernetes::cluster"]);
}

export async function playStepByStep(project: Project): Promise<void> {
  await describeCluster(project);
  writeFileSync(project.file("experiments/theirs.yaml"), stringify(theirs));
  writeFileSync(project.file("prompts.jsonl"), prompts.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const step = (verb: string, args: readonly string[] = [], expectedCode = 0): Promise<Result> =>
    project.run("node", ["cli/llmeval.ts", verb, "theirs", "--yes", ...args], {
      timeoutMs: 180_000,
      expectedCode,
    });
  const jobs = async (): Promise<string[]> => {
    const { items } = await project.kubectl<{
      readonly items: readonly { readonly metadata: { readonly name: string } }[];
    }>("get", "jobs", "-n", stack);
    return items.map(({ metadata }) => metadata.name.replace(/-theirs-.*/, "")).sort();
  };

  await step("deploy", ["--cluster", clusterStack]);
  expect(await project.outputs(stack)).toEqual({
    namespace: stack,
    steps: "deploy",
    next: "http://llm-serve-svc.exp-smoke.svc:8000/v1 serves inside the cluster; play the load by: npx llmeval benchmark theirs",
  });
  expect(await jobs()).toEqual([]);
  const engines = await project.kubectl<{ readonly items: readonly unknown[] }>(
    "get",
    "rayservices",
    "-n",
    stack,
  );
  expect(engines.items).toEqual([]);

  await step("benchmark");
  const { experimentId, ...played } = (await project.outputs(stack)) as { readonly experimentId: string };
  expect(played).toMatchObject({ steps: "benchmark", load: { aborted: false } });
  expect(await jobs()).toEqual(["gate", "load"]);
  const folder = project.file(join("fetched", experimentId));
  expect(existsSync(folder)).toBe(false);

  await step("collect");
  expect(readJson<Manifest>(join(folder, "manifest.json"))).toMatchObject({ experimentId, complete: true });
  const rows = readRows<RequestRow>(join(folder, "load/requests.jsonl"));
  // Two at a time for 8 s, each of 100 ms and of 3 or 15 times 20 ms.
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter(({ status }) => status !== "ok")).toEqual([]);
  expect(new Set(rows.map(({ outputTokens }) => outputTokens))).toEqual(new Set([4, 16]));
  const { overall } = readJson<Summary>(join(folder, "summary.json"));
  expect(overall.goodput).toMatchObject({ share: 1 });

  const config = `llmeval:overrides=${JSON.stringify(nobody)}`;
  const { output } = await step("benchmark", ["--debug", "--config", config], 1);
  expect(output).toMatch(/look in \(kubeconfig: .*\n +kubectl -n exp-theirs get pods -o wide\n/);
  expect(output).toMatch(/last lines of gate:\n.*nobody\.exp-smoke/s);

  await step("delete", ["--remove"]);
  const { stdout } = await project.run("pulumi", ["stack", "ls", "--json"]);
  expect(stdout).not.toContain(stack);
  await project.pulumi("destroy", clusterStack, ["--yes", "--skip-preview"], { timeoutMs: 60_000 });
  expect(existsSync(join(folder, "manifest.json"))).toBe(true);
}
