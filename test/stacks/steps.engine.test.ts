// The steps of an experiment on the real Pulumi engine: going on replaces nothing, and the verbs leave no trace.

import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEngineProject, type EngineProject, limitMilliseconds } from "./engine-project.ts";

interface State {
  readonly type: string;
  readonly urn: string;
  readonly custom: boolean;
  readonly provider?: string;
  readonly inputs?: Readonly<Record<string, unknown>>;
}

interface Step {
  readonly op: string;
  readonly urn: string;
  readonly newState: State;
}

/** What the provider asks of an API server before it compares a preview with the state. */
const answers: Readonly<Record<string, unknown>> = {
  "/version": { major: "1", minor: "34", gitVersion: "v1.34.0" },
  "/api": { kind: "APIVersions", versions: ["v1"] },
  "/api/v1": { kind: "APIResourceList", groupVersion: "v1", resources: [] },
  "/apis": { kind: "APIGroupList", apiVersion: "v1", groups: [] },
  "/openapi/v2": { swagger: "2.0", info: { title: "k", version: "1" }, paths: {}, definitions: {} },
};

// What a preview has in the place of what only `up` knows.
const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

let project: EngineProject;
let server: Server;
let kubeconfig: string;

beforeAll(async () => {
  server = createServer((request, response) => {
    const answer = answers[(request.url ?? "").split("?", 1)[0] as string];
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer ?? { kind: "Status", status: "Failure", code: 404 }));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  kubeconfig = JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: "c", cluster: { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } },
    ],
    users: [{ name: "u", user: { token: "t" } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
  project = await createEngineProject(["exp-smoke", "dev"]);
  const on = { mode: "on" };
  const outputs = { kubeconfig, capabilities: { kuberay: on, prometheus: on, storage: on } };
  const urn = "urn:pulumi:dev::llm-serving-eval::pulumi:pulumi:Stack::llm-serving-eval-dev";
  await importState("dev", [{ urn, custom: false, type: "pulumi:pulumi:Stack", outputs }]);
}, limitMilliseconds);

afterAll(async () => {
  server?.close();
  await project?.engine.dispose();
});

async function importState(stack: string, resources: readonly unknown[]): Promise<void> {
  const file = join(project.engine.directory, "import.json");
  const manifest = { time: "2026-01-01T00:00:00Z", magic: "", version: "" };
  writeFileSync(file, JSON.stringify({ version: 3, deployment: { manifest, resources } }));
  const { code, stderr } = await project.pulumi(
    "stack",
    "import",
    "--stack",
    stack,
    "--file",
    file,
    "--force",
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) });
}

/** The state after an `up` that did what a preview shows. */
function toState(steps: readonly Step[]): unknown[] {
  const resources = steps.map(({ newState }) => {
    const { type, custom, inputs = {} } = newState;
    const isProvider = type.startsWith("pulumi:providers:");
    const known = isProvider ? { ...inputs, kubeconfig } : inputs;
    const { __internal, ...outputs } = known as Record<string, unknown>;
    const own = { __inputs: known, __initialApiVersion: known["apiVersion"], __fieldManager: "pulumi" };
    return {
      ...newState,
      inputs: known,
      outputs: type.startsWith("kubernetes:") ? { ...outputs, ...own } : outputs,
      ...(custom ? { id: isProvider ? "known" : newState.urn } : {}),
    };
  });
  // Default providers are in a state, but in no preview.
  const named = steps.map(({ newState: { provider } }) => provider?.slice(0, provider.lastIndexOf("::")));
  const urns = steps.map(({ urn }) => urn);
  const defaults = [...new Set(named)].filter((urn) => urn !== undefined && !urns.includes(urn));
  const providers = defaults.map((urn = "") => {
    const inputs = { version: urn.slice(urn.indexOf("::default_") + 10).replaceAll("_", ".") };
    const type = urn.split("::")[2];
    return { urn, type, custom: true, id: "known", inputs, outputs: inputs };
  });
  return JSON.parse(JSON.stringify([...providers, ...resources]).replaceAll(unknown, "known")) as unknown[];
}

async function previewOf(step: string): Promise<readonly Step[]> {
  // pulumi saves what --config sets into the stack's file: into a copy here.
  const copy = join(project.engine.directory, "Pulumi.exp-smoke.yaml");
  writeFileSync(copy, readFileSync(join(project.tree, "Pulumi.exp-smoke.yaml")));
  const config = ["--config-file", copy, "--config", `llmeval:steps=${step}`];
  const { code, stdout, stderr } = await project.pulumi(
    "preview",
    "--stack",
    "exp-smoke",
    "--json",
    ...config,
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const { steps, diagnostics } = JSON.parse(stdout) as { steps: Step[]; diagnostics?: unknown };
  expect(diagnostics).toBeUndefined();
  return steps;
}

/** What a preview changes, without what it leaves as it is. */
function changes(steps: readonly Step[]): string[] {
  return steps
    .filter(({ op, newState }) => op !== "same" && newState.custom)
    .map(({ op, urn, newState }) => `${op} ${newState.type} ${urn.slice(urn.lastIndexOf("::") + 2)}`)
    .map((line) => line.replace(/-r1-[0-9a-f]{6}$/, "-r1-HASH"))
    .sort();
}

test("from deploy to benchmark to collect: each step only creates; the verbs read from the state what is there", {
  timeout: 2 * limitMilliseconds,
}, async () => {
  const deploy = await previewOf("deploy");
  expect(changes(deploy).filter((line) => /batch|Command|run-|source/.test(line))).toEqual([
    "create kubernetes:core/v1:ConfigMap smoke-source-reader",
  ]);
  expect(changes(deploy).filter((line) => line.includes("RayService"))).toEqual([
    "create kubernetes:ray.io/v1:RayService smoke-ray-service",
  ]);

  await importState("exp-smoke", toState(deploy));
  const collectNothing = await project.llmeval("collect", "smoke");
  const benchmark = await previewOf("benchmark");
  expect(changes(benchmark)).toMatchInlineSnapshot(`
    [
      "create command:local:Command load-smoke-r1-HASH",
      "create command:local:Command t0-smoke-r1-HASH",
      "create kubernetes:batch/v1:Job smoke-gate-smoke-r1-HASH",
      "create kubernetes:batch/v1:Job smoke-load-smoke-r1-HASH",
      "create kubernetes:core/v1:ConfigMap smoke-run-smoke-r1-HASH",
      "create kubernetes:core/v1:ConfigMap smoke-source-gate",
    ]
  `);

  const created = benchmark.filter(({ op }) => op === "create");
  await importState("exp-smoke", toState([...deploy, ...created]));
  const collect = await previewOf("collect");
  expect(changes(collect)).toMatchInlineSnapshot(`
    [
      "create command:local:Command results-smoke-r1-HASH",
      "create kubernetes:batch/v1:Job smoke-collector-smoke-r1-HASH",
      "create kubernetes:core/v1:ConfigMap smoke-source-collector",
    ]
  `);

  const file = join(project.tree, "Pulumi.exp-smoke.yaml");
  const before = readFileSync(file, "utf8");
  const goBack = await project.llmeval("deploy", "exp-smoke");
  const again = await project.llmeval("benchmark", "smoke", "--preview", "-c", "llmeval:modelId=phi-4");
  const collected = await project.llmeval("collect", "-s", "exp-smoke", "--preview");
  expect(readFileSync(file, "utf8")).toBe(before);
  expect([again, collected].map(({ code, stderr }) => ({ code, stderr }))).toEqual([
    { code: 0, stderr: "" },
    { code: 0, stderr: "" },
  ]);
  const ids = [again, collected].map(({ stdout }) => /experimentId *: "(smoke-r\d+)-/.exec(stdout)?.[1]);
  expect(ids).toEqual(["smoke-r2", "smoke-r1"]);

  const fetched = collect.filter(({ op }) => op === "create");
  await importState("exp-smoke", toState([...deploy, ...created, ...fetched]));
  const recollected = await project.llmeval("collect", "smoke", "--preview");
  expect(recollected.code).toBe(0);
  // Only the collector's Job and the command that fetches are taken away, to be made again.
  expect(recollected.stdout).toContain("- 2 to delete");
  expect(
    [...recollected.stdout.matchAll(/^ - +(\S+) (\S+)-r1-\w+ delete/gm)].map(([, ...parts]) => parts),
  ).toEqual([
    ["command:local:Command", "results-smoke"],
    ["kubernetes:batch/v1:Job", "smoke-collector-smoke"],
  ]);
  expect(
    [collectNothing, goBack].map(
      ({ code, stderr }) => `${stderr.replace(/-r1-[0-9a-f]{6}/, "-r1-HASH")}(${code})`,
    ),
  ).toMatchInlineSnapshot(`
    [
      "error: exp-smoke has no run to collect; play one by: npx llmeval benchmark smoke, or everything by: pulumi up -s exp-smoke
    (1)",
      "error: exp-smoke has gone further than deploy: its engine is there, and smoke-r1-HASH has been played; nothing was changed. Play again by: npx llmeval benchmark smoke; take it down by: npx llmeval delete smoke
    (1)",
    ]
  `);
});

test("a stack that is missing is made for the step; without a cluster nothing is", {
  timeout: limitMilliseconds,
}, async () => {
  const file = join(project.tree, "Pulumi.exp-smoke-network-delay.yaml");
  const calls = [
    ["delete", "smoke-network-delay"],
    ["deploy", "smok", "--cluster", "dev"],
    ["deploy", "smoke-network-delay"],
  ];
  const refused = await Promise.all(calls.map((args) => project.llmeval(...args)));
  const texts = refused.map(({ code, stderr }) =>
    `${stderr}(${code})`.replace(/allowed: .*;/, "allowed: ...;"),
  );
  expect(texts).toMatchInlineSnapshot(`
    [
      "error: there is no stack exp-smoke-network-delay: nothing to delete
    (1)",
      "error: experiment smok cannot be used, 1 problem:
      - experiments/smok.yaml: does not exist; "smok" is not known; did you mean "smoke"? allowed: ...; write the file, or name an existing one by: pulumi config set llmeval:experiment NAME
    (1)",
      "error: there is no stack exp-smoke-network-delay yet, and nothing names the cluster for it; give the cluster's stack by --cluster, e.g. --cluster dev
    (1)",
    ]
  `);
  expect(() => readFileSync(file)).toThrow("ENOENT");

  const made = await project.llmeval("deploy", "smoke-network-delay", "--preview", "--cluster", "none");
  expect(made.stdout).toContain('steps    : "deploy"');
  expect(readFileSync(file, "utf8").replace(/^encryptionsalt:.*\n/m, "")).toMatchInlineSnapshot(`
    "config:
      llmeval:cluster: none
      llmeval:kind: experiment
      pulumi:disable-default-providers:
        - kubernetes
    "
  `);
  const gone = await project.llmeval("delete", "smoke-network-delay", "--yes", "--remove");
  expect({ code: gone.code, stderr: gone.stderr }).toEqual({ code: 0, stderr: "" });
  expect((await project.llmeval("delete", "smoke-network-delay")).stderr).toContain("there is no stack");
});

test("any value can be given by --config for one preview, as text, as a path and as JSON", {
  timeout: limitMilliseconds,
}, async () => {
  const { code, stdout } = await project.llmeval(
    ...["benchmark", "smoke", "--preview", "-c", "llmeval:modelId=gemma-2-9b"],
    ...["-c", 'llmeval:overrides={"modelId":"phi-4","load":{"ratePerSecond":[0.5,-1]}}'],
    ...["-c", "llmeval:cells=9"],
  );
  expect(code).not.toBe(0);
  expect(stdout).toContain("load.ratePerSecond[1]: is -1, allowed: more than 0");
  const paths = ["--config-path", "--config", "llmeval:overrides.load.ratePerSecond=0.5"];
  const byPath = await project.pulumi("preview", "--stack", "exp-smoke", ...paths);
  const byKey = await project.pulumi("preview", "--stack", "exp-smoke", "--config", "llmeval:modelId=phi-4");
  expect([byPath.code, byKey.code]).toEqual([0, 0]);
});
