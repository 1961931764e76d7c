// The object of every kind of fault, to the last field, and valid against the definitions.

import { expect, test } from "vitest";
import {
  toChaosObject,
  toLabelSelector,
  toTargetSelection,
} from "../../../components/experiment/chaos-objects.ts";
import { versions } from "../../../components/versions.ts";
import { type Fault, faultSchema, isGpuFault } from "../../../experiments/faults.ts";
import { plannedFaults } from "../../../experiments/planned-faults.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import type { Manifest } from "../../../workloads/shared/faults.ts";
import { projectDir } from "../../experiments/project.ts";
import { chaosDefinitions, violations } from "./crd-schema.ts";

const run = { namespace: "exp-smoke", experiment: "smoke", experimentId: "smoke-r1-3f9ac2" };
const size = { dataParallelism: 3, podsPerReplica: 1 };

function object(fault: Readonly<Record<string, unknown>>) {
  const values = {
    timeline: { beforeSeconds: 15, faultSeconds: 15, afterSeconds: 10 },
    parallelism: { dataParallelism: size.dataParallelism },
    serve: { via: "entry" },
    faults: [fault],
  };
  const resolved = resolveExperiment({ projectDir, name: "smoke", overrides: [{ file: "test", values }] });
  const [planned] = plannedFaults(resolved);
  return toChaosObject(planned as NonNullable<typeof planned>, run, size);
}

/** One of each kind, with every parameter set. */
const faults: readonly Readonly<Record<string, unknown>>[] = [
  { kind: "cpu", target: "replicas", workers: 4, loadPercent: 80 },
  { kind: "memory", target: { replica: 1 }, sizeMebibytes: 256, workers: 2 },
  {
    kind: "network-delay",
    target: { replicasPercent: 50 },
    latencyMilliseconds: 100,
    jitterMilliseconds: 0.5,
    correlationPercent: 25,
  },
  { kind: "network-loss", target: "head", percent: 12.5, correlationPercent: 5 },
  { kind: "network-corrupt", target: { replica: 0 }, percent: 1 },
  { kind: "network-bandwidth", target: { replica: 0 }, rateMebibitsPerSecond: 1.5 },
  { kind: "network-partition", target: { replica: 0 } },
  { kind: "network-partition", target: { replica: 0 }, peer: "head" },
  { kind: "network-partition", target: { replica: 0 }, peer: "other-replicas" },
  { kind: "pod-kill", target: { replica: 2 }, gracePeriodSeconds: 5 },
  { kind: "container-kill", target: "head" },
  { kind: "pod-failure", target: { replica: 0 } },
  { kind: "io-latency", target: { replica: 0 }, volumePath: "/models", latencyMilliseconds: 20, percent: 50 },
  { kind: "io-error", target: { replica: 0 }, volumePath: "/models", errno: 5 },
  { kind: "time-offset", target: { replica: 0 }, offsetSeconds: -2.5 },
];

test("the whole object", () => {
  expect(object(faults[0] as never)).toMatchInlineSnapshot(`
    {
      "apiVersion": "chaos-mesh.org/v1alpha1",
      "kind": "StressChaos",
      "metadata": {
        "labels": {
          "app.kubernetes.io/name": "fault",
          "app.kubernetes.io/part-of": "llm-serving-eval",
          "llmeval/cell": "rate-4-iteration-1",
          "llmeval/experiment": "smoke",
          "llmeval/experiment-id": "smoke-r1-3f9ac2",
          "llmeval/fault": "cpu",
        },
        "name": "fault-rate-4-iteration-1-cpu-smoke-r1-3f9ac2",
        "namespace": "exp-smoke",
      },
      "spec": {
        "containerNames": [
          "ray-worker",
        ],
        "duration": "45s",
        "mode": "all",
        "selector": {
          "labelSelectors": {
            "llmeval/experiment": "smoke",
            "ray.io/node-type": "worker",
          },
          "namespaces": [
            "exp-smoke",
          ],
        },
        "stressors": {
          "cpu": {
            "load": 80,
            "workers": 4,
          },
        },
      },
    }
  `);
});

test("kind and spec of each", () => {
  const specs = faults.map((fault) => {
    const { kind, spec } = object(fault);
    return { fault: fault["kind"], kind, spec };
  });
  expect(specs).toMatchInlineSnapshot(`
    [
      {
        "fault": "cpu",
        "kind": "StressChaos",
        "spec": {
          "containerNames": [
            "ray-worker",
          ],
          "duration": "45s",
          "mode": "all",
          "selector": {
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
          "stressors": {
            "cpu": {
              "load": 80,
              "workers": 4,
            },
          },
        },
      },
      {
        "fault": "memory",
        "kind": "StressChaos",
        "spec": {
          "containerNames": [
            "ray-worker",
          ],
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-1",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
          "stressors": {
            "memory": {
              "size": "256MB",
              "workers": 2,
            },
          },
        },
      },
      {
        "fault": "network-delay",
        "kind": "NetworkChaos",
        "spec": {
          "action": "delay",
          "delay": {
            "correlation": "25",
            "jitter": "500us",
            "latency": "100ms",
          },
          "direction": "to",
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                  "replica-1",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "network-loss",
        "kind": "NetworkChaos",
        "spec": {
          "action": "loss",
          "direction": "to",
          "duration": "45s",
          "loss": {
            "correlation": "5",
            "loss": "12.5",
          },
          "mode": "all",
          "selector": {
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "head",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "network-corrupt",
        "kind": "NetworkChaos",
        "spec": {
          "action": "corrupt",
          "corrupt": {
            "correlation": "0",
            "corrupt": "1",
          },
          "direction": "to",
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "network-bandwidth",
        "kind": "NetworkChaos",
        "spec": {
          "action": "bandwidth",
          "bandwidth": {
            "buffer": 65536,
            "limit": 1048576,
            "rate": "196608bps",
          },
          "direction": "to",
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "network-partition",
        "kind": "NetworkChaos",
        "spec": {
          "action": "partition",
          "direction": "both",
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "network-partition",
        "kind": "NetworkChaos",
        "spec": {
          "action": "partition",
          "direction": "both",
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
          "target": {
            "mode": "all",
            "selector": {
              "labelSelectors": {
                "llmeval/experiment": "smoke",
                "ray.io/node-type": "head",
              },
              "namespaces": [
                "exp-smoke",
              ],
            },
          },
        },
      },
      {
        "fault": "network-partition",
        "kind": "NetworkChaos",
        "spec": {
          "action": "partition",
          "direction": "both",
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
          "target": {
            "mode": "all",
            "selector": {
              "expressionSelectors": [
                {
                  "key": "llmeval/replica",
                  "operator": "In",
                  "values": [
                    "replica-1",
                    "replica-2",
                  ],
                },
              ],
              "labelSelectors": {
                "llmeval/experiment": "smoke",
                "ray.io/node-type": "worker",
              },
              "namespaces": [
                "exp-smoke",
              ],
            },
          },
        },
      },
      {
        "fault": "pod-kill",
        "kind": "PodChaos",
        "spec": {
          "action": "pod-kill",
          "gracePeriod": 5,
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-2",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "container-kill",
        "kind": "PodChaos",
        "spec": {
          "action": "container-kill",
          "containerNames": [
            "ray-head",
          ],
          "mode": "all",
          "selector": {
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "head",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "pod-failure",
        "kind": "PodChaos",
        "spec": {
          "action": "pod-failure",
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
        },
      },
      {
        "fault": "io-latency",
        "kind": "IOChaos",
        "spec": {
          "action": "latency",
          "containerNames": [
            "ray-worker",
          ],
          "delay": "20ms",
          "duration": "45s",
          "mode": "all",
          "percent": 50,
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
          "volumePath": "/models",
        },
      },
      {
        "fault": "io-error",
        "kind": "IOChaos",
        "spec": {
          "action": "fault",
          "containerNames": [
            "ray-worker",
          ],
          "duration": "45s",
          "errno": 5,
          "mode": "all",
          "percent": 100,
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
          "volumePath": "/models",
        },
      },
      {
        "fault": "time-offset",
        "kind": "TimeChaos",
        "spec": {
          "containerNames": [
            "ray-worker",
          ],
          "duration": "45s",
          "mode": "all",
          "selector": {
            "expressionSelectors": [
              {
                "key": "llmeval/replica",
                "operator": "In",
                "values": [
                  "replica-0",
                ],
              },
            ],
            "labelSelectors": {
              "llmeval/experiment": "smoke",
              "ray.io/node-type": "worker",
            },
            "namespaces": [
              "exp-smoke",
            ],
          },
          "timeOffset": "-2.5s",
        },
      },
    ]
  `);
});

const targets: readonly Fault["target"][] = [
  "head",
  "replicas",
  { replica: 1 },
  { replicasPercent: 50 },
  "entry",
];

/** Each of the faults on each target, but for those that a definition may not have. */
function everywhere() {
  const made: Manifest[] = [];
  const refused: unknown[] = [];
  for (const fault of faults) {
    for (const target of targets) {
      try {
        made.push(object({ ...fault, target }));
      } catch (error) {
        expect((error as Error).message).toMatch(/faults\[0\]\.(target|peer): is /);
        refused.push([fault["kind"], fault["peer"], target]);
      }
    }
  }
  return { made, refused };
}

test("every kind can be made on every target, but for these", () => {
  const { made, refused } = everywhere();
  expect(refused).toEqual([
    ["network-partition", "head", "head"],
    ["network-partition", "other-replicas", "replicas"],
    ["io-latency", undefined, "entry"],
    ["io-error", undefined, "entry"],
    ["time-offset", undefined, "entry"],
  ]);
  expect(made).toHaveLength(faults.length * targets.length - refused.length);
  const kinds = faultSchema.options
    .map(({ shape }) => shape.kind.value)
    .filter((kind) => !isGpuFault({ kind }));
  expect([...new Set(faults.map(({ kind }) => kind))]).toEqual(kinds);
});

test.each(["2022-08", versions.chaosMesh] as const)(
  "every object on every target is valid against the definitions of Chaos Mesh %s",
  (release) => {
    const schemaOf = chaosDefinitions(release);
    for (const made of everywhere().made) {
      expect({ made, wrong: violations(schemaOf(made.kind), made) }).toEqual({ made, wrong: [] });
    }
    // What the validator is good for.
    const made = object(faults[0] as never);
    const bad = { ...made, spec: { ...made.spec, mode: "some", stressors: { cpu: { load: 101 } }, cont: 1 } };
    expect(violations(schemaOf(made.kind), bad)).toEqual([
      ".spec.mode: is not in one,all,fixed,fixed-percent,random-max-percent",
      ".spec.stressors.cpu.workers: missing",
      ".spec.stressors.cpu.load: is out of range",
      ".spec.cont: unknown",
    ]);
  },
  130_000,
);

test("the validator knows patterns", () => {
  const schema = { type: "string", pattern: "^[0-9]+ms$" };
  expect([violations(schema, "10ms"), violations(schema, "soon")]).toEqual([
    [],
    [": does not match ^[0-9]+ms$"],
  ]);
});

test("each selector names one namespace and exact labels: the run's own pods, or the entry's", () => {
  for (const made of everywhere().made) {
    expect(made.metadata.namespace).toBe("exp-smoke");
    const selectors: { namespaces?: string[]; labelSelectors?: Record<string, string> }[] = [];
    JSON.stringify(made, (key, value) => {
      if (key === "selector") selectors.push(value);
      return value;
    });
    expect(selectors.length).toBeGreaterThan(0);
    for (const { namespaces, labelSelectors } of selectors) {
      const nodeType = labelSelectors?.["ray.io/node-type"];
      expect([
        ["exp-smoke", { "llmeval/experiment": "smoke", "ray.io/node-type": nodeType }],
        ["entry", { "app.kubernetes.io/name": "entry" }],
      ]).toContainEqual([namespaces?.join(), labelSelectors]);
      if (namespaces?.[0] === "exp-smoke") expect(nodeType).toMatch(/^(head|worker)$/);
    }
  }
});

test("the entry cut off from the replicas: one side lies elsewhere", () => {
  const { spec } = object({ kind: "network-partition", target: "entry", peer: "other-replicas" });
  expect(spec).toMatchObject({
    selector: { namespaces: ["entry"] },
    target: { selector: { namespaces: ["exp-smoke"], labelSelectors: { "ray.io/node-type": "worker" } } },
  });
});

test("targets as the API is asked for them", () => {
  const ask = (target: Fault["target"], podsPerReplica = 1) => {
    const selection = toTargetSelection(target, "smoke", { dataParallelism: 3, podsPerReplica });
    return [toLabelSelector(selection), selection.container, selection.expectedPods];
  };
  expect([
    ask("head"),
    ask("replicas", 2),
    ask({ replica: 1 }),
    ask({ replicasPercent: 50 }),
    ask("entry", 2),
  ]).toEqual([
    ["llmeval/experiment=smoke,ray.io/node-type=head", "ray-head", 1],
    ["llmeval/experiment=smoke,ray.io/node-type=worker", "ray-worker", 6],
    ["llmeval/experiment=smoke,ray.io/node-type=worker,llmeval/replica in (replica-1)", "ray-worker", 1],
    [
      "llmeval/experiment=smoke,ray.io/node-type=worker,llmeval/replica in (replica-0,replica-1)",
      "ray-worker",
      2,
    ],
    ["app.kubernetes.io/name=entry", "nginx", 1],
  ]);
});
