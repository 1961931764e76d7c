// Loki: its configuration, which Loki itself accepts, its pod, and the objects of the component.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import * as yaml from "yaml";
import {
  Loki,
  lokiSchema,
  lokiUrl,
  toLokiConfig,
  toLokiSpec,
} from "../../../../components/cluster/observability/loki.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { record } from "../../../support/record.ts";
import { root, temporaryFolder } from "../../../workloads/support.ts";

const file = "configs/clusters/x.yaml";
const defaults = parseConfig(lokiSchema, {}, { file });
const args = { image: "loki:test", storageClass: "fast", protect: true };

test("the section's defaults", () => {
  expect(defaults).toEqual({
    mode: "on",
    retention: "7d",
    cpuRequestMillicores: 100,
    memoryRequestMebibytes: 256,
    memoryLimitMebibytes: 2048,
  });
});

test("a section with mistakes", () => {
  const section = { mode: "external", retention: "12h", storageGibibytes: 0, retentoin: "7d" };
  expect(() => parseConfig(lokiSchema, section, { file })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/clusters/x.yaml: 4 problems
      - retentoin: unknown key (allowed: cpuRequestMillicores, memoryLimitMebibytes, memoryRequestMebibytes, mode, retention, storageGibibytes, url)
      - retention: expected whole days or weeks such as 7d or 2w, got "12h"
      - storageGibibytes: must be at least 1, got 0
      - url: missing; mode external needs the address under which pods reach it]
  `);
});

test("the configuration", () => {
  expect(yaml.stringify(toLokiConfig(defaults), { lineWidth: 0 })).toMatchInlineSnapshot(`
    "target: all
    auth_enabled: false
    analytics:
      reporting_enabled: false
    server:
      http_listen_port: 3100
      log_level: warn
      http_server_read_timeout: 10m
      http_server_write_timeout: 10m
      grpc_server_max_recv_msg_size: 134217728
      grpc_server_max_send_msg_size: 134217728
    common:
      instance_addr: 127.0.0.1
      path_prefix: /loki
      replication_factor: 1
      ring:
        kvstore:
          store: inmemory
      storage:
        filesystem:
          chunks_directory: /loki/chunks
          rules_directory: /loki/rules
    schema_config:
      configs:
        - from: 2024-01-01
          store: tsdb
          object_store: filesystem
          schema: v13
          index:
            prefix: index_
            period: 24h
    ingester:
      max_chunk_age: 24h
      lifecycler:
        min_ready_duration: 0s
        final_sleep: 0s
      wal:
        replay_memory_ceiling: 1024MB
    frontend:
      scheduler_dns_lookup_period: 1s
    frontend_worker:
      dns_lookup_duration: 1s
    compactor:
      working_directory: /loki/compactor
      retention_enabled: true
      delete_request_store: filesystem
    limits_config:
      retention_period: 7d
      ingestion_rate_mb: 64
      ingestion_burst_size_mb: 128
      per_stream_rate_limit: 64MB
      per_stream_rate_limit_burst: 128MB
      max_global_streams_per_user: 0
      max_line_size: 2MB
      reject_old_samples: false
      max_entries_limit_per_query: 100000
      max_query_length: 0s
      max_query_series: 10000
      query_timeout: 5m
      allow_structured_metadata: true
      discover_service_name: []
      shard_streams:
        enabled: false
      otlp_config:
        resource_attributes:
          ignore_defaults: true
          attributes_config:
            - action: index_label
              attributes:
                - namespace
                - container
                - app
                - node
    "
  `);
});

test.for([defaults, { ...defaults, retention: "2w", memoryLimitMebibytes: 513, storageGibibytes: 10 }])(
  "Loki accepts its configuration, retention $retention",
  (config) => {
    const path = join(temporaryFolder(), "loki.yaml");
    writeFileSync(path, yaml.stringify(toLokiConfig(config)));
    const output = execFileSync(join(root, ".tools/loki/loki"), ["-verify-config", `-config.file=${path}`], {
      stdio: "pipe",
      encoding: "utf8",
    });
    expect(output).toBe("");
  },
);

test("Loki refuses a configuration with a misspelt key", () => {
  const path = join(temporaryFolder(), "loki.yaml");
  writeFileSync(path, yaml.stringify({ ...toLokiConfig(defaults), compacter: {} }));
  expect(() =>
    execFileSync(join(root, ".tools/loki/loki"), ["-verify-config", `-config.file=${path}`], {
      stdio: "pipe",
    }),
  ).toThrow("field compacter not found");
});

test("the Deployment", () => {
  expect(toLokiSpec(defaults, "loki:test", "loki-1")).toMatchInlineSnapshot(`
    {
      "replicas": 1,
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "loki",
        },
      },
      "strategy": {
        "type": "Recreate",
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "loki",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "automountServiceAccountToken": false,
          "containers": [
            {
              "args": [
                "-config.file=/etc/loki/loki.yaml",
              ],
              "env": [
                {
                  "name": "GOMEMLIMIT",
                  "value": "1638MiB",
                },
              ],
              "image": "loki:test",
              "name": "loki",
              "ports": [
                {
                  "containerPort": 3100,
                  "name": "http-metrics",
                },
              ],
              "readinessProbe": {
                "failureThreshold": 30,
                "httpGet": {
                  "path": "/ready",
                  "port": 3100,
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "2048Mi",
                },
                "requests": {
                  "cpu": "100m",
                  "memory": "256Mi",
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
                  "mountPath": "/etc/loki",
                  "name": "config",
                  "readOnly": true,
                },
                {
                  "mountPath": "/loki",
                  "name": "data",
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "securityContext": {
            "fsGroup": 10001,
            "runAsGroup": 10001,
            "runAsNonRoot": true,
            "runAsUser": 10001,
          },
          "terminationGracePeriodSeconds": 60,
          "volumes": [
            {
              "configMap": {
                "name": "loki-1",
              },
              "name": "config",
            },
            {
              "emptyDir": {},
              "name": "data",
            },
          ],
        },
      },
    }
  `);
});

test("a volume claim replaces the empty directory", () => {
  const spec = toLokiSpec({ ...defaults, storageGibibytes: 10 }, "loki:test", "loki-1");
  expect((spec.template as { spec: { volumes: unknown[] } }).spec.volumes[1]).toEqual({
    name: "data",
    persistentVolumeClaim: { claimName: "loki-data" },
  });
});

test("the objects of the component, with a volume", async () => {
  const config = { ...defaults, storageGibibytes: 10 };
  const { resources } = await record(() => void new Loki("loki", { ...args, config }));
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:Deployment loki-server",
      "kubernetes:core/v1:ConfigMap loki-config",
      "kubernetes:core/v1:Namespace loki-namespace",
      "kubernetes:core/v1:PersistentVolumeClaim loki-data",
      "kubernetes:core/v1:Service loki-service",
      "llmeval:cluster:Loki loki",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
  const inputs = (name: string) => resources.find((resource) => resource.name === name)?.inputs as never;
  expect(inputs("loki-data")).toMatchInlineSnapshot(`
    {
      "apiVersion": "v1",
      "kind": "PersistentVolumeClaim",
      "metadata": {
        "annotations": {
          "pulumi.com/skipAwait": "true",
        },
        "labels": {
          "app.kubernetes.io/name": "loki",
          "app.kubernetes.io/part-of": "llm-serving-eval",
        },
        "name": "loki-data",
        "namespace": "logging",
      },
      "spec": {
        "accessModes": [
          "ReadWriteOnce",
        ],
        "resources": {
          "requests": {
            "storage": "10Gi",
          },
        },
        "storageClassName": "fast",
      },
    }
  `);
  expect(inputs("loki-service")).toMatchInlineSnapshot(`
    {
      "apiVersion": "v1",
      "kind": "Service",
      "metadata": {
        "annotations": {
          "pulumi.com/skipAwait": "true",
        },
        "labels": {
          "app.kubernetes.io/name": "loki",
          "app.kubernetes.io/part-of": "llm-serving-eval",
        },
        "name": "loki",
        "namespace": "logging",
      },
      "spec": {
        "ports": [
          {
            "name": "http",
            "port": 3100,
            "targetPort": 3100,
          },
        ],
        "selector": {
          "app.kubernetes.io/name": "loki",
        },
      },
    }
  `);
  const configMap = inputs("loki-config") as { metadata: { name: string }; data: Record<string, string> };
  expect(yaml.parse(configMap.data["loki.yaml"] as string)).toEqual(toLokiConfig(config));
  expect(inputs("loki-server")).toMatchObject({
    spec: { template: { spec: { volumes: [{ configMap: { name: configMap.metadata.name } }, {}] } } },
  });
  expect(lokiUrl).toBe("http://loki.logging.svc:3100");
});

test("another configuration is another ConfigMap, and so a new pod", async () => {
  const nameOf = async (config: typeof defaults) => {
    const { resources } = await record(() => void new Loki("loki", { ...args, config }));
    const configMap = resources.find(({ name }) => name === "loki-config");
    return (configMap as { inputs: { metadata: { name: string } } } | undefined)?.inputs.metadata.name;
  };
  const name = await nameOf(defaults);
  expect(name).toMatch(/^loki-[0-9a-f]{8}$/);
  expect(await nameOf({ ...defaults, cpuRequestMillicores: 1 })).toBe(name);
  expect(await nameOf({ ...defaults, retention: "8d" })).not.toBe(name);
});
