// The GPU part: values of its chart, DCGM's fields, and the program that waits for the GPUs, run against a stand-in of the
// API server. Keys were checked by rendering gpu-operator v26.7.0; field names are those of go-dcgm of DCGM 4.5 and later.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { toCheckJobSpec } from "../../../../components/cluster/common/check-job.ts";
import { GpuOperator, gpuReadyScript } from "../../../../components/cluster/gpu/gpu-operator.ts";
import {
  gpuOperatorSchema,
  toDcgmFields,
  toExpectedGpus,
  toGpuOperatorValues,
  toSharing,
} from "../../../../components/cluster/gpu/gpu-operator-config.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { type Recorded, record } from "../../../support/record.ts";

const parse = (section: unknown) => parseConfig(gpuOperatorSchema, section, { file: "gpuOperator" });
const configMaps = { dcgm: "dcgm-metrics-1" };
const gpus = { "gpu-1": 8, "gpu-2": 4 };

test("off unless asked for", () => {
  expect(parse({}).mode).toBe("off");
});

test("the values at their defaults", () => {
  expect(toGpuOperatorValues(parse({}), configMaps)).toMatchInlineSnapshot(`
    {
      "cdi": {
        "enabled": true,
        "nriPluginEnabled": false,
      },
      "dcgmExporter": {
        "config": {
          "name": "dcgm-metrics-1",
        },
        "enablePodLabels": true,
        "enabled": true,
        "env": [
          {
            "name": "DCGM_EXPORTER_INTERVAL",
            "value": "1000",
          },
          {
            "name": "DCGM_EXPORTER_CLOCK_EVENTS_COUNT_WINDOW_SIZE",
            "value": "10000",
          },
          {
            "name": "DCGM_EXPORTER_XID_COUNT_WINDOW_SIZE",
            "value": "10000",
          },
        ],
        "podLabelAllowlistRegex": [
          "^app$",
          "^ray\\.io/(cluster|group)$",
          "^llmeval/experiment(-id)?$",
        ],
        "resources": {
          "limits": {
            "memory": "1Gi",
          },
          "requests": {
            "cpu": "100m",
            "memory": "256Mi",
          },
        },
        "serviceMonitor": {
          "enabled": false,
        },
      },
      "devicePlugin": {
        "resources": {
          "limits": {
            "memory": "256Mi",
          },
          "requests": {
            "cpu": "10m",
            "memory": "64Mi",
          },
        },
      },
      "driver": {
        "enabled": false,
      },
      "gfd": {
        "resources": {
          "limits": {
            "memory": "256Mi",
          },
          "requests": {
            "cpu": "10m",
            "memory": "64Mi",
          },
        },
      },
      "mig": {
        "strategy": "single",
      },
      "migManager": {
        "enabled": false,
      },
      "node-feature-discovery": {
        "gc": {
          "resources": {
            "limits": {
              "memory": "256Mi",
            },
            "requests": {
              "cpu": "10m",
              "memory": "64Mi",
            },
          },
        },
        "master": {
          "resources": {
            "limits": {
              "memory": "256Mi",
            },
            "requests": {
              "cpu": "10m",
              "memory": "64Mi",
            },
          },
        },
        "worker": {
          "resources": {
            "limits": {
              "memory": "256Mi",
            },
            "requests": {
              "cpu": "10m",
              "memory": "64Mi",
            },
          },
        },
      },
      "toolkit": {
        "enabled": true,
        "env": [
          {
            "name": "CONTAINERD_SOCKET",
            "value": "/run/k3s/containerd/containerd.sock",
          },
        ],
        "resources": {
          "limits": {
            "memory": "256Mi",
          },
          "requests": {
            "cpu": "10m",
            "memory": "64Mi",
          },
        },
      },
      "validator": {
        "resources": {
          "limits": {
            "memory": "256Mi",
          },
          "requests": {
            "cpu": "10m",
            "memory": "64Mi",
          },
        },
      },
    }
  `);
});

test("the operator's driver, MIG, NRI and a moved kubelet", () => {
  const values = toGpuOperatorValues(
    parse({
      driver: "operator",
      driverVersion: "595.91.07",
      containerRuntime: "nri",
      mig: { strategy: "mixed", profile: "all-1g.10gb" },
      dcgm: { intervalMilliseconds: 5000, podLabels: [] },
      kubeletRootDir: "/data/kubelet",
    }),
    configMaps,
  );
  expect(values).toMatchObject({
    driver: { enabled: true, version: "595.91.07" },
    cdi: { enabled: true, nriPluginEnabled: true },
    mig: { strategy: "mixed" },
    migManager: { enabled: true, config: { default: "all-1g.10gb" } },
    hostPaths: { kubeletRootDir: "/data/kubelet" },
  });
  expect(values["toolkit"]).not.toHaveProperty("env");
  expect(values["dcgmExporter"]).not.toHaveProperty("enablePodLabels");
  expect((values["dcgmExporter"] as { env: unknown[] }).env[0]).toEqual({
    name: "DCGM_EXPORTER_INTERVAL",
    value: "5000",
  });
});

test("shared GPUs", () => {
  const config = parse({ timeSlicingReplicas: 4 });
  expect(toSharing(config)).toEqual({
    version: "v1",
    sharing: {
      timeSlicing: {
        failRequestsGreaterThanOne: true,
        resources: [{ name: "nvidia.com/gpu", replicas: 4 }],
      },
    },
  });
  expect(toSharing(parse({}))).toBeUndefined();
  expect(
    toGpuOperatorValues(config, { ...configMaps, sharing: "device-plugin-1" })["devicePlugin"],
  ).toMatchObject({ config: { name: "device-plugin-1", default: "default" } });
  expect(toExpectedGpus(config, { gpus })).toEqual({ "gpu-1": 32, "gpu-2": 16 });
});

test("what each node must offer", () => {
  expect(toExpectedGpus(parse({}), { gpus })).toEqual(gpus);
  expect(toExpectedGpus(parse({}), { gpus: {} })).toEqual({});
  expect(toExpectedGpus(parse({ mig: { profile: "all-1g.10gb" } }), { gpus })).toEqual({});
});

test("DCGM's fields: each once, in the exporter's notation, with one's own behind", () => {
  const own = "DCGM_FI_DEV_ENC_UTIL, gauge, Encoder utilization (%).";
  const lines = toDcgmFields(parse({ dcgm: { extraFields: [own] } }))
    .trimEnd()
    .split("\n");
  expect(lines.at(-1)).toBe(own);
  for (const line of lines) {
    // The exporter splits at commas, so that a help text must have none.
    expect(line).toMatch(/^DCGM_(FI|EXP)_[A-Z0-9_]+, (gauge|counter|label), [^,]+$/);
  }
  const names = lines.map((line) => line.split(",")[0]);
  expect(new Set(names).size).toBe(names.length);
  expect(names).toMatchInlineSnapshot(`
    [
      "DCGM_FI_DEV_SM_CLOCK",
      "DCGM_FI_DEV_MEM_CLOCK",
      "DCGM_FI_DEV_APP_SM_CLOCK",
      "DCGM_FI_DEV_APP_MEM_CLOCK",
      "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
      "DCGM_EXP_CLOCK_EVENTS_COUNT",
      "DCGM_FI_DEV_GPU_TEMP",
      "DCGM_FI_DEV_MEMORY_TEMP",
      "DCGM_FI_DEV_POWER_USAGE",
      "DCGM_FI_DEV_POWER_MGMT_LIMIT",
      "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
      "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
      "DCGM_FI_DEV_POWER_VIOLATION",
      "DCGM_FI_DEV_THERMAL_VIOLATION",
      "DCGM_FI_DEV_RELIABILITY_VIOLATION",
      "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION",
      "DCGM_FI_DEV_GPU_UTIL",
      "DCGM_FI_DEV_MEM_COPY_UTIL",
      "DCGM_FI_DEV_FB_USED",
      "DCGM_FI_DEV_FB_FREE",
      "DCGM_FI_DEV_XID_ERRORS",
      "DCGM_EXP_XID_ERRORS_COUNT",
      "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
      "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
      "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
      "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
      "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
      "DCGM_FI_PROF_SM_ACTIVE",
      "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
      "DCGM_FI_PROF_DRAM_ACTIVE",
      "DCGM_FI_PROF_PCIE_TX_BYTES",
      "DCGM_FI_PROF_PCIE_RX_BYTES",
      "DCGM_FI_DRIVER_VERSION",
      "DCGM_FI_DEV_ENC_UTIL",
    ]
  `);
});

test("what it refuses, all at once", () => {
  expect(() =>
    parse({
      driverVersion: "595.91.07",
      timeSlicingReplicas: 2,
      mig: { profile: "all-1g.10gb" },
    }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: gpuOperator: 2 problems
      - driverVersion: only driver: operator installs one; remove driverVersion or set driver: operator
      - timeSlicingReplicas: GPUs are either cut by mig or shared in time; remove one of the two]
  `);
  expect(() =>
    parse({
      timeSlicingReplicas: 1,
      mig: { profile: "1g.10gb" },
      dcgm: { intervalMilliseconds: 500, extraFields: ["GPU_UTIL"], podLabels: ["a,b"] },
    }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: gpuOperator: 6 problems
      - timeSlicingReplicas: must be at least 2, got 1
      - mig.profile: expected a name such as all-1g.10gb, got "1g.10gb"
      - dcgm.intervalMilliseconds: must be at least 1000, got 500
      - dcgm.extraFields[0]: expected "FIELD, gauge|counter|label, help", got "GPU_UTIL"
      - dcgm.podLabels[0]: expected a regular expression without a comma, got "a,b"
      - timeSlicingReplicas: GPUs are either cut by mig or shared in time; remove one of the two]
  `);
});

test("the Job of a check", () => {
  expect(
    toCheckJobSpec({
      name: "gpu-ready",
      image: "node:test",
      configMapName: "gpu-ready-1",
      env: { EXPECTED_GPUS: "{}" },
      timeoutSeconds: 60,
      serviceAccount: "gpu-ready",
    }),
  ).toMatchInlineSnapshot(`
    {
      "activeDeadlineSeconds": 360,
      "backoffLimit": 0,
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "gpu-ready",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "automountServiceAccountToken": true,
          "containers": [
            {
              "command": [
                "node",
                "/check/main.mjs",
              ],
              "env": [
                {
                  "name": "EXPECTED_GPUS",
                  "value": "{}",
                },
              ],
              "image": "node:test",
              "name": "gpu-ready",
              "resources": {
                "limits": {
                  "memory": "256Mi",
                },
                "requests": {
                  "cpu": "10m",
                  "memory": "64Mi",
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
              "terminationMessagePolicy": "FallbackToLogsOnError",
              "volumeMounts": [
                {
                  "mountPath": "/check",
                  "name": "check",
                  "readOnly": true,
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "restartPolicy": "Never",
          "securityContext": {
            "runAsGroup": 65534,
            "runAsNonRoot": true,
            "runAsUser": 65534,
          },
          "serviceAccountName": "gpu-ready",
          "volumes": [
            {
              "configMap": {
                "name": "gpu-ready-1",
              },
              "name": "check",
            },
          ],
        },
      },
    }
  `);
});

async function resourcesOf(section: unknown) {
  const { resources } = await record(
    () =>
      void new GpuOperator("gpu", {
        config: parse({ mode: "on", ...(section as object) }),
        facts: { gpus },
        image: "node:test",
      }),
  );
  return resources;
}

/** The name that a recorded resource's object has in the cluster. */
function nameIn(resources: readonly Recorded[], name: string): string | undefined {
  const found = resources.find((resource) => resource.name === name);
  return (found?.inputs["metadata"] as { name: string } | undefined)?.name;
}

test("the release and the Job that waits for the GPUs", async () => {
  const resources = await resourcesOf({ timeSlicingReplicas: 2 });
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "kubernetes:batch/v1:Job gpu-ready",
      "kubernetes:core/v1:ConfigMap gpu-dcgm",
      "kubernetes:core/v1:ConfigMap gpu-ready-program",
      "kubernetes:core/v1:ConfigMap gpu-sharing",
      "kubernetes:core/v1:Namespace gpu-namespace",
      "kubernetes:core/v1:ServiceAccount gpu-ready-account",
      "kubernetes:helm.sh/v3:Release gpu-release",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole gpu-ready-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding gpu-ready-binding",
      "llmeval:cluster:GpuOperator gpu",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
  const named = (name: string) => resources.find((resource) => resource.name === name)?.inputs;
  const nameOf = (name: string) => nameIn(resources, name);
  expect(named("gpu-release")).toMatchObject({
    name: "gpu-operator",
    namespace: "gpu-operator",
    chart: ".charts/gpu-operator-v26.7.0.tgz",
    values: {
      dcgmExporter: { config: { name: nameOf("gpu-dcgm") } },
      devicePlugin: { config: { name: nameOf("gpu-sharing"), default: "default" } },
    },
  });
  expect(named("gpu-ready")).toMatchObject({
    metadata: { namespace: "gpu-operator", annotations: { "pulumi.com/replaceUnready": "true" } },
    spec: { backoffLimit: 0, activeDeadlineSeconds: 2100 },
  });
  const expected = { name: "EXPECTED_GPUS", value: '{"gpu-1":16,"gpu-2":8}' };
  expect(JSON.stringify(named("gpu-ready")?.["spec"])).toContain(JSON.stringify(expected));
});

test("a changed configuration is checked by a new Job", async () => {
  const jobName = async (section: unknown) => nameIn(await resourcesOf(section), "gpu-ready");
  const name = await jobName({});
  expect(name).toMatch(/^gpu-ready-[0-9a-f]{8}$/);
  expect(await jobName({ dcgm: { intervalMilliseconds: 2000 } })).not.toBe(name);
  expect(await jobName({})).toBe(name);
});

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Starts a stand-in of the API server that answers each path from the table, or with 404. */
async function serve(answers: () => Record<string, unknown>): Promise<string> {
  const server: Server = createServer((request, response) => {
    const answer =
      request.headers.authorization === "Bearer secret" ? answers()[request.url ?? ""] : undefined;
    response.writeHead(answer === undefined ? 404 : 200).end(JSON.stringify(answer ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function run(apiUrl: string, expected: Record<string, number>, timeoutSeconds = "1.5") {
  const folder = mkdtempSync(join(tmpdir(), "gpu-ready-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "main.mjs"), gpuReadyScript);
  writeFileSync(join(folder, "token"), "secret\n");
  const env = {
    API_URL: apiUrl,
    TOKEN_FILE: join(folder, "token"),
    EXPECTED_GPUS: JSON.stringify(expected),
    TIMEOUT_SECONDS: timeoutSeconds,
    STEADY_SECONDS: "0.3",
    POLL_SECONDS: "0.05",
  };
  return promisify(execFile)(process.execPath, [join(folder, "main.mjs")], { env }).then(
    ({ stdout }) => ({ code: 0, stdout, stderr: "" }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  );
}

const policyPath = "/apis/nvidia.com/v1/clusterpolicies/cluster-policy";
const ready = (reason: string, message = "") => ({
  status: { state: "ready", conditions: [{ type: "Ready", status: "True", reason, message }] },
});
const notReady = {
  status: {
    state: "notReady",
    conditions: [
      { type: "Ready", status: "False" },
      { type: "Error", status: "True", message: "states not ready: [state-driver]" },
    ],
  },
};
const node = (count: string) => ({ status: { allocatable: { "nvidia.com/gpu": count } } });

test("the program ends when the operator is ready and stays so, and nodes offer their GPUs", async () => {
  let calls = 0;
  // At first the status from before an upgrade, then the upgrade.
  const url = await serve(() => {
    calls += 1;
    return {
      [policyPath]: calls < 3 || calls > 8 ? ready("Reconciled") : notReady,
      "/api/v1/nodes/gpu-1": node("8"),
    };
  });
  expect(await run(url, { "gpu-1": 8 }, "10")).toEqual({
    code: 0,
    stdout: "ready\nthe GPU operator is notReady: states not ready: [state-driver]\nready\n",
    stderr: "",
  });
});

test.each([
  [
    "the operator's own words",
    { [policyPath]: notReady },
    "the GPU operator is notReady: states not ready: [state-driver]",
  ],
  [
    "no GPU found at all",
    { [policyPath]: ready("NoGPUNodes", "No GPU node found") },
    "the GPU operator sees no GPU: No GPU node found",
  ],
  [
    "a node with too few",
    { [policyPath]: ready("Reconciled"), "/api/v1/nodes/gpu-1": node("7") },
    "node gpu-1 offers 7 of 8 nvidia.com/gpu",
  ],
  [
    "a node that is not there",
    { [policyPath]: ready("Reconciled") },
    "the API server does not answer: GET /api/v1/nodes/gpu-1: HTTP 404",
  ],
])("the program's last words: %s", async (_, answers, words) => {
  const { code, stderr } = await run(await serve(() => answers), { "gpu-1": 8 });
  expect(code).toBe(1);
  expect(stderr).toBe(`not ready within 1.5 s: ${words}\n`);
});

test("an API server that is away is waited for", async () => {
  const { code, stderr } = await run("http://127.0.0.1:9", {});
  expect(code).toBe(1);
  expect(stderr).toMatch(/^not ready within 1.5 s: the API server does not answer: /);
});
