// The faults of a run: the plan as it stands in the ConfigMap, the conductor Job, and what an experiment registers for them.

import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import { entryRules } from "../../../components/experiment/entry-access.ts";
import { Experiment } from "../../../components/experiment/experiment.ts";
import { toConductorJobSpec, toFaultPlan } from "../../../components/experiment/faults.ts";
import { images } from "../../../components/versions.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import type { FaultPlan } from "../../../workloads/shared/faults.ts";
import { projectDir } from "../../experiments/project.ts";
import { record } from "../../support/record.ts";

const run = {
  namespace: "exp-smoke-cpu-stress",
  experiment: "smoke-cpu-stress",
  experimentId: "smoke-cpu-stress-r1-3f9ac2",
};
const resolved = resolveExperiment({ projectDir, name: "smoke-cpu-stress" });
const gpu = resolveExperiment({
  projectDir,
  name: "x",
  definition: "falcon-stress-cpu",
  overrides: [
    {
      file: "test",
      values: { faults: [{ kind: "gpu-power-cap", target: { replica: 0 }, powerWatts: 200 }] },
    },
  ],
});

test("the plan names each fault, when it acts, whom it means, and its object", () => {
  const plan = toFaultPlan({ ...run, resolved, gpuFaultImage: "ray" });
  const [entry] = plan.faults;
  expect({ ...plan, faults: plan.faults.map(({ object: _object, ...rest }) => rest) }).toEqual({
    schemaVersion: 1,
    experimentId: run.experimentId,
    faults: [
      {
        fault: "cpu",
        cell: "rate-4-iteration-1",
        kind: "cpu",
        startOffsetSeconds: 23,
        durationSeconds: 20,
        selector: "llmeval/experiment=smoke-cpu-stress,ray.io/node-type=worker",
        container: "ray-worker",
        expectedTargets: 1,
        oneShot: false,
        parameters: { workers: 1, loadPercent: 100 },
      },
    ],
  });
  expect(entry?.object?.metadata.name).toBe("fault-rate-4-iteration-1-cpu-smoke-cpu-stress-r1-3f9ac2");
  expect(entry?.object?.spec["duration"]).toBe("50s");
});

test("several faults in several cells: each has an object of its own, with its own end", () => {
  const { faults } = toFaultPlan({
    ...run,
    resolved: resolveExperiment({ projectDir, name: "falcon-staggered-faults" }),
    gpuFaultImage: "ray",
  });
  expect(
    faults.map(({ fault, cell, startOffsetSeconds, expectedTargets, oneShot, object }) => [
      fault,
      cell,
      startOffsetSeconds,
      expectedTargets,
      oneShot,
      object?.spec["duration"],
    ]),
  ).toEqual([
    ["cpu", "rate-5-iteration-1", 285, 2, false, "90s"],
    ["network-corrupt", "rate-5-iteration-1", 305, 1, false, "50s"],
    ["container-kill", "rate-5-iteration-1", 325, 1, true, undefined],
    ["cpu", "rate-5-iteration-2", 720, 2, false, "90s"],
    ["network-corrupt", "rate-5-iteration-2", 740, 1, false, "50s"],
    ["container-kill", "rate-5-iteration-2", 760, 1, true, undefined],
  ]);
  const names = faults.map(({ object }) => object?.metadata.name ?? "");
  expect(new Set(names).size).toBe(faults.length);
  for (const name of names) expect(name).toMatch(/^[a-z0-9-]{1,63}$/);
});

test("a GPU fault is two Jobs in place of an object", () => {
  const [entry] = toFaultPlan({ ...run, resolved: gpu, gpuFaultImage: "ray" }).faults;
  expect(entry).not.toHaveProperty("object");
  expect(entry?.jobs?.act).toMatchInlineSnapshot(`
    {
      "apiVersion": "batch/v1",
      "kind": "Job",
      "metadata": {
        "labels": {
          "app.kubernetes.io/name": "fault",
          "app.kubernetes.io/part-of": "llm-serving-eval",
          "llmeval/cell": "rate-5-iteration-1",
          "llmeval/experiment": "smoke-cpu-stress",
          "llmeval/experiment-id": "smoke-cpu-stress-r1-3f9ac2",
          "llmeval/fault": "gpu-power-cap",
        },
        "name": "fault-rate-5-iteration-1-gpu-power-cap-smoke-d2020921-act",
        "namespace": "exp-smoke-cpu-stress",
      },
      "spec": {
        "activeDeadlineSeconds": 420,
        "backoffLimit": 0,
        "template": {
          "metadata": {
            "labels": {
              "app.kubernetes.io/name": "fault",
              "app.kubernetes.io/part-of": "llm-serving-eval",
              "llmeval/cell": "rate-5-iteration-1",
              "llmeval/experiment": "smoke-cpu-stress",
              "llmeval/experiment-id": "smoke-cpu-stress-r1-3f9ac2",
              "llmeval/fault": "gpu-power-cap",
            },
          },
          "spec": {
            "automountServiceAccountToken": false,
            "containers": [
              {
                "command": [
                  "bash",
                  "/script/gpu-fault.sh",
                  "act",
                ],
                "env": [
                  {
                    "name": "LIMIT",
                    "value": "power",
                  },
                  {
                    "name": "VALUE",
                    "value": "200",
                  },
                  {
                    "name": "DURATION_SECONDS",
                    "value": "90",
                  },
                  {
                    "name": "DEADLINE_SECONDS",
                    "value": "120",
                  },
                  {
                    "name": "STATE_DIR",
                    "value": "/var/lib/llmeval-gpu-fault/fault-rate-5-iteration-1-gpu-power-cap-smoke-d2020921",
                  },
                  {
                    "name": "NVIDIA_VISIBLE_DEVICES",
                    "value": "all",
                  },
                  {
                    "name": "NVIDIA_DRIVER_CAPABILITIES",
                    "value": "utility",
                  },
                ],
                "image": "ray",
                "name": "act",
                "readinessProbe": {
                  "exec": {
                    "command": [
                      "cat",
                      "/tmp/injected",
                    ],
                  },
                  "periodSeconds": 1,
                },
                "resources": {
                  "limits": {
                    "memory": "256Mi",
                  },
                  "requests": {
                    "cpu": "10m",
                    "memory": "32Mi",
                  },
                },
                "securityContext": {
                  "privileged": true,
                  "runAsUser": 0,
                },
                "volumeMounts": [
                  {
                    "mountPath": "/script",
                    "name": "script",
                    "readOnly": true,
                  },
                  {
                    "mountPath": "/var/lib/llmeval-gpu-fault",
                    "name": "state",
                  },
                ],
              },
            ],
            "enableServiceLinks": false,
            "hostPID": true,
            "restartPolicy": "Never",
            "runtimeClassName": "nvidia",
            "terminationGracePeriodSeconds": 60,
            "tolerations": [
              {
                "operator": "Exists",
              },
            ],
            "volumes": [
              {
                "configMap": {
                  "name": "faults-smoke-cpu-stress-r1-3f9ac2",
                },
                "name": "script",
              },
              {
                "hostPath": {
                  "path": "/var/lib/llmeval-gpu-fault",
                  "type": "DirectoryOrCreate",
                },
                "name": "state",
              },
            ],
          },
        },
      },
    }
  `);
  const { act, guard } = entry?.jobs ?? {};
  const containers = (job: unknown) =>
    (job as { spec: { template: { spec: { containers: Record<string, unknown>[] } } } }).spec.template.spec
      .containers;
  // They differ in name, command and probe alone.
  expect(containers(guard)[0]).toEqual({
    ...containers(act)[0],
    name: "guard",
    command: ["bash", "/script/gpu-fault.sh", "guard"],
    readinessProbe: undefined,
  });
});

test("conductor", () => {
  const sources = { "package.json": "{}", "conductor/main.ts": "1;" };
  const args = { ...run, resolved, image: "node:24", gpuFaultImage: "ray", sources, gpuFaultScript: "" };
  expect(toConductorJobSpec(args)).toMatchInlineSnapshot(`
    {
      "activeDeadlineSeconds": 1133,
      "backoffLimit": 6,
      "podReplacementPolicy": "Failed",
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "conductor",
            "app.kubernetes.io/part-of": "llm-serving-eval",
            "llmeval/experiment": "smoke-cpu-stress",
            "llmeval/experiment-id": "smoke-cpu-stress-r1-3f9ac2",
          },
        },
        "spec": {
          "automountServiceAccountToken": true,
          "containers": [
            {
              "command": [
                "node",
                "/app/conductor/main.ts",
              ],
              "env": [
                {
                  "name": "EXPERIMENT_ID",
                  "value": "smoke-cpu-stress-r1-3f9ac2",
                },
                {
                  "name": "RESULTS_DIR",
                  "value": "/results/smoke-cpu-stress-r1-3f9ac2",
                },
                {
                  "name": "NAMESPACE",
                  "value": "exp-smoke-cpu-stress",
                },
                {
                  "name": "PLAN_FILE",
                  "value": "/faults/plan.json",
                },
                {
                  "name": "T0_TIMEOUT_SECONDS",
                  "value": "600",
                },
                {
                  "name": "PLAY_SECONDS",
                  "value": "108",
                },
                {
                  "name": "RECOVERY_SECONDS",
                  "value": "60",
                },
                {
                  "name": "GRACE_SECONDS",
                  "value": "60",
                },
                {
                  "name": "PROBE_PORT",
                  "value": "9",
                },
              ],
              "image": "node:24",
              "name": "conductor",
              "resources": {
                "limits": {
                  "memory": "128Mi",
                },
                "requests": {
                  "cpu": "50m",
                  "memory": "128Mi",
                },
              },
              "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {
                  "drop": [
                    "ALL",
                  ],
                },
                "readOnlyRootFilesystem": true,
              },
              "volumeMounts": [
                {
                  "mountPath": "/app",
                  "name": "app",
                  "readOnly": true,
                },
                {
                  "mountPath": "/faults",
                  "name": "faults",
                  "readOnly": true,
                },
                {
                  "mountPath": "/results",
                  "name": "results",
                  "readOnly": false,
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "restartPolicy": "OnFailure",
          "securityContext": {
            "fsGroup": 1000,
            "runAsGroup": 1000,
            "runAsNonRoot": true,
            "runAsUser": 1000,
          },
          "serviceAccountName": "conductor",
          "terminationGracePeriodSeconds": 70,
          "volumes": [
            {
              "configMap": {
                "items": [
                  {
                    "key": "package.json",
                    "path": "package.json",
                  },
                  {
                    "key": "conductor__main.ts",
                    "path": "conductor/main.ts",
                  },
                ],
                "name": "source-conductor-25915380",
              },
              "name": "app",
            },
            {
              "configMap": {
                "name": "faults-smoke-cpu-stress-r1-3f9ac2",
              },
              "name": "faults",
            },
            {
              "name": "results",
              "persistentVolumeClaim": {
                "claimName": "results",
                "readOnly": false,
              },
            },
          ],
        },
      },
    }
  `);
});

function program(experiment: typeof resolved) {
  return () => {
    new Experiment(
      "x",
      {
        ...run,
        projectDir,
        resolved: experiment,
        images,
        rayVersion: "2.55.0",
        kubeconfig: pulumi.secret("the-kubeconfig"),
        prometheusUrl: "http://prometheus.monitoring.svc:9090",
        standIns: [],
        stackInfo: { stack: "exp-x", cluster: "dev", capabilities: {} },
      },
      {},
    );
  };
}

type Inputs = {
  metadata: { name: string; annotations?: unknown };
  data?: Record<string, string>;
  rules?: unknown;
};

test("an experiment with faults opens its namespace to them, and previews the objects", async () => {
  const { resources } = await record(program(resolved));
  const inputs = (type: string, name: string) =>
    resources.find((resource) => resource.type === type && resource.name === name)
      ?.inputs as unknown as Inputs;
  expect(inputs("kubernetes:core/v1:Namespace", "x").metadata.annotations).toEqual({
    "chaos-mesh.org/inject": "enabled",
  });
  const { metadata, data } = inputs("kubernetes:core/v1:ConfigMap", `x-faults-${run.experimentId}`);
  expect(metadata.name).toBe("faults-smoke-cpu-stress-r1-3f9ac2");
  expect(Object.keys(data ?? {})).toEqual(["plan.json"]);
  const plan = JSON.parse(data?.["plan.json"] ?? "") as FaultPlan;
  expect(plan.faults[0]?.object?.kind).toBe("StressChaos");
  const names = resources
    .filter(({ name }) => name.includes("conductor"))
    .map(({ type, name }) => `${type} ${name}`);
  expect(names).toEqual([
    "kubernetes:batch/v1:Job x-faults-conductor-smoke-cpu-stress-r1-3f9ac2",
    "kubernetes:core/v1:ConfigMap x-source-conductor",
    "kubernetes:core/v1:ServiceAccount x-access-conductor",
    "kubernetes:rbac.authorization.k8s.io/v1:Role x-access-conductor",
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding x-access-conductor",
  ]);
});

const onEntry = resolveExperiment({
  projectDir,
  name: "smoke-cpu-stress",
  overrides: [
    {
      file: "test",
      values: {
        serve: { via: "entry" },
        faults: [{ kind: "network-delay", target: "entry", latencyMilliseconds: 50, cells: "odd" }],
      },
    },
  ],
});

test("a fault on the entry: the object lies with the experiment, its targets and what they need do not", async () => {
  const [entry] = toFaultPlan({ ...run, resolved: onEntry, gpuFaultImage: "ray" }).faults;
  expect(entry).toMatchObject({
    targetNamespace: "entry",
    selector: "app.kubernetes.io/name=entry",
    container: "nginx",
    expectedTargets: 1,
    object: {
      metadata: { namespace: run.namespace },
      spec: { selector: { namespaces: ["entry"], labelSelectors: { "app.kubernetes.io/name": "entry" } } },
    },
  });
  const { resources } = await record(program(onEntry));
  const outside = resources.filter(
    ({ inputs }) => (inputs["metadata"] as { namespace?: string } | undefined)?.namespace === "entry",
  );
  const metadata = {
    name: "llmeval-exp-smoke-cpu-stress-conductor",
    namespace: "entry",
    labels: {
      "app.kubernetes.io/name": "conductor",
      "app.kubernetes.io/part-of": "llm-serving-eval",
      "llmeval/experiment": "smoke-cpu-stress",
    },
  };
  expect(outside.map(({ type, inputs }) => ({ type, inputs }))).toEqual([
    {
      type: "kubernetes:rbac.authorization.k8s.io/v1:Role",
      inputs: expect.objectContaining({ metadata, rules: entryRules }),
    },
    {
      type: "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
      inputs: expect.objectContaining({
        metadata,
        subjects: [{ kind: "ServiceAccount", name: "conductor", namespace: run.namespace }],
        roleRef: {
          apiGroup: "rbac.authorization.k8s.io",
          kind: "Role",
          name: "llmeval-exp-smoke-cpu-stress-conductor",
        },
      }),
    },
  ]);
  const without = await record(program(resolved));
  expect(without.resources.filter(({ name }) => name.includes("entry"))).toEqual([]);
});

test("a fault of a GPU brings its script, and no right to make chaos objects", async () => {
  const { resources } = await record(program(gpu));
  const namespace = resources.find(({ type }) => type === "kubernetes:core/v1:Namespace");
  expect(namespace?.inputs["metadata"]).not.toHaveProperty("annotations");
  const config = resources.find(({ name }) => name === `x-faults-${run.experimentId}`)
    ?.inputs as unknown as Inputs;
  expect(config.data?.["gpu-fault.sh"]).toContain("nvidia-smi");
  const role = resources.find(({ type, name }) => type.endsWith(":Role") && name === "x-access-conductor");
  expect(JSON.stringify(role?.inputs["rules"])).not.toContain("chaos-mesh.org");
});
