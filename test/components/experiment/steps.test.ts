// How far an experiment goes, with what: exactly the resources of each step, of debug mode and of an engine of others.

import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import { Experiment, type ExperimentArgs } from "../../../components/experiment/experiment.ts";
import { toGateJobSpec } from "../../../components/experiment/gate.ts";
import { toLoadJobSpec } from "../../../components/experiment/load.ts";
import { toRayServiceSpec } from "../../../components/experiment/ray-service.ts";
import { toLoadSpec } from "../../../components/experiment/run-config.ts";
import { toServeConfig } from "../../../components/experiment/serve-config.ts";
import { images } from "../../../components/versions.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import { projectDir } from "../../experiments/project.ts";
import { type Recorded, record } from "../../support/record.ts";

const run = { namespace: "exp-smoke", experiment: "smoke", experimentId: "smoke-r1-3f9ac2" };
const resolved = resolveExperiment({ projectDir, name: "smoke-cpu-stress" });

const existing = resolveExperiment({
  projectDir,
  name: "smoke",
  overrides: [
    {
      file: "test",
      values: { engine: "existing", existing: { url: "http://vllm.models.svc:8000/v1", model: "served" } },
    },
  ],
});

async function recorded(args: Partial<ExperimentArgs>): Promise<Recorded[]> {
  const { resources } = await record(() => {
    const experiment = new Experiment(
      "smoke",
      {
        ...run,
        projectDir,
        resolved,
        images,
        rayVersion: "2.55.0",
        kubeconfig: pulumi.secret("the-kubeconfig"),
        prometheusUrl: "http://prometheus.monitoring.svc:9090",
        standIns: [],
        stackInfo: { stack: "exp-smoke", cluster: "dev", capabilities: {} },
        ...args,
      },
      {},
    );
    return { timeline: experiment.timeline ?? null };
  });
  return resources;
}

const namesOf = (resources: readonly Recorded[]) =>
  resources.filter(({ type }) => !type.startsWith("pulumi:")).map(({ type, name }) => `${type} ${name}`);

const deploy = await recorded({ steps: "deploy" });
const benchmark = await recorded({ steps: "benchmark" });
const collect = await recorded({});

test("deploy: what serves and where results will lie, nothing that plays", () => {
  expect(namesOf(deploy)).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:Deployment smoke-results-reader",
      "kubernetes:core/v1:ConfigMap smoke-source-reader",
      "kubernetes:core/v1:Namespace smoke",
      "kubernetes:core/v1:PersistentVolumeClaim smoke-results-claim",
      "kubernetes:core/v1:Service smoke-results-reader",
      "kubernetes:core/v1:ServiceAccount smoke-access-collector",
      "kubernetes:core/v1:ServiceAccount smoke-access-conductor",
      "kubernetes:core/v1:ServiceAccount smoke-access-gate",
      "kubernetes:core/v1:ServiceAccount smoke-access-load",
      "kubernetes:core/v1:ServiceAccount smoke-access-ray",
      "kubernetes:core/v1:ServiceAccount smoke-access-reader",
      "kubernetes:ray.io/v1:RayService smoke-ray-service",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole smoke-cluster-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding smoke-cluster-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:Role smoke-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:Role smoke-access-conductor",
      "kubernetes:rbac.authorization.k8s.io/v1:Role smoke-access-gate",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding smoke-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding smoke-access-conductor",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding smoke-access-gate",
      "llmeval:experiment:Access smoke-access",
      "llmeval:experiment:ClusterAccess smoke-cluster-access",
      "llmeval:experiment:Experiment smoke",
      "llmeval:experiment:RayService smoke-ray",
      "llmeval:experiment:ResultsVolume smoke-results",
      "llmeval:experiment:WorkloadSources smoke-source",
    ]
  `);
});

test("benchmark adds the gate, the load, the faults and the waits for them; collect the rest", () => {
  const added = (more: Recorded[], less: Recorded[]) =>
    namesOf(more).filter((name) => !namesOf(less).includes(name));
  expect(added(deploy, benchmark)).toEqual([]);
  expect(added(benchmark, collect)).toEqual([]);
  expect(added(benchmark, deploy)).toMatchInlineSnapshot(`
    [
      "command:local:Command load-smoke-r1-3f9ac2",
      "command:local:Command t0-smoke-r1-3f9ac2",
      "kubernetes:batch/v1:Job smoke-faults-conductor-smoke-r1-3f9ac2",
      "kubernetes:batch/v1:Job smoke-gate-smoke-r1-3f9ac2",
      "kubernetes:batch/v1:Job smoke-load-smoke-r1-3f9ac2",
      "kubernetes:core/v1:ConfigMap smoke-faults-smoke-r1-3f9ac2",
      "kubernetes:core/v1:ConfigMap smoke-run-smoke-r1-3f9ac2",
      "kubernetes:core/v1:ConfigMap smoke-source-conductor",
      "kubernetes:core/v1:ConfigMap smoke-source-gate",
      "llmeval:experiment:Faults smoke-faults",
      "llmeval:experiment:Fetch smoke-fetch",
      "llmeval:experiment:Gate smoke-gate",
      "llmeval:experiment:Load smoke-load",
      "llmeval:experiment:RunConfig smoke-run",
    ]
  `);
  expect(added(collect, benchmark)).toMatchInlineSnapshot(`
    [
      "command:local:Command results-smoke-r1-3f9ac2",
      "kubernetes:batch/v1:Job smoke-collector-smoke-r1-3f9ac2",
      "kubernetes:core/v1:ConfigMap smoke-source-collector",
      "llmeval:experiment:Collector smoke-collector",
    ]
  `);
});

test("what one step has made is to the last field what the next one asks for", () => {
  const inputsOf = (resources: readonly Recorded[], names: readonly string[]) =>
    resources
      .filter(({ type, name }) => names.includes(`${type} ${name}`))
      // What a command was given is not looked at again: a load that may fail is the only difference.
      .filter(({ type }) => type !== "command:local:Command")
      .map(({ name, inputs }) => [name, inputs]);
  expect(inputsOf(benchmark, namesOf(deploy))).toEqual(inputsOf(deploy, namesOf(deploy)));
  expect(inputsOf(collect, namesOf(benchmark))).toEqual(inputsOf(benchmark, namesOf(benchmark)));
});

test("a load that fails ends a benchmark; where results are collected they come first", () => {
  const commandOf = (resources: readonly Recorded[]) =>
    resources.find(({ name }) => name === `load-${run.experimentId}`)?.inputs["create"];
  expect([commandOf(benchmark), commandOf(collect)]).toMatchInlineSnapshot(`
    [
      "node cli/llmeval.ts load --namespace exp-smoke --experiment-id smoke-r1-3f9ac2 --timeout-seconds 1103",
      "node cli/llmeval.ts load --namespace exp-smoke --experiment-id smoke-r1-3f9ac2 --timeout-seconds 1103 --keep-going",
    ]
  `);
});

test("an engine of others: no RayService, and gate and load go to it", async () => {
  const names = namesOf(await recorded({ resolved: existing }));
  expect(names.filter((name) => /ray[.]io|RayService/.test(name))).toEqual([]);
  expect(names.filter((name) => name.includes("batch/v1:Job"))).toHaveLength(3);
  expect(toLoadSpec(existing, run.experimentId, run.namespace)["target"]).toEqual({
    url: "http://vllm.models.svc:8000/v1/chat/completions",
    model: "served",
    api: "chat",
    stream: true,
    headers: {},
  });
  const { template } = toGateJobSpec({ ...run, resolved: existing, image: "node:24", sources: {} });
  const { spec } = template as {
    spec: { automountServiceAccountToken: boolean; containers: { env: unknown }[] };
  };
  expect(spec.automountServiceAccountToken).toBe(false);
  expect(spec.containers[0]?.env).toMatchInlineSnapshot(`
    [
      {
        "name": "EXPERIMENT_ID",
        "value": "smoke-r1-3f9ac2",
      },
      {
        "name": "RESULTS_DIR",
        "value": "/results/smoke-r1-3f9ac2",
      },
      {
        "name": "NAMESPACE",
        "value": "exp-smoke",
      },
      {
        "name": "SERVE_URL",
        "value": "http://vllm.models.svc:8000",
      },
      {
        "name": "MODEL",
        "value": "served",
      },
      {
        "name": "API",
        "value": "chat",
      },
      {
        "name": "EXPECTED_ANSWERS",
        "value": "5",
      },
      {
        "name": "LEAD_SECONDS",
        "value": "5",
      },
      {
        "name": "TIMEOUT_SECONDS",
        "value": "300",
      },
    ]
  `);
});

test("debug: verbose programs, and pods that stay a day beyond their deadline", () => {
  const quiet = { ...run, resolved, image: "image", sources: {}, runConfig: "run" };
  const debug = { ...quiet, debug: true };
  const deadline = (spec: { activeDeadlineSeconds?: unknown }) => Number(spec.activeDeadlineSeconds);
  expect(deadline(toGateJobSpec(debug)) - deadline(toGateJobSpec(quiet))).toBe(86_400);
  expect(deadline(toLoadJobSpec(debug)) - deadline(toLoadJobSpec(quiet))).toBe(86_400);
  const argsOf = (spec: unknown) =>
    (spec as { template: { spec: { containers: { args: string[] }[] } } }).template.spec.containers[0]?.args;
  expect(argsOf(toLoadJobSpec(quiet))).toEqual([
    "run",
    "--quiet",
    "--summary-mode=disabled",
    "/config/script.js",
  ]);
  expect(argsOf(toLoadJobSpec(debug))).toEqual([
    "run",
    "--verbose",
    "--summary-mode=disabled",
    "/config/script.js",
  ]);
  expect(JSON.stringify(toGateJobSpec(debug))).toContain('{"name":"LOG_LEVEL","value":"debug"}');
  expect(JSON.stringify(toGateJobSpec(quiet))).not.toContain("LOG_LEVEL");

  expect(toServeConfig(resolved, { debug: true })).toContain("logging_config:\n  log_level: DEBUG\n");
  expect(toServeConfig(resolved)).not.toContain("logging_config");
  const vllm = resolveExperiment({ projectDir, name: "falcon-baseline" });
  const envOf = (experiment: typeof vllm, verbose: boolean) => {
    const args = { experiment, image: "ray", serviceAccount: "ray", rayVersion: "2.55.0", debug: verbose };
    const pairs = [
      ...JSON.stringify(toRayServiceSpec(args)).matchAll(
        /{"name":"(VLLM_LOG\w+|RAY_SERVE_LOG\w+)","value":"(\w+)"}/g,
      ),
    ];
    return [...new Set(pairs.map(([, name, value]) => `${name}=${value}`))];
  };
  expect([envOf(vllm, false), envOf(vllm, true)]).toEqual([[], ["VLLM_LOGGING_LEVEL=DEBUG"]]);
  expect([envOf(resolved, false), envOf(resolved, true)]).toEqual([
    ["RAY_SERVE_LOG_TO_STDERR=0"],
    ["RAY_SERVE_LOG_TO_STDERR=1"],
  ]);
});
