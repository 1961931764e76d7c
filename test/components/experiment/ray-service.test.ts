// The spec of the RayService, to the last field, for both engines.

import { expect, test } from "vitest";
import { parse } from "yaml";
import { toRayServiceSpec } from "../../../components/experiment/ray-service.ts";
import { toServeConfig } from "../../../components/experiment/serve-config.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import { projectDir } from "../../experiments/project.ts";

function resolved(name: string, values: Readonly<Record<string, unknown>> = {}) {
  return resolveExperiment({ projectDir, name, overrides: [{ file: "test", values }] });
}

test("the stand-in: one worker group per replica, each with one replica slot", () => {
  const experiment = resolved("smoke", { parallelism: { dataParallelism: 2 } });
  expect(
    toRayServiceSpec({
      experiment,
      image: "registry/serve-simulator@sha256:1",
      serviceAccount: "ray",
      rayVersion: "2.55.0",
    }),
  ).toMatchInlineSnapshot(`
    {
      "excludeHeadPodFromServeSvc": true,
      "rayClusterConfig": {
        "headGroupSpec": {
          "rayStartParams": {
            "dashboard-host": "0.0.0.0",
            "include-log-monitor": "no",
            "no-monitor": "true",
            "num-cpus": "0",
            "num-gpus": "0",
            "object-store-memory": "78643200",
          },
          "template": {
            "metadata": {
              "labels": {
                "app.kubernetes.io/name": "kuberay",
                "app.kubernetes.io/part-of": "llm-serving-eval",
                "llmeval/experiment": "smoke",
              },
            },
            "spec": {
              "automountServiceAccountToken": false,
              "containers": [
                {
                  "env": [
                    {
                      "name": "RAY_USAGE_STATS_ENABLED",
                      "value": "0",
                    },
                    {
                      "name": "RAY_SERVE_USE_GRPC_BY_DEFAULT",
                      "value": "1",
                    },
                    {
                      "name": "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD",
                      "value": "0",
                    },
                    {
                      "name": "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP",
                      "value": "0",
                    },
                    {
                      "name": "RAY_SERVE_LOG_TO_STDERR",
                      "value": "0",
                    },
                    {
                      "name": "RAY_enable_worker_prestart",
                      "value": "0",
                    },
                    {
                      "name": "RAY_prestart_worker_first_driver",
                      "value": "0",
                    },
                    {
                      "name": "RAY_memory_monitor_refresh_ms",
                      "value": "0",
                    },
                  ],
                  "image": "registry/serve-simulator@sha256:1",
                  "name": "ray-head",
                  "ports": [
                    {
                      "containerPort": 6379,
                      "name": "gcs-server",
                    },
                    {
                      "containerPort": 8265,
                      "name": "dashboard",
                    },
                    {
                      "containerPort": 10001,
                      "name": "client",
                    },
                    {
                      "containerPort": 8080,
                      "name": "metrics",
                    },
                    {
                      "containerPort": 8000,
                      "name": "serve",
                    },
                  ],
                  "resources": {
                    "limits": {
                      "memory": "2Gi",
                    },
                    "requests": {
                      "cpu": "250m",
                      "memory": "2Gi",
                    },
                  },
                  "securityContext": {
                    "allowPrivilegeEscalation": false,
                  },
                  "volumeMounts": [
                    {
                      "mountPath": "/tmp/ray",
                      "name": "ray-logs",
                    },
                  ],
                },
              ],
              "enableServiceLinks": false,
              "serviceAccountName": "ray",
              "terminationGracePeriodSeconds": 10,
              "volumes": [
                {
                  "emptyDir": {
                    "sizeLimit": "10Gi",
                  },
                  "name": "ray-logs",
                },
              ],
            },
          },
        },
        "rayVersion": "2.55.0",
        "workerGroupSpecs": [
          {
            "groupName": "replica-0",
            "maxReplicas": 1,
            "minReplicas": 1,
            "numOfHosts": 1,
            "rayStartParams": {
              "include-log-monitor": "no",
              "num-cpus": "1",
              "num-gpus": "0",
              "object-store-memory": "78643200",
              "resources": ""{\\"replica_slot\\":1}"",
            },
            "replicas": 1,
            "template": {
              "metadata": {
                "labels": {
                  "app.kubernetes.io/name": "kuberay",
                  "app.kubernetes.io/part-of": "llm-serving-eval",
                  "llmeval/experiment": "smoke",
                  "llmeval/replica": "replica-0",
                },
              },
              "spec": {
                "automountServiceAccountToken": false,
                "containers": [
                  {
                    "env": [
                      {
                        "name": "RAY_USAGE_STATS_ENABLED",
                        "value": "0",
                      },
                      {
                        "name": "RAY_SERVE_USE_GRPC_BY_DEFAULT",
                        "value": "1",
                      },
                      {
                        "name": "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD",
                        "value": "0",
                      },
                      {
                        "name": "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP",
                        "value": "0",
                      },
                      {
                        "name": "RAY_SERVE_LOG_TO_STDERR",
                        "value": "0",
                      },
                      {
                        "name": "RAY_enable_worker_prestart",
                        "value": "0",
                      },
                      {
                        "name": "RAY_prestart_worker_first_driver",
                        "value": "0",
                      },
                      {
                        "name": "RAY_memory_monitor_refresh_ms",
                        "value": "0",
                      },
                    ],
                    "image": "registry/serve-simulator@sha256:1",
                    "name": "ray-worker",
                    "ports": [
                      {
                        "containerPort": 8080,
                        "name": "metrics",
                      },
                      {
                        "containerPort": 8000,
                        "name": "serve",
                      },
                      {
                        "containerPort": 8200,
                        "name": "engine-metrics",
                      },
                    ],
                    "resources": {
                      "limits": {
                        "memory": "2Gi",
                      },
                      "requests": {
                        "cpu": "250m",
                        "memory": "2Gi",
                      },
                    },
                    "securityContext": {
                      "allowPrivilegeEscalation": false,
                    },
                    "volumeMounts": [
                      {
                        "mountPath": "/tmp/ray",
                        "name": "ray-logs",
                      },
                    ],
                  },
                ],
                "enableServiceLinks": false,
                "serviceAccountName": "ray",
                "terminationGracePeriodSeconds": 10,
                "volumes": [
                  {
                    "emptyDir": {
                      "sizeLimit": "10Gi",
                    },
                    "name": "ray-logs",
                  },
                ],
              },
            },
          },
          {
            "groupName": "replica-1",
            "maxReplicas": 1,
            "minReplicas": 1,
            "numOfHosts": 1,
            "rayStartParams": {
              "include-log-monitor": "no",
              "num-cpus": "1",
              "num-gpus": "0",
              "object-store-memory": "78643200",
              "resources": ""{\\"replica_slot\\":1}"",
            },
            "replicas": 1,
            "template": {
              "metadata": {
                "labels": {
                  "app.kubernetes.io/name": "kuberay",
                  "app.kubernetes.io/part-of": "llm-serving-eval",
                  "llmeval/experiment": "smoke",
                  "llmeval/replica": "replica-1",
                },
              },
              "spec": {
                "automountServiceAccountToken": false,
                "containers": [
                  {
                    "env": [
                      {
                        "name": "RAY_USAGE_STATS_ENABLED",
                        "value": "0",
                      },
                      {
                        "name": "RAY_SERVE_USE_GRPC_BY_DEFAULT",
                        "value": "1",
                      },
                      {
                        "name": "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD",
                        "value": "0",
                      },
                      {
                        "name": "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP",
                        "value": "0",
                      },
                      {
                        "name": "RAY_SERVE_LOG_TO_STDERR",
                        "value": "0",
                      },
                      {
                        "name": "RAY_enable_worker_prestart",
                        "value": "0",
                      },
                      {
                        "name": "RAY_prestart_worker_first_driver",
                        "value": "0",
                      },
                      {
                        "name": "RAY_memory_monitor_refresh_ms",
                        "value": "0",
                      },
                    ],
                    "image": "registry/serve-simulator@sha256:1",
                    "name": "ray-worker",
                    "ports": [
                      {
                        "containerPort": 8080,
                        "name": "metrics",
                      },
                      {
                        "containerPort": 8000,
                        "name": "serve",
                      },
                      {
                        "containerPort": 8200,
                        "name": "engine-metrics",
                      },
                    ],
                    "resources": {
                      "limits": {
                        "memory": "2Gi",
                      },
                      "requests": {
                        "cpu": "250m",
                        "memory": "2Gi",
                      },
                    },
                    "securityContext": {
                      "allowPrivilegeEscalation": false,
                    },
                    "volumeMounts": [
                      {
                        "mountPath": "/tmp/ray",
                        "name": "ray-logs",
                      },
                    ],
                  },
                ],
                "enableServiceLinks": false,
                "serviceAccountName": "ray",
                "terminationGracePeriodSeconds": 10,
                "volumes": [
                  {
                    "emptyDir": {
                      "sizeLimit": "10Gi",
                    },
                    "name": "ray-logs",
                  },
                ],
              },
            },
          },
        ],
      },
      "serveConfigV2": "proxy_location: EveryNode
    http_options:
      host: 0.0.0.0
      port: 8000
    applications:
      - name: llm
        import_path: serve_simulator:build_app
        route_prefix: /
        args:
          model: falcon-h1-7b-instruct
          replicas: 2
          max_ongoing_requests: 512
          simulator:
            time_to_first_token_ms: 100
            inter_token_latency_ms: 20
            max_num_seqs: 256
            max_model_len: 8192
            seed: 1
    ",
      "upgradeStrategy": {
        "type": "None",
      },
    }
  `);
});

test("vLLM: accelerators, placement group, weights and token", () => {
  const experiment = resolved("falcon-baseline", {
    parallelism: {
      tensorParallelism: 4,
      podsPerReplica: 2,
      acceleratorsPerPod: 2,
      placementStrategy: "SPREAD",
    },
    vllm: {
      acceleratorType: "H100",
      modelCacheHostPath: "/var/lib/models",
      environment: { NCCL_DEBUG: "WARN", VLLM_USE_V1: 1 },
    },
  });
  expect(
    toRayServiceSpec({
      experiment,
      image: "registry/ray-llm:2",
      serviceAccount: "ray",
      rayVersion: "2.58.0",
      huggingFaceToken: "secret",
    }),
  ).toMatchInlineSnapshot(`
    {
      "excludeHeadPodFromServeSvc": true,
      "rayClusterConfig": {
        "headGroupSpec": {
          "rayStartParams": {
            "dashboard-host": "0.0.0.0",
            "num-cpus": "0",
            "num-gpus": "0",
          },
          "template": {
            "metadata": {
              "labels": {
                "app.kubernetes.io/name": "kuberay",
                "app.kubernetes.io/part-of": "llm-serving-eval",
                "llmeval/experiment": "falcon-baseline",
              },
            },
            "spec": {
              "affinity": {
                "nodeAffinity": {
                  "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                      "preference": {
                        "matchExpressions": [
                          {
                            "key": "nvidia.com/gpu.present",
                            "operator": "DoesNotExist",
                          },
                        ],
                      },
                      "weight": 100,
                    },
                  ],
                },
              },
              "automountServiceAccountToken": false,
              "containers": [
                {
                  "env": [
                    {
                      "name": "RAY_USAGE_STATS_ENABLED",
                      "value": "0",
                    },
                    {
                      "name": "RAY_memory_monitor_refresh_ms",
                      "value": "0",
                    },
                    {
                      "name": "NCCL_DEBUG",
                      "value": "WARN",
                    },
                    {
                      "name": "VLLM_USE_V1",
                      "value": "1",
                    },
                    {
                      "name": "HF_TOKEN",
                      "valueFrom": {
                        "secretKeyRef": {
                          "key": "token",
                          "name": "hugging-face",
                        },
                      },
                    },
                  ],
                  "image": "registry/ray-llm:2",
                  "name": "ray-head",
                  "ports": [
                    {
                      "containerPort": 6379,
                      "name": "gcs-server",
                    },
                    {
                      "containerPort": 8265,
                      "name": "dashboard",
                    },
                    {
                      "containerPort": 10001,
                      "name": "client",
                    },
                    {
                      "containerPort": 8080,
                      "name": "metrics",
                    },
                    {
                      "containerPort": 8000,
                      "name": "serve",
                    },
                  ],
                  "resources": {
                    "limits": {
                      "memory": "8Gi",
                    },
                    "requests": {
                      "cpu": "2",
                      "memory": "8Gi",
                    },
                  },
                  "securityContext": {
                    "allowPrivilegeEscalation": false,
                  },
                  "volumeMounts": [
                    {
                      "mountPath": "/tmp/ray",
                      "name": "ray-logs",
                    },
                  ],
                },
              ],
              "enableServiceLinks": false,
              "serviceAccountName": "ray",
              "terminationGracePeriodSeconds": 10,
              "volumes": [
                {
                  "emptyDir": {
                    "sizeLimit": "10Gi",
                  },
                  "name": "ray-logs",
                },
              ],
            },
          },
        },
        "rayVersion": "2.58.0",
        "workerGroupSpecs": [
          {
            "groupName": "replica-0",
            "maxReplicas": 1,
            "minReplicas": 1,
            "numOfHosts": 2,
            "rayStartParams": {
              "num-cpus": "8",
              "num-gpus": "2",
            },
            "replicas": 1,
            "template": {
              "metadata": {
                "labels": {
                  "app.kubernetes.io/name": "kuberay",
                  "app.kubernetes.io/part-of": "llm-serving-eval",
                  "llmeval/experiment": "falcon-baseline",
                  "llmeval/replica": "replica-0",
                },
              },
              "spec": {
                "automountServiceAccountToken": false,
                "containers": [
                  {
                    "env": [
                      {
                        "name": "RAY_USAGE_STATS_ENABLED",
                        "value": "0",
                      },
                      {
                        "name": "RAY_memory_monitor_refresh_ms",
                        "value": "0",
                      },
                      {
                        "name": "NCCL_DEBUG",
                        "value": "WARN",
                      },
                      {
                        "name": "VLLM_USE_V1",
                        "value": "1",
                      },
                      {
                        "name": "HF_TOKEN",
                        "valueFrom": {
                          "secretKeyRef": {
                            "key": "token",
                            "name": "hugging-face",
                          },
                        },
                      },
                      {
                        "name": "HF_HOME",
                        "value": "/models",
                      },
                    ],
                    "image": "registry/ray-llm:2",
                    "name": "ray-worker",
                    "ports": [
                      {
                        "containerPort": 8080,
                        "name": "metrics",
                      },
                      {
                        "containerPort": 8000,
                        "name": "serve",
                      },
                    ],
                    "resources": {
                      "limits": {
                        "memory": "48Gi",
                        "nvidia.com/gpu": "2",
                      },
                      "requests": {
                        "cpu": "8",
                        "memory": "48Gi",
                      },
                    },
                    "securityContext": {
                      "allowPrivilegeEscalation": false,
                    },
                    "volumeMounts": [
                      {
                        "mountPath": "/tmp/ray",
                        "name": "ray-logs",
                      },
                      {
                        "mountPath": "/models",
                        "name": "models",
                      },
                    ],
                  },
                ],
                "enableServiceLinks": false,
                "serviceAccountName": "ray",
                "terminationGracePeriodSeconds": 10,
                "tolerations": [
                  {
                    "key": "nvidia.com/gpu",
                    "operator": "Exists",
                  },
                ],
                "volumes": [
                  {
                    "emptyDir": {
                      "sizeLimit": "10Gi",
                    },
                    "name": "ray-logs",
                  },
                  {
                    "hostPath": {
                      "path": "/var/lib/models",
                      "type": "DirectoryOrCreate",
                    },
                    "name": "models",
                  },
                ],
              },
            },
          },
        ],
      },
      "serveConfigV2": "proxy_location: EveryNode
    http_options:
      host: 0.0.0.0
      port: 8000
    applications:
      - name: llm
        import_path: ray.serve.llm:build_openai_app
        route_prefix: /
        args:
          llm_configs:
            - model_loading_config:
                model_id: falcon-h1-7b-instruct
                model_source: tiiuae/Falcon-H1-7B-Instruct
              engine_kwargs:
                gpu_memory_utilization: 0.9
                max_num_seqs: 256
                enable_chunked_prefill: true
                enable_prefix_caching: false
                enable_log_requests: false
                dtype: bfloat16
                max_model_len: 8192
                tensor_parallel_size: 4
                pipeline_parallel_size: 1
              deployment_config:
                num_replicas: 1
                max_ongoing_requests: 512
              accelerator_type: H100
              placement_group_config:
                bundles:
                  - CPU: 1
                    GPU: 1
                  - CPU: 1
                    GPU: 1
                  - CPU: 1
                    GPU: 1
                  - CPU: 1
                    GPU: 1
                strategy: SPREAD
              experimental_configs:
                stream_batching_interval_ms: 0
              log_engine_metrics: true
    ",
      "upgradeStrategy": {
        "type": "None",
      },
    }
  `);
});

test("vLLM by default: any accelerator, weights in the pod, no token", () => {
  const experiment = resolved("falcon-baseline");
  const spec = toRayServiceSpec({ experiment, image: "i", serviceAccount: "ray", rayVersion: "2.55.0" });
  const text = JSON.stringify(spec);
  expect(text).toContain('{"name":"models","emptyDir":{}}]');
  expect(text).not.toContain("HF_TOKEN");
  const [application] = parse(toServeConfig(experiment)).applications;
  expect(application.args.llm_configs[0]).not.toHaveProperty("accelerator_type");
});
