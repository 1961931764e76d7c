// The specs of the gate, load and collector Jobs, to the last field, and the deadlines between them.

import { expect, test } from "vitest";
import { toCollectorJobSpec } from "../../../components/experiment/collector.ts";
import { toGateJobSpec } from "../../../components/experiment/gate.ts";
import { toLoadJobSpec } from "../../../components/experiment/load.ts";
import { fetchCommand, toClaimSpec, toReaderSpec } from "../../../components/experiment/results.ts";
import { toExperimentFile, toLoadSpec } from "../../../components/experiment/run-config.ts";
import { deadlinesOf } from "../../../components/experiment/timing.ts";
import { sourceName } from "../../../components/experiment/workload-source.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import { projectDir } from "../../experiments/project.ts";

const resolved = resolveExperiment({ projectDir, name: "smoke" });
const run = { namespace: "exp-smoke", experiment: "smoke", experimentId: "smoke-r1-3f9ac2" };
const sources = { "package.json": "{}", "gate/main.ts": "1;" };

test("gate", () => {
  expect(toGateJobSpec({ ...run, resolved, image: "node:24", sources })).toMatchInlineSnapshot(`
    {
      "activeDeadlineSeconds": 600,
      "backoffLimit": 0,
      "podReplacementPolicy": "Failed",
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "gate",
            "app.kubernetes.io/part-of": "llm-serving-eval",
            "llmeval/experiment": "smoke",
            "llmeval/experiment-id": "smoke-r1-3f9ac2",
          },
        },
        "spec": {
          "automountServiceAccountToken": true,
          "containers": [
            {
              "command": [
                "node",
                "/app/gate/main.ts",
              ],
              "env": [
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
                  "value": "http://llm-serve-svc:8000",
                },
                {
                  "name": "SERVE_API",
                  "value": "http://llm-head-svc:8265",
                },
                {
                  "name": "MODEL",
                  "value": "falcon-h1-7b-instruct",
                },
                {
                  "name": "API",
                  "value": "chat",
                },
                {
                  "name": "EXPECTED_REPLICAS",
                  "value": "1",
                },
                {
                  "name": "LEAD_SECONDS",
                  "value": "5",
                },
                {
                  "name": "TIMEOUT_SECONDS",
                  "value": "300",
                },
              ],
              "image": "node:24",
              "name": "gate",
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
                  "mountPath": "/results",
                  "name": "results",
                  "readOnly": false,
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "restartPolicy": "Never",
          "securityContext": {
            "fsGroup": 1000,
            "runAsGroup": 1000,
            "runAsNonRoot": true,
            "runAsUser": 1000,
          },
          "serviceAccountName": "gate",
          "terminationGracePeriodSeconds": 30,
          "volumes": [
            {
              "configMap": {
                "items": [
                  {
                    "key": "package.json",
                    "path": "package.json",
                  },
                  {
                    "key": "gate__main.ts",
                    "path": "gate/main.ts",
                  },
                ],
                "name": "source-gate-1814388b",
              },
              "name": "app",
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

test("load", () => {
  expect(toLoadJobSpec({ ...run, resolved, image: "load:1", runConfig: "run-x" })).toMatchInlineSnapshot(`
    {
      "activeDeadlineSeconds": 1010,
      "backoffLimit": 0,
      "podReplacementPolicy": "Failed",
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "load",
            "app.kubernetes.io/part-of": "llm-serving-eval",
            "llmeval/experiment": "smoke",
            "llmeval/experiment-id": "smoke-r1-3f9ac2",
          },
        },
        "spec": {
          "automountServiceAccountToken": false,
          "containers": [
            {
              "args": [
                "run",
                "--quiet",
                "--summary-mode=disabled",
                "/config/script.js",
              ],
              "env": [
                {
                  "name": "LLMEVAL_LOAD_SPEC",
                  "value": "/config/load.json",
                },
                {
                  "name": "GOMEMLIMIT",
                  "value": "429496729",
                },
              ],
              "image": "load:1",
              "name": "load",
              "resources": {
                "limits": {
                  "memory": "512Mi",
                },
                "requests": {
                  "cpu": "500m",
                  "memory": "512Mi",
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
                  "mountPath": "/config",
                  "name": "config",
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
          "restartPolicy": "Never",
          "securityContext": {
            "fsGroup": 1000,
            "runAsGroup": 1000,
            "runAsNonRoot": true,
            "runAsUser": 1000,
          },
          "serviceAccountName": "load",
          "terminationGracePeriodSeconds": 60,
          "volumes": [
            {
              "configMap": {
                "name": "run-x",
              },
              "name": "config",
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

test("collector", () => {
  const spec = toCollectorJobSpec({
    ...run,
    resolved,
    image: "node:24",
    sources: { "package.json": "{}", "collector/main.ts": "1;" },
    runConfig: "run-x",
    prometheusUrl: "http://prometheus.monitoring.svc:9090",
  });
  expect(spec).toMatchInlineSnapshot(`
    {
      "activeDeadlineSeconds": 1310,
      "backoffLimit": 3,
      "podReplacementPolicy": "Failed",
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "collector",
            "app.kubernetes.io/part-of": "llm-serving-eval",
            "llmeval/experiment": "smoke",
            "llmeval/experiment-id": "smoke-r1-3f9ac2",
          },
        },
        "spec": {
          "automountServiceAccountToken": true,
          "containers": [
            {
              "command": [
                "node",
                "/app/collector/main.ts",
              ],
              "env": [
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
                  "name": "PROMETHEUS_URL",
                  "value": "http://prometheus.monitoring.svc:9090",
                },
                {
                  "name": "LOAD_TIMEOUT_SECONDS",
                  "value": "710",
                },
                {
                  "name": "SCRAPE_INTERVAL_SECONDS",
                  "value": "5",
                },
                {
                  "name": "EXPORT_SECONDS",
                  "value": "60",
                },
                {
                  "name": "EXPERIMENT_FILE",
                  "value": "/config/experiment.json",
                },
                {
                  "name": "LOAD_SPEC_FILE",
                  "value": "/config/load.json",
                },
              ],
              "image": "node:24",
              "name": "collector",
              "resources": {
                "limits": {
                  "memory": "256Mi",
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
                  "mountPath": "/app",
                  "name": "app",
                  "readOnly": true,
                },
                {
                  "mountPath": "/config",
                  "name": "config",
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
          "restartPolicy": "Never",
          "securityContext": {
            "fsGroup": 1000,
            "runAsGroup": 1000,
            "runAsNonRoot": true,
            "runAsUser": 1000,
          },
          "serviceAccountName": "collector",
          "terminationGracePeriodSeconds": 30,
          "volumes": [
            {
              "configMap": {
                "items": [
                  {
                    "key": "package.json",
                    "path": "package.json",
                  },
                  {
                    "key": "collector__main.ts",
                    "path": "collector/main.ts",
                  },
                ],
                "name": "source-collector-3ad5053f",
              },
              "name": "app",
            },
            {
              "configMap": {
                "name": "run-x",
              },
              "name": "config",
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

test("load spec", () => {
  expect(toLoadSpec(resolved, run.experimentId, run.namespace)).toMatchInlineSnapshot(`
    {
      "cells": [
        {
          "arrivals": "constant",
          "burstSize": 1,
          "concurrency": null,
          "durationSeconds": 15,
          "id": "rate-4-iteration-1",
          "outputTokens": 16,
          "phases": [
            {
              "durationSeconds": 3,
              "name": "warm-up",
              "startOffsetSeconds": 0,
            },
            {
              "durationSeconds": 12,
              "name": "before",
              "startOffsetSeconds": 3,
            },
          ],
          "promptTokens": 64,
          "rampToRatePerSecond": null,
          "ratePerSecond": 4,
          "startOffsetSeconds": 0,
        },
      ],
      "experimentId": "smoke-r1-3f9ac2",
      "outputDir": "/results/smoke-r1-3f9ac2/load",
      "prompts": {
        "kind": "random",
      },
      "requestTimeoutSeconds": 30,
      "schemaVersion": 1,
      "seed": 1,
      "spawnRatePerSecond": 100,
      "stopAfterDeadSeconds": null,
      "stopWhenSaturated": false,
      "t0TimeoutSeconds": 600,
      "target": {
        "api": "chat",
        "headers": {},
        "model": "falcon-h1-7b-instruct",
        "stream": true,
        "url": "http://llm-serve-svc:8000/v1/chat/completions",
      },
      "timelineFile": "/results/smoke-r1-3f9ac2/timeline.json",
      "workers": 64,
    }
  `);
});

test("completions go to their own path", () => {
  const completions = { ...resolved, load: { ...resolved.load, api: "completions" as const } };
  expect(toLoadSpec(completions, "x", "exp-x")["target"]).toMatchObject({
    api: "completions",
    url: "http://llm-serve-svc:8000/v1/completions",
  });
});

test("a load that is to go through the entry asks it for its own model, and knows no password", () => {
  const through = { ...resolved, serve: { ...resolved.serve, via: "entry" as const } };
  expect(toLoadSpec(through, "x", "exp-x")["target"]).toMatchObject({
    url: "http://entry-inside.entry.svc/models/exp-x/v1/chat/completions",
    headers: {},
  });
});

test("experiment file", () => {
  const file = toExperimentFile({
    ...run,
    resolved,
    images: { node: "node:24" },
    standIns: [{ part: "engine", name: "llm-d-inference-sim", version: "1" }],
    stackInfo: { stack: "exp-smoke", cluster: "dev", capabilities: {} },
    loadScript: "",
  });
  expect(Object.keys(file)).toEqual([
    "schemaVersion",
    "experimentId",
    "experiment",
    "timeline",
    "images",
    "standIns",
    "stack",
  ]);
  expect(file["experiment"]).toBe(resolved);
});

test("results volume and reader", () => {
  expect(toClaimSpec(resolved.storage)).toEqual({
    accessModes: ["ReadWriteOnce"],
    resources: { requests: { storage: "2Gi" } },
  });
  expect(toClaimSpec({ size: "5Gi", className: "fast" }).storageClassName).toBe("fast");
  expect(
    toReaderSpec({
      namespace: "exp-smoke",
      experiment: "smoke",
      storage: resolved.storage,
      resources: resolved.resources.reader,
      placement: { nodeSelector: { disk: "fast" } },
      image: "node:24",
      sources: { "package.json": "{}", "reader/main.ts": "1;" },
    }),
  ).toMatchInlineSnapshot(`
    {
      "replicas": 1,
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "reader",
          "app.kubernetes.io/part-of": "llm-serving-eval",
          "llmeval/experiment": "smoke",
        },
      },
      "strategy": {
        "type": "Recreate",
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "reader",
            "app.kubernetes.io/part-of": "llm-serving-eval",
            "llmeval/experiment": "smoke",
          },
        },
        "spec": {
          "automountServiceAccountToken": false,
          "containers": [
            {
              "command": [
                "node",
                "/app/reader/main.ts",
              ],
              "env": [
                {
                  "name": "ROOT",
                  "value": "/results",
                },
                {
                  "name": "PORT",
                  "value": "8080",
                },
              ],
              "image": "node:24",
              "name": "reader",
              "ports": [
                {
                  "containerPort": 8080,
                  "name": "http",
                },
              ],
              "readinessProbe": {
                "httpGet": {
                  "path": "/healthz",
                  "port": "http",
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "64Mi",
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
                  "mountPath": "/app",
                  "name": "app",
                  "readOnly": true,
                },
                {
                  "mountPath": "/results",
                  "name": "results",
                  "readOnly": true,
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "nodeSelector": {
            "disk": "fast",
          },
          "restartPolicy": "Always",
          "securityContext": {
            "fsGroup": 1000,
            "runAsGroup": 1000,
            "runAsNonRoot": true,
            "runAsUser": 1000,
          },
          "serviceAccountName": "reader",
          "terminationGracePeriodSeconds": 5,
          "volumes": [
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
              "name": "results",
              "persistentVolumeClaim": {
                "claimName": "results",
                "readOnly": true,
              },
            },
          ],
        },
      },
    }
  `);
});

test("the kubeconfig is no part of a command", () => {
  expect(fetchCommand("results", run, 10.2)).toBe(
    "node cli/llmeval.ts results --namespace exp-smoke --experiment-id smoke-r1-3f9ac2 --timeout-seconds 11",
  );
});

test("each deadline covers what it waits for", () => {
  const deadlines = deadlinesOf(resolved);
  // Lead 5, cells 15, last request 30, flush 60.
  expect(deadlines).toEqual({
    gateSeconds: 300,
    t0Seconds: 600,
    loadSeconds: 710,
    // T0, lead, cells, and twice a minute to revert the last fault.
    conductorSeconds: 740,
    collectorSeconds: 1010,
    t0CommandSeconds: 600,
    loadCommandSeconds: 1010,
    resultsCommandSeconds: 1310,
  });
});

test("another source is another ConfigMap", () => {
  expect(sourceName("gate", sources)).toMatch(/^source-gate-[0-9a-f]{8}$/);
  expect(sourceName("gate", { ...sources, "gate/main.ts": "2;" })).not.toBe(sourceName("gate", sources));
});

test("where there are faults the collector waits for the conductor too, and reads its plan", () => {
  const stressed = resolveExperiment({ projectDir, name: "smoke-cpu-stress" });
  const args = {
    ...run,
    resolved: stressed,
    image: "node:24",
    sources,
    runConfig: "run-x",
    prometheusUrl: "http://p",
  };
  const spec = toCollectorJobSpec(args);
  const pod = (
    spec.template as {
      spec: { containers: { env: { name: string; value: string }[] }[]; volumes: { name: string }[] };
    }
  ).spec;
  const env = Object.fromEntries(pod.containers[0]?.env.map(({ name, value }) => [name, value]) ?? []);
  expect(env).toMatchObject({ FAULT_PLAN_FILE: "/faults/plan.json", CONDUCTOR_TIMEOUT_SECONDS: "120" });
  expect(pod.volumes.map(({ name }) => name)).toEqual(["app", "config", "faults", "results"]);
  const deadlines = deadlinesOf(stressed);
  expect(deadlines.collectorSeconds).toBe(deadlines.loadSeconds + 300 + 120);
});
