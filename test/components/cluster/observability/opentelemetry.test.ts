// The OpenTelemetry collectors: their configurations, which the collector accepts, their pods and the component's objects.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import * as yaml from "yaml";
import { lokiLabels, lokiUrl } from "../../../../components/cluster/observability/loki.ts";
import {
  OpenTelemetry,
  type OpenTelemetryArgs,
  otlpGrpcUrl,
  otlpHttpUrl,
  tracesUrl,
} from "../../../../components/cluster/observability/opentelemetry.ts";
import {
  agentFolders,
  type OpenTelemetryConfig,
  opentelemetrySchema,
  toAgentConfig,
  toGatewayConfig,
} from "../../../../components/cluster/observability/opentelemetry-config.ts";
import {
  toAgentSpec,
  toGatewaySpec,
} from "../../../../components/cluster/observability/opentelemetry-pods.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { readSources } from "../../../../components/experiment/workload-source.ts";
import { record } from "../../../support/record.ts";
import { root, temporaryFolder } from "../../../workloads/support.ts";

const file = "configs/clusters/x.yaml";
const defaults = parseConfig(opentelemetrySchema, {}, { file });
const images = { otelCollector: "otel:test", node: "node:test" };
const workloadsDir = join(root, "workloads");

/** The component's objects as `type name`, and one object's inputs by name. */
async function objectsOf(
  config: OpenTelemetryConfig,
  more: Partial<OpenTelemetryArgs> = {},
): Promise<{ names: string[]; inputs: (name: string) => never }> {
  const args = { config, images, workloadsDir, storageClass: "fast", protect: true, ...more };
  const { resources } = await record(() => void new OpenTelemetry("otel", args));
  return {
    names: resources.map(({ type, name }) => `${type} ${name}`),
    inputs: (name) => resources.find((resource) => resource.name === name)?.inputs as never,
  };
}

function toText(config: Record<string, unknown>): string {
  return yaml.stringify(config, { lineWidth: 0, aliasDuplicateObjects: false });
}

test("the section's defaults", () => {
  expect(defaults).toEqual({
    mode: "on",
    logs: {
      enabled: true,
      kubeletRootDir: "/var/lib/kubelet",
      cpuRequestMillicores: 50,
      memoryRequestMebibytes: 128,
      memoryLimitMebibytes: 512,
    },
    traces: {
      enabled: true,
      cpuRequestMillicores: 50,
      memoryRequestMebibytes: 128,
      memoryLimitMebibytes: 512,
    },
  });
});

test("a section with mistakes", () => {
  const section = { mode: "onn", logs: { kubeletRootDir: "kubelet/" }, traces: { storageGigabytes: 4 } };
  expect(() => parseConfig(opentelemetrySchema, section, { file })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/clusters/x.yaml: 3 problems
      - traces.storageGigabytes: unknown key; did you mean "storageGibibytes"? (allowed: cpuRequestMillicores, enabled, memoryLimitMebibytes, memoryRequestMebibytes, storageGibibytes)
      - mode: "onn" is not allowed; did you mean "on"? allowed: on, off, external
      - logs.kubeletRootDir: expected an absolute path such as /var/lib/kubelet, got "kubelet/"]
  `);
});

test("the agent's configuration", () => {
  expect(toText(toAgentConfig(lokiUrl, agentFolders(defaults.logs)))).toMatchInlineSnapshot(`
    "extensions:
      health_check:
        endpoint: 0.0.0.0:13133
      file_storage:
        directory: /var/lib/otel-agent
        create_directory: true
        recreate: true
        compaction:
          on_start: true
          on_rebound: true
          directory: /var/lib/otel-agent
    receivers:
      file_log/containers:
        include_file_path: true
        include_file_name: false
        preserve_leading_whitespaces: true
        preserve_trailing_whitespaces: true
        start_at: beginning
        poll_interval: 1s
        storage: file_storage
        retry_on_failure:
          enabled: true
          max_elapsed_time: 0s
        resource:
          k8s.node.name: EXPR(env("NODE_NAME"))
        include:
          - /var/log/pods/*/*/*.log
        exclude:
          - /var/log/pods/opentelemetry_*/*/*.log
          - /var/log/pods/logging_*/*/*.log
        operators:
          - type: container
      file_log/ray:
        include_file_path: true
        include_file_name: false
        preserve_leading_whitespaces: true
        preserve_trailing_whitespaces: true
        start_at: beginning
        poll_interval: 1s
        storage: file_storage
        retry_on_failure:
          enabled: true
          max_elapsed_time: 0s
        resource:
          k8s.node.name: EXPR(env("NODE_NAME"))
        include:
          - /var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/ray-logs/session_2*/logs/**/*.{log,out,err}
        operators:
          - type: regex_parser
            id: path
            parse_from: attributes["log.file.path"]
            regex: /(?P<uid>[^/]+)/volumes/kubernetes\\.io~empty-dir/ray-logs/(?P<file>.+)$
          - type: move
            from: attributes.uid
            to: resource["k8s.pod.uid"]
          - type: remove
            field: attributes["log.file.path"]
          - type: add
            field: attributes["log.file.path"]
            value: EXPR("/tmp/ray/" + attributes.file)
          - type: remove
            field: attributes.file
          - type: regex_parser
            id: time
            regex: ^(\\[|[A-Z]+ +)?(?P<time>\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d,\\d{3})
            on_error: send_quiet
            timestamp:
              parse_from: attributes.time
              layout_type: strptime
              layout: "%Y-%m-%d %H:%M:%S,%L"
              location: UTC
          - type: remove
            field: attributes.time
            if: attributes.time != nil
    processors:
      memory_limiter:
        check_interval: 1s
        limit_percentage: 80
        spike_limit_percentage: 20
      k8s_attributes:
        filter:
          node_from_env_var: NODE_NAME
        wait_for_metadata: true
        wait_for_metadata_timeout: 60s
        watch_sync_period: 0s
        extract:
          metadata:
            - k8s.namespace.name
            - k8s.pod.name
            - k8s.pod.uid
            - k8s.node.name
          labels:
            - from: pod
              key: app.kubernetes.io/name
              tag_name: app
            - from: pod
              key: ray.io/cluster
              tag_name: ray_io_cluster
            - from: pod
              key: ray.io/node-type
              tag_name: ray_io_node_type
            - from: pod
              key: llmeval/experiment
              tag_name: experiment
            - from: pod
              key: llmeval/experiment-id
              tag_name: experiment_id
            - from: pod
              key: llmeval/replica
              tag_name: replica
        pod_association:
          - sources:
              - from: resource_attribute
                name: k8s.pod.uid
      transform/loki:
        error_mode: ignore
        log_statements:
          - context: resource
            statements:
              - set(resource.attributes["k8s.container.name"], Concat(["ray", resource.attributes["ray_io_node_type"]], "-")) where resource.attributes["k8s.container.name"] == nil and resource.attributes["ray_io_node_type"] != nil
              - set(resource.attributes["namespace"], resource.attributes["k8s.namespace.name"])
              - set(resource.attributes["pod"], resource.attributes["k8s.pod.name"])
              - set(resource.attributes["pod_uid"], resource.attributes["k8s.pod.uid"])
              - set(resource.attributes["container"], resource.attributes["k8s.container.name"])
              - set(resource.attributes["restart_count"], resource.attributes["k8s.container.restart_count"])
              - set(resource.attributes["node"], resource.attributes["k8s.node.name"])
              - set(resource.attributes["namespace"], "unknown") where resource.attributes["namespace"] == nil
              - delete_matching_keys(resource.attributes, "^k8s\\\\.")
          - context: log
            statements:
              - set(log.attributes["file"], log.attributes["log.file.path"])
              - set(log.attributes["stream"], log.attributes["log.iostream"])
              - delete_matching_keys(log.attributes, "^(log\\\\..*|logtag)$")
    exporters:
      otlp_http/loki:
        endpoint: http://loki.logging.svc:3100/otlp
        compression: zstd
        retry_on_failure:
          enabled: true
          max_elapsed_time: 0s
        sending_queue:
          enabled: true
          num_consumers: 2
          sizer: items
          queue_size: 20000
          block_on_overflow: true
          batch:
            flush_timeout: 1s
            min_size: 1000
            max_size: 5000
          storage: file_storage
    service:
      extensions:
        - health_check
        - file_storage
      telemetry:
        metrics:
          level: normal
          readers:
            - pull:
                exporter:
                  prometheus:
                    host: 0.0.0.0
                    port: 8888
      pipelines:
        logs:
          receivers:
            - file_log/containers
            - file_log/ray
          processors:
            - memory_limiter
            - k8s_attributes
            - transform/loki
          exporters:
            - otlp_http/loki
    "
  `);
});

test("the gateway's configuration", () => {
  expect(toText(toGatewayConfig(defaults.traces, "/traces", lokiUrl))).toMatchInlineSnapshot(`
    "extensions:
      health_check:
        endpoint: 0.0.0.0:13133
    receivers:
      otlp:
        protocols:
          grpc:
            endpoint: 0.0.0.0:4317
            max_recv_msg_size_mib: 16
          http:
            endpoint: 0.0.0.0:4318
    processors:
      memory_limiter:
        check_interval: 1s
        limit_percentage: 80
        spike_limit_percentage: 20
      k8s_attributes:
        wait_for_metadata: true
        wait_for_metadata_timeout: 60s
        watch_sync_period: 0s
        extract:
          metadata:
            - k8s.namespace.name
            - k8s.pod.name
            - k8s.pod.uid
            - k8s.node.name
          labels:
            - from: pod
              key: app.kubernetes.io/name
              tag_name: app
            - from: pod
              key: ray.io/cluster
              tag_name: ray_io_cluster
            - from: pod
              key: ray.io/node-type
              tag_name: ray_io_node_type
            - from: pod
              key: llmeval/experiment
              tag_name: experiment
            - from: pod
              key: llmeval/experiment-id
              tag_name: experiment_id
            - from: pod
              key: llmeval/replica
              tag_name: replica
        pod_association:
          - sources:
              - from: resource_attribute
                name: k8s.pod.uid
          - sources:
              - from: resource_attribute
                name: k8s.pod.ip
          - sources:
              - from: connection
      transform/loki:
        error_mode: ignore
        log_statements:
          - context: resource
            statements:
              - set(resource.attributes["k8s.container.name"], Concat(["ray", resource.attributes["ray_io_node_type"]], "-")) where resource.attributes["k8s.container.name"] == nil and resource.attributes["ray_io_node_type"] != nil
              - set(resource.attributes["namespace"], resource.attributes["k8s.namespace.name"])
              - set(resource.attributes["pod"], resource.attributes["k8s.pod.name"])
              - set(resource.attributes["pod_uid"], resource.attributes["k8s.pod.uid"])
              - set(resource.attributes["container"], resource.attributes["k8s.container.name"])
              - set(resource.attributes["restart_count"], resource.attributes["k8s.container.restart_count"])
              - set(resource.attributes["node"], resource.attributes["k8s.node.name"])
              - set(resource.attributes["namespace"], "unknown") where resource.attributes["namespace"] == nil
              - delete_matching_keys(resource.attributes, "^k8s\\\\.")
          - context: log
            statements:
              - set(log.attributes["file"], log.attributes["log.file.path"])
              - set(log.attributes["stream"], log.attributes["log.iostream"])
              - delete_matching_keys(log.attributes, "^(log\\\\..*|logtag)$")
    exporters:
      file:
        path: /traces/traces.jsonl
        rotation:
          max_megabytes: 64
          max_backups: 30
      otlp_http/loki:
        endpoint: http://loki.logging.svc:3100/otlp
        compression: zstd
        retry_on_failure:
          enabled: true
          max_elapsed_time: 0s
        sending_queue:
          enabled: true
          num_consumers: 2
          sizer: items
          queue_size: 20000
          block_on_overflow: true
          batch:
            flush_timeout: 1s
            min_size: 1000
            max_size: 5000
    service:
      extensions:
        - health_check
      telemetry:
        metrics:
          level: normal
          readers:
            - pull:
                exporter:
                  prometheus:
                    host: 0.0.0.0
                    port: 8888
      pipelines:
        traces:
          receivers:
            - otlp
          processors:
            - memory_limiter
            - k8s_attributes
          exporters:
            - file
        logs:
          receivers:
            - otlp
          processors:
            - memory_limiter
            - k8s_attributes
            - transform/loki
          exporters:
            - otlp_http/loki
    "
  `);
});

test("without Loki the gateway takes traces only", () => {
  const config = yaml.parse(toText(toGatewayConfig(defaults.traces, "/traces", undefined)));
  expect(config.service.pipelines).toEqual({
    traces: { receivers: ["otlp"], processors: ["memory_limiter", "k8s_attributes"], exporters: ["file"] },
  });
  expect(Object.keys(config.exporters)).toEqual(["file"]);
  expect(Object.keys(config.processors)).toEqual(["memory_limiter", "k8s_attributes"]);
});

test.for([
  [1, 14],
  [2, 30],
  [undefined, 30],
  [100, 1598],
] as const)(
  "%s GiB hold the file being written, one to spare and %s older ones",
  ([storageGibibytes, backups]) => {
    const traces = { ...defaults.traces, ...(storageGibibytes === undefined ? {} : { storageGibibytes }) };
    const config = yaml.parse(toText(toGatewayConfig(traces, "/traces", undefined)));
    expect(config.exporters.file.rotation).toEqual({ max_megabytes: 64, max_backups: backups });
  },
);

test("every label that Loki indexes is an attribute that the collectors set", () => {
  const text = toText(toAgentConfig(lokiUrl, agentFolders(defaults.logs)));
  for (const label of lokiLabels) {
    expect(text).toMatch(new RegExp(`set\\(resource\\.attributes\\["${label}"\\]|tag_name: ${label}\n`));
  }
});

test.for([
  ["agent", toAgentConfig(lokiUrl, agentFolders(defaults.logs))],
  [
    "agent of another kubelet",
    toAgentConfig(
      "https://loki.example.com",
      agentFolders({ ...defaults.logs, kubeletRootDir: "/data/kubelet" }),
    ),
  ],
  ["gateway", toGatewayConfig(defaults.traces, "/traces", lokiUrl)],
  [
    "gateway without Loki",
    toGatewayConfig({ ...defaults.traces, storageGibibytes: 10 }, "/traces", undefined),
  ],
] as const)("the collector accepts the configuration of the %s", ([, config]) => {
  const path = join(temporaryFolder(), "collector.yaml");
  writeFileSync(path, toText(config));
  const output = validate(path);
  expect(output).toBe("");
});

test("the collector refuses a configuration with a misspelt key", () => {
  const config = yaml.parse(toText(toAgentConfig(lokiUrl, agentFolders(defaults.logs))));
  config.receivers["file_log/ray"].pol_interval = "1s";
  const path = join(temporaryFolder(), "collector.yaml");
  writeFileSync(path, toText(config));
  expect(() => validate(path)).toThrow("has invalid keys: pol_interval");
});

function validate(path: string): string {
  return execFileSync(join(root, ".tools/otel-collector/otelcol-contrib"), ["validate", `--config=${path}`], {
    stdio: "pipe",
    encoding: "utf8",
    env: { NODE_NAME: "node-1" },
  });
}

test("the agent DaemonSet", () => {
  expect(toAgentSpec(defaults.logs, "otel:test", "otel-agent-1")).toMatchInlineSnapshot(`
    {
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "otel-agent",
        },
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "otel-agent",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "containers": [
            {
              "args": [
                "--config=/etc/otel/collector.yaml",
              ],
              "env": [
                {
                  "name": "GOMEMLIMIT",
                  "value": "409MiB",
                },
                {
                  "name": "NODE_NAME",
                  "valueFrom": {
                    "fieldRef": {
                      "fieldPath": "spec.nodeName",
                    },
                  },
                },
              ],
              "image": "otel:test",
              "name": "collector",
              "ports": [
                {
                  "containerPort": 8888,
                  "name": "metrics",
                },
              ],
              "readinessProbe": {
                "failureThreshold": 30,
                "httpGet": {
                  "path": "/",
                  "port": 13133,
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "512Mi",
                },
                "requests": {
                  "cpu": "50m",
                  "memory": "128Mi",
                },
              },
              "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {
                  "add": [
                    "DAC_READ_SEARCH",
                  ],
                  "drop": [
                    "ALL",
                  ],
                },
                "readOnlyRootFilesystem": true,
              },
              "volumeMounts": [
                {
                  "mountPath": "/etc/otel",
                  "name": "config",
                  "readOnly": true,
                },
                {
                  "mountPath": "/var/log/pods",
                  "name": "pod-logs",
                  "readOnly": true,
                },
                {
                  "mountPath": "/var/lib/kubelet/pods",
                  "name": "pods",
                  "readOnly": true,
                },
                {
                  "mountPath": "/var/lib/otel-agent",
                  "name": "state",
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "securityContext": {
            "runAsGroup": 0,
            "runAsUser": 0,
          },
          "serviceAccountName": "otel-agent",
          "terminationGracePeriodSeconds": 30,
          "tolerations": [
            {
              "operator": "Exists",
            },
          ],
          "volumes": [
            {
              "configMap": {
                "name": "otel-agent-1",
              },
              "name": "config",
            },
            {
              "hostPath": {
                "path": "/var/log/pods",
              },
              "name": "pod-logs",
            },
            {
              "hostPath": {
                "path": "/var/lib/kubelet/pods",
              },
              "name": "pods",
            },
            {
              "hostPath": {
                "path": "/var/lib/otel-agent",
                "type": "DirectoryOrCreate",
              },
              "name": "state",
            },
          ],
        },
      },
      "updateStrategy": {
        "rollingUpdate": {
          "maxUnavailable": "100%",
        },
        "type": "RollingUpdate",
      },
    }
  `);
});

test("the gateway Deployment", () => {
  const sources = { "package.json": "{}", "reader/main.ts": "1;" };
  expect(toGatewaySpec(defaults.traces, images, "otel-gateway-1", sources)).toMatchInlineSnapshot(`
    {
      "replicas": 1,
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "otel-gateway",
        },
      },
      "strategy": {
        "type": "Recreate",
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "otel-gateway",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "containers": [
            {
              "args": [
                "--config=/etc/otel/collector.yaml",
              ],
              "env": [
                {
                  "name": "GOMEMLIMIT",
                  "value": "409MiB",
                },
              ],
              "image": "otel:test",
              "name": "collector",
              "ports": [
                {
                  "containerPort": 4317,
                  "name": "otlp-grpc",
                },
                {
                  "containerPort": 4318,
                  "name": "otlp-http",
                },
                {
                  "containerPort": 8888,
                  "name": "metrics",
                },
              ],
              "readinessProbe": {
                "failureThreshold": 30,
                "httpGet": {
                  "path": "/",
                  "port": 13133,
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "512Mi",
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
                  "mountPath": "/etc/otel",
                  "name": "config",
                  "readOnly": true,
                },
                {
                  "mountPath": "/traces",
                  "name": "traces",
                },
              ],
            },
            {
              "command": [
                "node",
                "/app/reader/main.ts",
              ],
              "env": [
                {
                  "name": "ROOT",
                  "value": "/traces",
                },
                {
                  "name": "PORT",
                  "value": "8080",
                },
              ],
              "image": "node:test",
              "name": "reader",
              "ports": [
                {
                  "containerPort": 8080,
                  "name": "traces",
                },
              ],
              "readinessProbe": {
                "httpGet": {
                  "path": "/healthz",
                  "port": 8080,
                },
                "periodSeconds": 2,
              },
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
              "volumeMounts": [
                {
                  "mountPath": "/app",
                  "name": "app",
                  "readOnly": true,
                },
                {
                  "mountPath": "/traces",
                  "name": "traces",
                  "readOnly": true,
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
          "serviceAccountName": "otel-gateway",
          "terminationGracePeriodSeconds": 30,
          "volumes": [
            {
              "configMap": {
                "name": "otel-gateway-1",
              },
              "name": "config",
            },
            {
              "configMap": {
                "items": [
                  {
                    "key": "package.json",
                    "path": "package.json",
                  },
                  {
                    "key": "reader__main.ts",
                    "path": "reader/main.ts",
                  },
                ],
                "name": "source-reader-8b484879",
              },
              "name": "app",
            },
            {
              "emptyDir": {
                "sizeLimit": "2Gi",
              },
              "name": "traces",
            },
          ],
        },
      },
    }
  `);
});

test("a volume claim replaces the empty directory", () => {
  const spec = toGatewaySpec({ ...defaults.traces, storageGibibytes: 10 }, images, "otel-gateway-1", {});
  expect((spec.template as { spec: { volumes: unknown[] } }).spec.volumes.at(-1)).toEqual({
    name: "traces",
    persistentVolumeClaim: { claimName: "otel-traces" },
  });
});

test("all objects of the component", async () => {
  const config = { ...defaults, traces: { ...defaults.traces, storageGibibytes: 10 } };
  const { names, inputs } = await objectsOf(config, { lokiUrl });
  expect(names).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:DaemonSet otel-agent",
      "kubernetes:apps/v1:Deployment otel-gateway",
      "kubernetes:core/v1:ConfigMap otel-agent-config",
      "kubernetes:core/v1:ConfigMap otel-gateway-config",
      "kubernetes:core/v1:ConfigMap otel-reader",
      "kubernetes:core/v1:Namespace otel-namespace",
      "kubernetes:core/v1:PersistentVolumeClaim otel-traces",
      "kubernetes:core/v1:Service otel-gateway-service",
      "kubernetes:core/v1:ServiceAccount otel-otel-agent-account",
      "kubernetes:core/v1:ServiceAccount otel-otel-gateway-account",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole otel-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding otel-binding",
      "llmeval:cluster:OpenTelemetry otel",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
  expect(inputs("otel-role")).toMatchInlineSnapshot(`
    {
      "apiVersion": "rbac.authorization.k8s.io/v1",
      "kind": "ClusterRole",
      "metadata": {
        "labels": {
          "app.kubernetes.io/name": "opentelemetry",
          "app.kubernetes.io/part-of": "llm-serving-eval",
        },
        "name": "llmeval-opentelemetry",
      },
      "rules": [
        {
          "apiGroups": [
            "",
          ],
          "resources": [
            "pods",
          ],
          "verbs": [
            "get",
            "list",
            "watch",
          ],
        },
      ],
    }
  `);
  expect(inputs("otel-binding")).toMatchInlineSnapshot(`
    {
      "apiVersion": "rbac.authorization.k8s.io/v1",
      "kind": "ClusterRoleBinding",
      "metadata": {
        "labels": {
          "app.kubernetes.io/name": "opentelemetry",
          "app.kubernetes.io/part-of": "llm-serving-eval",
        },
        "name": "llmeval-opentelemetry",
      },
      "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "llmeval-opentelemetry",
      },
      "subjects": [
        {
          "kind": "ServiceAccount",
          "name": "otel-agent",
          "namespace": "opentelemetry",
        },
        {
          "kind": "ServiceAccount",
          "name": "otel-gateway",
          "namespace": "opentelemetry",
        },
      ],
    }
  `);
  expect(inputs("otel-traces")).toMatchInlineSnapshot(`
    {
      "apiVersion": "v1",
      "kind": "PersistentVolumeClaim",
      "metadata": {
        "annotations": {
          "pulumi.com/skipAwait": "true",
        },
        "labels": {
          "app.kubernetes.io/name": "otel-gateway",
          "app.kubernetes.io/part-of": "llm-serving-eval",
        },
        "name": "otel-traces",
        "namespace": "opentelemetry",
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
  expect(inputs("otel-gateway-service")).toMatchInlineSnapshot(`
    {
      "apiVersion": "v1",
      "kind": "Service",
      "metadata": {
        "annotations": {
          "pulumi.com/skipAwait": "true",
        },
        "labels": {
          "app.kubernetes.io/name": "otel-gateway",
          "app.kubernetes.io/part-of": "llm-serving-eval",
        },
        "name": "otel-gateway",
        "namespace": "opentelemetry",
      },
      "spec": {
        "ports": [
          {
            "name": "otlp-grpc",
            "port": 4317,
            "targetPort": 4317,
          },
          {
            "name": "otlp-http",
            "port": 4318,
            "targetPort": 4318,
          },
          {
            "name": "traces",
            "port": 8080,
            "targetPort": 8080,
          },
        ],
        "selector": {
          "app.kubernetes.io/name": "otel-gateway",
        },
      },
    }
  `);
  const reader = inputs("otel-reader") as { data: Record<string, string> };
  const sources = readSources(workloadsDir, "reader");
  expect(reader.data["reader__main.ts"]).toBe(sources["reader/main.ts"]);
  expect(Object.keys(reader.data).length).toBe(Object.keys(sources).length);
  expect([otlpGrpcUrl, otlpHttpUrl, tracesUrl]).toEqual([
    "http://otel-gateway.opentelemetry.svc:4317",
    "http://otel-gateway.opentelemetry.svc:4318",
    "http://otel-gateway.opentelemetry.svc:8080",
  ]);
});

test("what is off is not made", async () => {
  const noLogs = { ...defaults, logs: { ...defaults.logs, enabled: false } };
  const noTraces = { ...defaults, traces: { ...defaults.traces, enabled: false } };
  const gatewayOnly = await objectsOf(defaults);
  expect(gatewayOnly.names).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:Deployment otel-gateway",
      "kubernetes:core/v1:ConfigMap otel-gateway-config",
      "kubernetes:core/v1:ConfigMap otel-reader",
      "kubernetes:core/v1:Namespace otel-namespace",
      "kubernetes:core/v1:Service otel-gateway-service",
      "kubernetes:core/v1:ServiceAccount otel-otel-gateway-account",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole otel-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding otel-binding",
      "llmeval:cluster:OpenTelemetry otel",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
  expect((await objectsOf(noLogs, { lokiUrl })).names).toEqual(gatewayOnly.names);
  expect((await objectsOf(noTraces, { lokiUrl })).names).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:DaemonSet otel-agent",
      "kubernetes:core/v1:ConfigMap otel-agent-config",
      "kubernetes:core/v1:Namespace otel-namespace",
      "kubernetes:core/v1:ServiceAccount otel-otel-agent-account",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole otel-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding otel-binding",
      "llmeval:cluster:OpenTelemetry otel",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
});
