// kube-state-metrics: its objects to the last field, and rights that follow from what it describes.

import { expect, test } from "vitest";
import * as yaml from "yaml";
import { toCustomResourceState } from "../../../../components/cluster/observability/custom-resource-state.ts";
import {
  KubeStateMetrics,
  kubeStateMetricsSchema,
  toKubeStateMetricsArgs,
  toKubeStateMetricsRules,
  toKubeStateMetricsSpec,
} from "../../../../components/cluster/observability/kube-state-metrics.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { record } from "../../../support/record.ts";

const config = parseConfig(kubeStateMetricsSchema, {}, { file: "x" });
const nothing = { kuberay: false, chaosMesh: false };
const everything = { kuberay: true, chaosMesh: true };

test("the arguments", () => {
  expect(toKubeStateMetricsArgs(nothing)).toMatchInlineSnapshot(`
    [
      "--port=8080",
      "--telemetry-port=8081",
      "--resources=daemonsets,deployments,jobs,namespaces,nodes,persistentvolumeclaims,pods,statefulsets",
      "--metric-labels-allowlist=jobs=[app.kubernetes.io/name,llmeval/experiment,llmeval/experiment-id],namespaces=[app.kubernetes.io/part-of,llmeval/experiment],nodes=[llmeval.io/role,nvidia.com/gpu.product],pods=[app,app.kubernetes.io/name,llmeval/experiment,llmeval/experiment-id,llmeval/replica,ray.io/cluster,ray.io/group,ray.io/node-type]",
      "--metric-denylist=kube_.+_(created|metadata_generation|metadata_resource_version),kube_pod_(ips|nodeselectors|overhead_.+|restart_policy|runtimeclass_name_info|scheduler|service_account|tolerations),kube_pod_spec_volumes_.+,kube_pod_status_(qos_class|scheduled|scheduled_time|initialized_time|container_ready_time|ready_time),kube_node_(spec_pod_cidrs|status_addresses)",
    ]
  `);
  expect(toKubeStateMetricsArgs({ kuberay: false, chaosMesh: true })).toEqual([
    ...toKubeStateMetricsArgs(nothing),
    "--custom-resource-state-config-file=/etc/kube-state-metrics/custom-resources.yaml",
  ]);
});

test("the rights of its account: list and watch of what it describes", () => {
  expect(toKubeStateMetricsRules(nothing)).toEqual([
    {
      apiGroups: [""],
      resources: ["namespaces", "nodes", "persistentvolumeclaims", "pods"],
      verbs: ["list", "watch"],
    },
    {
      apiGroups: ["apps"],
      resources: ["daemonsets", "deployments", "statefulsets"],
      verbs: ["list", "watch"],
    },
    { apiGroups: ["batch"], resources: ["jobs"], verbs: ["list", "watch"] },
  ]);
  expect(toKubeStateMetricsRules(everything).slice(3)).toEqual([
    {
      apiGroups: ["apiextensions.k8s.io"],
      resources: ["customresourcedefinitions"],
      verbs: ["list", "watch"],
    },
    { apiGroups: ["ray.io"], resources: ["rayservices", "rayclusters"], verbs: ["list", "watch"] },
    {
      apiGroups: ["chaos-mesh.org"],
      resources: ["dnschaos", "iochaos", "networkchaos", "podchaos", "stresschaos", "timechaos"],
      verbs: ["list", "watch"],
    },
  ]);
});

test("every kind in the arguments is in the rights, and the other way round", () => {
  const listed = toKubeStateMetricsArgs(everything)
    .find((argument) => argument.startsWith("--resources="))
    ?.slice("--resources=".length)
    .split(",");
  const allowed = toKubeStateMetricsRules(nothing).flatMap(({ resources }) => resources as string[]);
  expect(listed).toEqual([...allowed].sort());
});

test("what it says of Ray's objects", () => {
  expect(
    yaml.stringify(toCustomResourceState({ kuberay: true, chaosMesh: false }), { lineWidth: 0 }),
  ).toMatchInlineSnapshot(`
    "kind: CustomResourceStateMetrics
    spec:
      resources:
        - groupVersionKind:
            group: ray.io
            version: v1
            kind: RayService
          resourcePlural: rayservices
          errorLogV: 4
          metricNamePrefix: llmeval
          commonLabels:
            kind: RayService
          labelsFromPath: &a1
            name:
              - metadata
              - name
            namespace:
              - metadata
              - namespace
          metrics:
            - name: ray_condition
              help: Whether a condition of a Ray object is true.
              each:
                type: Gauge
                gauge:
                  path:
                    - status
                    - conditions
                  labelsFromPath:
                    condition:
                      - type
                  valueFrom:
                    - status
            - name: ray_service_endpoints
              help: Pods behind the service of a RayService.
              each:
                type: Gauge
                gauge:
                  path:
                    - status
                    - numServeEndpoints
                  nilIsZero: true
        - groupVersionKind:
            group: ray.io
            version: v1
            kind: RayCluster
          resourcePlural: rayclusters
          errorLogV: 4
          metricNamePrefix: llmeval
          commonLabels:
            kind: RayCluster
          labelsFromPath: *a1
          metrics:
            - name: ray_condition
              help: Whether a condition of a Ray object is true.
              each:
                type: Gauge
                gauge:
                  path:
                    - status
                    - conditions
                  labelsFromPath:
                    condition:
                      - type
                  valueFrom:
                    - status
            - name: ray_cluster_desired_workers
              help: Worker pods that a RayCluster asks for.
              each:
                type: Gauge
                gauge:
                  path:
                    - status
                    - desiredWorkerReplicas
                  nilIsZero: true
            - name: ray_cluster_ready_workers
              help: Worker pods of a RayCluster that are ready.
              each:
                type: Gauge
                gauge:
                  path:
                    - status
                    - readyWorkerReplicas
                  nilIsZero: true
    "
  `);
});

test("what it says of a fault, the same for each kind", () => {
  const { spec } = toCustomResourceState({ kuberay: false, chaosMesh: true }) as {
    spec: {
      resources: { groupVersionKind: { kind: string }; commonLabels: { kind: string }; metrics: unknown }[];
    };
  };
  expect(spec.resources.map(({ commonLabels }) => commonLabels.kind)).toEqual([
    "DNSChaos",
    "IOChaos",
    "NetworkChaos",
    "PodChaos",
    "StressChaos",
    "TimeChaos",
  ]);
  for (const resource of spec.resources) {
    expect(resource.groupVersionKind.kind).toBe(resource.commonLabels.kind);
    expect(resource.metrics).toEqual(spec.resources[0]?.metrics);
  }
  expect(
    yaml.stringify(spec.resources[0], { lineWidth: 0, aliasDuplicateObjects: false }),
  ).toMatchInlineSnapshot(`
    "groupVersionKind:
      group: chaos-mesh.org
      version: v1alpha1
      kind: DNSChaos
    resourcePlural: dnschaos
    errorLogV: 4
    metricNamePrefix: llmeval
    commonLabels:
      kind: DNSChaos
    labelsFromPath:
      name:
        - metadata
        - name
      namespace:
        - metadata
        - namespace
    metrics:
      - name: fault_info
        help: What a fault is, and which phase it shall be in.
        each:
          type: Info
          info:
            labelsFromPath:
              action:
                - spec
                - action
              duration:
                - spec
                - duration
              desired_phase:
                - status
                - experiment
                - desiredPhase
              experiment:
                - metadata
                - labels
                - llmeval/experiment
              experiment_id:
                - metadata
                - labels
                - llmeval/experiment-id
      - name: fault_condition
        help: "Whether a condition of a fault is true: Selected, AllInjected, AllRecovered, Paused."
        each:
          type: Gauge
          gauge:
            path:
              - status
              - conditions
            labelsFromPath:
              condition:
                - type
            valueFrom:
              - status
      - name: fault_created_timestamp_seconds
        help: When a fault was created.
        each:
          type: Gauge
          gauge:
            path:
              - metadata
              - creationTimestamp
            nilIsZero: true
      - name: fault_target_injections
        help: How often a fault was injected into one target, a container or a pod.
        each:
          type: Gauge
          gauge:
            path:
              - status
              - experiment
              - containerRecords
            labelsFromPath:
              target:
                - id
            valueFrom:
              - injectedCount
    "
  `);
});

test("the Deployment", () => {
  expect(toKubeStateMetricsSpec(config, "ksm:test", everything, "config-1")).toMatchInlineSnapshot(`
    {
      "replicas": 1,
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "kube-state-metrics",
        },
      },
      "strategy": {
        "type": "Recreate",
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "kube-state-metrics",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "containers": [
            {
              "args": [
                "--port=8080",
                "--telemetry-port=8081",
                "--resources=daemonsets,deployments,jobs,namespaces,nodes,persistentvolumeclaims,pods,statefulsets",
                "--metric-labels-allowlist=jobs=[app.kubernetes.io/name,llmeval/experiment,llmeval/experiment-id],namespaces=[app.kubernetes.io/part-of,llmeval/experiment],nodes=[llmeval.io/role,nvidia.com/gpu.product],pods=[app,app.kubernetes.io/name,llmeval/experiment,llmeval/experiment-id,llmeval/replica,ray.io/cluster,ray.io/group,ray.io/node-type]",
                "--metric-denylist=kube_.+_(created|metadata_generation|metadata_resource_version),kube_pod_(ips|nodeselectors|overhead_.+|restart_policy|runtimeclass_name_info|scheduler|service_account|tolerations),kube_pod_spec_volumes_.+,kube_pod_status_(qos_class|scheduled|scheduled_time|initialized_time|container_ready_time|ready_time),kube_node_(spec_pod_cidrs|status_addresses)",
                "--custom-resource-state-config-file=/etc/kube-state-metrics/custom-resources.yaml",
              ],
              "image": "ksm:test",
              "livenessProbe": {
                "failureThreshold": 6,
                "httpGet": {
                  "path": "/livez",
                  "port": 8080,
                },
                "periodSeconds": 10,
              },
              "name": "kube-state-metrics",
              "ports": [
                {
                  "containerPort": 8080,
                  "name": "http-metrics",
                },
                {
                  "containerPort": 8081,
                  "name": "telemetry",
                },
              ],
              "readinessProbe": {
                "httpGet": {
                  "path": "/readyz",
                  "port": 8081,
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "512Mi",
                },
                "requests": {
                  "cpu": "20m",
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
                  "mountPath": "/etc/kube-state-metrics",
                  "name": "config",
                  "readOnly": true,
                },
              ],
            },
          ],
          "securityContext": {
            "runAsGroup": 65534,
            "runAsNonRoot": true,
            "runAsUser": 65534,
          },
          "serviceAccountName": "kube-state-metrics",
          "volumes": [
            {
              "configMap": {
                "name": "config-1",
              },
              "name": "config",
            },
          ],
        },
      },
    }
  `);
});

test("without custom resources there is no file, and none is asked for", async () => {
  const bare = await record(() => {
    new KubeStateMetrics("kube-state-metrics", { config, image: "ksm:test", parts: nothing });
  });
  expect(bare.resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:Deployment kube-state-metrics-server",
      "kubernetes:core/v1:Namespace kube-state-metrics-namespace",
      "kubernetes:core/v1:ServiceAccount kube-state-metrics-account",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole kube-state-metrics-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding kube-state-metrics-binding",
      "llmeval:cluster:KubeStateMetrics kube-state-metrics",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
  expect(JSON.stringify(bare.resources)).not.toContain("custom-resource");
  const full = await record(() => {
    new KubeStateMetrics("kube-state-metrics", { config, image: "ksm:test", parts: everything });
  });
  expect(full.resources.length).toBe(bare.resources.length + 1);
});

test("another description is another ConfigMap, which the pod names", async () => {
  const names: string[] = [];
  for (const parts of [{ kuberay: true, chaosMesh: false }, everything]) {
    const { resources } = await record(() => {
      new KubeStateMetrics("kube-state-metrics", { config, image: "ksm:test", parts });
    });
    const map = resources.find(({ name }) => name === "kube-state-metrics-config");
    const { name } = (map?.inputs["metadata"] ?? {}) as { name?: string };
    const server = resources.find((resource) => resource.name === "kube-state-metrics-server");
    expect(JSON.stringify(server?.inputs)).toContain(`"${name}"`);
    names.push(name ?? "");
  }
  expect(names[0]).toMatch(/^kube-state-metrics-[0-9a-f]{8}$/);
  expect(names[0]).not.toBe(names[1]);
});
