// The experiment stack on Pulumi's mock engine: previews without a cluster, and one error before anything is created.

import { expect, test } from "vitest";
import { UserError } from "../../components/errors.ts";
import { experimentStack } from "../../stacks/experiment.ts";
import { type RecordOptions, record } from "../support/record.ts";

const config = { "llmeval:kind": "experiment", "llmeval:cluster": "dev" };
const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1", certificate-authority-data: Q0E=}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`;
const on = { mode: "on" };
const dev = {
  kubeconfig,
  endpoints: { prometheus: "http://p:9090" },
  capabilities: { kuberay: on, prometheus: on, storage: on },
  images: { load: "registry/load@sha256:1" },
  accelerators: {},
};
const stacks = { "organization/llm-serving-eval/dev": dev };

async function failure(options: RecordOptions): Promise<string> {
  const error = await record(experimentStack, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UserError);
  return (error as Error).message;
}

test("a preview works when the cluster's stack does not exist, with a warning", async () => {
  const { resources, logged } = await record(experimentStack, { config });
  expect(resources.filter(({ type }) => type === "kubernetes:batch/v1:Job")).toHaveLength(3);
  expect(logged.join("\n")).toMatchInlineSnapshot(
    `"warning: [runtime] cluster stack dev is not deployed, or its kubeconfig cannot be decrypted with this passphrase; deploy it by: pulumi up -s dev, or name another one by: pulumi config set llmeval:cluster NAME; this preview goes on without it, pulumi up will not"`,
  );
});

test("a preview uses the cluster's images, address of Prometheus and kubeconfig", async () => {
  const { resources, logged, outputs } = await record(experimentStack, { config, stacks });
  expect(logged).toEqual([]);
  const text = JSON.stringify(resources);
  expect(text).toContain("registry/load@sha256:1");
  expect(text).toContain("http://p:9090");
  const provider = resources.find(({ type }) => type === "pulumi:providers:kubernetes");
  expect(provider?.inputs["clusterIdentifier"]).toMatch(/^dev-[0-9a-f]{12}$/);
  expect(JSON.stringify(provider?.inputs["kubeconfig"])).toContain("127.0.0.1:1");
  const { experimentId, namespace, resultsDirectory, t0 } = outputs as Record<string, unknown>;
  expect({ namespace, resultsDirectory, t0 }).toEqual({
    namespace: "exp-smoke",
    resultsDirectory: `fetched/${experimentId}`,
    t0: { unixNs: "1795000000123456789", utc: "2026-11-18T11:06:40.123456789Z" },
  });
});

test("outputs say how far the stack went and how to go on", async () => {
  const told = async (step: string, more: Readonly<Record<string, string>> = {}) => {
    const options = { config: { ...config, "llmeval:steps": step, ...more }, stacks };
    const { outputs, logged } = await record(experimentStack, options);
    return { keys: Object.keys(outputs as object), next: (outputs as { next: string }).next, logged };
  };
  expect(await told("deploy", { "llmeval:debug": "true" })).toMatchInlineSnapshot(`
    {
      "keys": [
        "namespace",
        "steps",
        "next",
      ],
      "logged": [
        "warning: [runtime] llmeval:debug is on: every part logs in detail, which takes time; figures of this run are not those of a run without",
      ],
      "next": "http://llm-serve-svc.exp-smoke.svc:8000/v1 serves inside the cluster; play the load by: npx llmeval benchmark smoke",
    }
  `);
  expect(await told("benchmark")).toMatchInlineSnapshot(`
    {
      "keys": [
        "namespace",
        "steps",
        "next",
        "experimentId",
        "t0",
        "load",
      ],
      "logged": [],
      "next": "collect and fetch the results by: npx llmeval collect smoke",
    }
  `);
  expect(await told("collect")).toMatchInlineSnapshot(`
    {
      "keys": [
        "namespace",
        "steps",
        "next",
        "experimentId",
        "t0",
        "load",
        "summary",
        "resultsDirectory",
      ],
      "logged": [],
      "next": "play again by: npx llmeval benchmark smoke; take everything down by: npx llmeval delete smoke",
    }
  `);
});

test("an engine that is there already is no stand-in, and needs no operator in the cluster", async () => {
  const { kuberay: _kuberay, ...capabilities } = dev.capabilities;
  const overrides = { engine: "existing", existing: { url: "http://vllm.models.svc:8000" } };
  const { resources } = await record(experimentStack, {
    config: { ...config, "llmeval:overrides": JSON.stringify(overrides) },
    stacks: { "organization/llm-serving-eval/dev": { ...dev, capabilities } },
  });
  const file = resources
    .map(({ inputs }) => (inputs["data"] as Record<string, string> | undefined)?.["experiment.json"])
    .find((text) => text !== undefined);
  const { standIns, experiment } = JSON.parse(file ?? "{}") as Record<string, unknown>;
  expect(standIns).toEqual([]);
  expect(experiment).toMatchObject({
    engine: "existing",
    existing: { url: "http://vllm.models.svc:8000", model: null },
  });
});

test("up fails when the cluster's stack does not exist", async () => {
  expect(await failure({ config, preview: false })).toMatchInlineSnapshot(
    `"cluster stack dev is not deployed, or its kubeconfig cannot be decrypted with this passphrase; deploy it by: pulumi up -s dev, or name another one by: pulumi config set llmeval:cluster NAME; nothing was created"`,
  );
});

test("up fails when the API server does not answer", async () => {
  expect(await failure({ config, stacks, preview: false })).toMatchInlineSnapshot(
    `"the API server https://127.0.0.1:1 of cluster dev cannot be used: connect ECONNREFUSED 127.0.0.1:1; nothing was created. Start the cluster, or bring its stack up to date: pulumi up -s dev"`,
  );
});

test.each([true, false])("fails when a part of the cluster is off, preview %s", async (preview) => {
  const capabilities = { ...dev.capabilities, prometheus: { mode: "off", reason: "switched off" } };
  const without = { "organization/llm-serving-eval/dev": { ...dev, capabilities } };
  expect(await failure({ config, stacks: without, preview })).toMatchInlineSnapshot(`
    "cluster dev lacks what this experiment needs:
      - prometheus: switched off
    set the part's mode in the cluster's configuration to on, or to external where the cluster has it already, then: pulumi up -s dev"
  `);
});

test("the stack's own keys and the definition's are told in one error", async () => {
  const wrong = { ...config, "llmeval:run": "x", "llmeval:overrides": '{"load":{"ratePerSecond":-1}}' };
  expect(await failure({ config: wrong, stacks })).toMatchInlineSnapshot(`
    "experiment smoke cannot be used, 2 problems:
      - Pulumi.exp-smoke.yaml: llmeval:run: is "x", allowed: a whole number from 1; e.g.: pulumi config set llmeval:run 2
      - Pulumi.exp-smoke.yaml llmeval:overrides: load.ratePerSecond: is -1, allowed: more than 0; give a number of requests per second more than 0, or a list of such numbers"
  `);
});

test("the real engine on a cluster without accelerators is refused in the preview already", async () => {
  expect(await failure({ config, stacks, stack: "exp-falcon-baseline" })).toMatchInlineSnapshot(`
    "experiment falcon-baseline cannot be used, 1 problem:
      - experiments/falcon-baseline.yaml: engine: dataParallelism 1 x tensorParallelism 1 x pipelineParallelism 1 takes 1 accelerator, but cluster dev has none; use another cluster (llmeval:cluster), or the stand-in engine: pulumi config set --path llmeval:overrides.engine llm-d-inference-sim"
  `);
});
