// The DeepFlow part: values of its chart, the agents' configuration, and the program that hands it over, run against a
// stand-in of DeepFlow's server. Keys were checked by rendering the chart 7.1.002.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import {
  agentsScript,
  DeepFlow,
  deepflowQuerierUrl,
  deepflowSchema,
  deepflowTracingUrl,
  toAgentConfig,
  toDeepFlowValues,
} from "../../../../components/cluster/observability/deepflow.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { record } from "../../../support/record.ts";

const parse = (section: unknown) => parseConfig(deepflowSchema, section, { file: "deepflow" });
const facts = { storageClass: "local-path", nodeCount: 2 };
const passwords = { mysql: "one", clickhouse: "two" };

test("off unless asked for", () => {
  expect(parse({}).mode).toBe("off");
});

test("the values at their defaults", () => {
  expect(toDeepFlowValues(parse({}), facts, passwords)).toMatchInlineSnapshot(`
    {
      "app": {
        "resources": {
          "limits": {
            "memory": "1Gi",
          },
          "requests": {
            "cpu": "50m",
            "memory": "128Mi",
          },
        },
      },
      "clickhouse": {
        "image": {
          "pullPolicy": "IfNotPresent",
        },
        "resources": {
          "limits": {
            "memory": "12Gi",
          },
          "requests": {
            "cpu": "500m",
            "memory": "1Gi",
          },
        },
        "storageConfig": {
          "persistence": [
            {
              "accessModes": [
                "ReadWriteOnce",
              ],
              "name": "clickhouse-path",
              "size": "100Gi",
              "storageClass": "local-path",
            },
            {
              "accessModes": [
                "ReadWriteOnce",
              ],
              "name": "clickhouse-storage-path",
              "size": "100Gi",
              "storageClass": "local-path",
            },
          ],
        },
      },
      "configmap": {
        "app.yaml": {
          "app": {
            "spec": {
              "l7_tracing_limit": 1000,
            },
          },
        },
        "server.yaml": {
          "ingester": {
            "ckdb": {
              "time-zone": "UTC",
            },
          },
        },
      },
      "deepflow-agent": {
        "image": {
          "pullPolicy": "IfNotPresent",
        },
        "resources": {
          "limits": {
            "memory": "1024Mi",
          },
          "requests": {
            "cpu": "100m",
            "memory": "256Mi",
          },
        },
        "tolerations": [
          {
            "operator": "Exists",
          },
        ],
      },
      "global": {
        "image": {
          "pullPolicy": "IfNotPresent",
          "repository": "docker.io/deepflowce",
        },
        "password": {
          "clickhouse": "two",
          "mysql": "one",
        },
        "replicas": 1,
        "storageClass": "local-path",
        "timezone": "UTC",
      },
      "grafana": {
        "enabled": false,
      },
      "image": {
        "app": {
          "pullPolicy": "IfNotPresent",
        },
        "server": {
          "pullPolicy": "IfNotPresent",
        },
      },
      "mysql": {
        "image": {
          "pullPolicy": "IfNotPresent",
        },
        "resources": {
          "limits": {
            "memory": "2Gi",
          },
          "requests": {
            "cpu": "100m",
            "memory": "512Mi",
          },
        },
        "storageConfig": {
          "persistence": {
            "annotations": {
              "helm.sh/resource-policy": "delete",
            },
            "size": "10Gi",
          },
        },
      },
      "server": {
        "resources": {
          "limits": {
            "memory": "4Gi",
          },
          "requests": {
            "cpu": "200m",
            "memory": "512Mi",
          },
        },
        "service": {
          "type": "ClusterIP",
        },
      },
    }
  `);
});

test("images by digest, sizes and limits", () => {
  const reference = (name: string) => `192.0.2.1:5000/${name}@sha256:0123`;
  const values = toDeepFlowValues(
    parse({
      imageRepository: "192.0.2.1:5000/deepflow",
      images: {
        server: reference("server"),
        app: reference("app"),
        agent: reference("agent"),
        clickhouse: reference("clickhouse"),
        mysql: reference("mysql"),
      },
      flowsGibibytes: 1,
      movedFlowsGibibytes: 2,
      inventoryGibibytes: 3,
      tracingSpanLimit: 500,
      agentMemoryLimitMebibytes: 512,
    }),
    facts,
    passwords,
  );
  const image = (name: string) => ({
    repository: `192.0.2.1:5000/${name}@sha256`,
    tag: "0123",
    pullPolicy: "IfNotPresent",
  });
  expect(values).toMatchObject({
    global: { image: { repository: "192.0.2.1:5000/deepflow" } },
    image: { server: image("server"), app: image("app") },
    configmap: { "app.yaml": { app: { spec: { l7_tracing_limit: 500 } } } },
    clickhouse: {
      image: image("clickhouse"),
      storageConfig: { persistence: [{ size: "1Gi" }, { size: "2Gi" }] },
    },
    mysql: { image: image("mysql"), storageConfig: { persistence: { size: "3Gi" } } },
    "deepflow-agent": { image: image("agent"), resources: { limits: { memory: "768Mi" } } },
  });
});

test("the agents' configuration", () => {
  expect(
    toAgentConfig(
      parse({
        captureInterfaces: "^eth0$",
        agentCpuLimitMillicores: 300,
        agentMemoryLimitMebibytes: 400,
      }),
    ),
  ).toEqual({
    global: { limits: { max_millicpus: 300, max_memory: 400 }, ntp: { enabled: false } },
    inputs: { cbpf: { af_packet: { interface_regex: "^eth0$" } } },
  });
});

test("the default interfaces are the hosts' own", () => {
  const own = new RegExp(parse({}).captureInterfaces);
  expect(["eth0", "ens3", "enp1s0", "eno1", "bond0", "ib0"].filter((name) => !own.test(name))).toEqual([]);
  expect(["lxc1a2b", "cilium_host", "cilium_vxlan", "veth0", "lo"].filter((name) => own.test(name))).toEqual(
    [],
  );
});

test("addresses for others", () => {
  expect([deepflowQuerierUrl, deepflowTracingUrl]).toEqual([
    "http://deepflow-server.deepflow.svc:20416",
    "http://deepflow-app.deepflow.svc:20418",
  ]);
});

test("the release with generated passwords, and the Job that configures the agents", async () => {
  const { resources } = await record(
    () =>
      void new DeepFlow("deepflow", {
        config: parse({ mode: "on" }),
        facts,
        image: "node:test",
        protect: true,
      }),
    { preview: false },
  );
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:DaemonSetPatch deepflow-agent-ready",
      "kubernetes:batch/v1:Job deepflow-agents",
      "kubernetes:core/v1:ConfigMap deepflow-agents-program",
      "kubernetes:core/v1:Namespace deepflow-namespace",
      "kubernetes:helm.sh/v3:Release deepflow-release",
      "llmeval:cluster:DeepFlow deepflow",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
      "random:index/randomPassword:RandomPassword deepflow-clickhouse-password",
      "random:index/randomPassword:RandomPassword deepflow-mysql-password",
    ]
  `);
  const named = (name: string) => resources.find((resource) => resource.name === name)?.inputs;
  expect(named("deepflow-release")).toMatchObject({
    name: "deepflow",
    namespace: "deepflow",
    chart: ".charts/deepflow-7.1.002.tgz",
    timeout: 900,
  });
  expect(JSON.stringify(named("deepflow-release")?.["values"])).toContain(
    "generated-deepflow-mysql-password",
  );
  expect(named("deepflow-agents")).toMatchInlineSnapshot(
    {
      metadata: { name: expect.stringMatching(/^deepflow-agents-[0-9a-f]{8}$/) },
    },
    `
    {
      "apiVersion": "batch/v1",
      "kind": "Job",
      "metadata": {
        "annotations": {
          "pulumi.com/replaceUnready": "true",
        },
        "labels": {
          "app.kubernetes.io/name": "deepflow-agents",
          "app.kubernetes.io/part-of": "llm-serving-eval",
        },
        "name": StringMatching /\\^deepflow-agents-\\[0-9a-f\\]\\{8\\}\\$/,
        "namespace": "deepflow",
      },
      "spec": {
        "activeDeadlineSeconds": 1200,
        "backoffLimit": 0,
        "template": {
          "metadata": {
            "labels": {
              "app.kubernetes.io/name": "deepflow-agents",
              "app.kubernetes.io/part-of": "llm-serving-eval",
            },
          },
          "spec": {
            "automountServiceAccountToken": false,
            "containers": [
              {
                "command": [
                  "node",
                  "/check/main.mjs",
                ],
                "env": [
                  {
                    "name": "SERVER_URL",
                    "value": "http://deepflow-server.deepflow.svc:20417",
                  },
                  {
                    "name": "CONFIG_FILE",
                    "value": "/check/agents.yaml",
                  },
                  {
                    "name": "EXPECTED_AGENTS",
                    "value": "2",
                  },
                  {
                    "name": "TIMEOUT_SECONDS",
                    "value": "900",
                  },
                  {
                    "name": "POLL_SECONDS",
                    "value": "5",
                  },
                ],
                "image": "node:test",
                "name": "deepflow-agents",
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
            "volumes": [
              {
                "configMap": {
                  "name": "deepflow-agents-90f8d9cd",
                },
                "name": "check",
              },
            ],
          },
        },
      },
    }
  `,
  );
  expect(named("deepflow-agents-program")?.["data"]).toMatchObject({
    "agents.yaml": expect.stringContaining("interface_regex: ^(eth.*|en[opsx].*|bond.*|ib.*)$"),
  });
});

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

interface Agent {
  readonly NAME: string;
  readonly STATE: number;
}

/** Runs the program against a server that has no group at its first answer; says what it was sent. */
async function run(agents: readonly Agent[], expected: number) {
  let asked = 0;
  const posted: { url: string; body: string }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => void chunks.push(chunk));
    request.on("end", () => {
      const answer = (data: unknown) => response.end(JSON.stringify({ OPT_STATUS: "SUCCESS", DATA: data }));
      if (request.method === "POST") {
        posted.push({ url: request.url ?? "", body: Buffer.concat(chunks).toString() });
        answer("");
      } else if (request.url === "/v1/vtap-groups/") {
        asked += 1;
        answer(asked === 1 ? [] : [{ NAME: "default", LCUUID: "group-1" }]);
      } else if (request.url === "/v1/vtaps/") {
        answer(agents);
      } else {
        response.writeHead(404).end(JSON.stringify({ OPT_STATUS: "FAIL", DESCRIPTION: "no such path" }));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => void server.close());
  const folder = mkdtempSync(join(tmpdir(), "deepflow-agents-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "main.mjs"), agentsScript);
  writeFileSync(join(folder, "agents.yaml"), "inputs: {}\n");
  const env = {
    SERVER_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    CONFIG_FILE: join(folder, "agents.yaml"),
    EXPECTED_AGENTS: String(expected),
    TIMEOUT_SECONDS: "2",
    POLL_SECONDS: "0.05",
  };
  const result = await promisify(execFile)(process.execPath, [join(folder, "main.mjs")], { env }).then(
    ({ stdout }) => ({ code: 0, stdout, stderr: "" }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  );
  return { ...result, posted };
}

test("the program configures the default group once and ends when all agents report", async () => {
  const agents = [
    { NAME: "node-1", STATE: 1 },
    { NAME: "node-2", STATE: 1 },
  ];
  expect(await run(agents, 2)).toEqual({
    code: 0,
    stdout: "the server has no group of agents named default yet\nagents are configured\n",
    stderr: "",
    posted: [{ url: "/v1/agent-group-configuration/group-1/yaml", body: "inputs: {}\n" }],
  });
});

test("the program's last words name the agents that do not report", async () => {
  const agents = [
    { NAME: "node-1", STATE: 1 },
    { NAME: "node-2", STATE: 0 },
  ];
  const { code, stderr, posted } = await run(agents, 2);
  expect({ code, stderr, posts: posted.length }).toEqual({
    code: 1,
    stderr: "not ready within 2 s: 1 of 2 agents report; not: node-2 (state 0)\n",
    posts: 1,
  });
});
