// Faults in a definition: what is wrong with them in words, and where and when they act.

import { expect, test } from "vitest";
import { targetedReplicas } from "../../experiments/faults.ts";
import { plannedFaults } from "../../experiments/planned-faults.ts";
import { resolveExperiment, tryResolve } from "../../experiments/resolve.ts";
import { projectDir } from "./project.ts";

function resolve(faults: unknown, more: Readonly<Record<string, unknown>> = {}) {
  const timeline = { warmUpSeconds: 3, beforeSeconds: 15, faultSeconds: 15, afterSeconds: 10 };
  const overrides = [{ file: "test", values: { timeline, faults, ...more } }];
  return { projectDir, name: "smoke", overrides };
}

const problems = (faults: unknown, more: Readonly<Record<string, unknown>> = {}): string[] =>
  tryResolve(resolve(faults, more)).problems.map(({ file, path, text }) => `${file}: ${path}: ${text}`);

test("no fault is the default", () => {
  expect(resolveExperiment({ projectDir, name: "smoke" }).faults).toEqual([]);
});

test("every default is explicit, the duration too", () => {
  const faults = [
    { kind: "cpu", workers: 2, target: "replicas" },
    { kind: "network-delay", latencyMilliseconds: 100, target: { replica: 0 }, startOffsetSeconds: 5 },
    { kind: "pod-kill", target: "head", durationSeconds: 20, cells: "even" },
  ];
  expect(resolveExperiment(resolve(faults)).faults).toEqual([
    {
      kind: "cpu",
      workers: 2,
      loadPercent: 100,
      target: "replicas",
      startOffsetSeconds: 0,
      durationSeconds: 15,
      cells: "all",
    },
    {
      kind: "network-delay",
      latencyMilliseconds: 100,
      jitterMilliseconds: 0,
      correlationPercent: 0,
      target: { replica: 0 },
      startOffsetSeconds: 5,
      durationSeconds: 10,
      cells: "all",
    },
    {
      kind: "pod-kill",
      gracePeriodSeconds: 0,
      target: "head",
      startOffsetSeconds: 0,
      durationSeconds: 20,
      cells: "even",
    },
  ]);
});

test("a fault that is not one", () => {
  expect(
    problems([
      { kind: "cpuu", target: "head" },
      { target: "head" },
      { kind: "cpu", workers: 0, target: "heads" },
      { kind: "memory", sizeMebibyte: 100, target: { replicas: 1 } },
      { kind: "network-loss", percent: 101, target: "head", cells: "some", durationSeconds: 0 },
      { kind: "time-offset", offsetSeconds: 0, target: "head" },
      { kind: "network-partition", target: "head", peer: "all" },
    ]),
  ).toMatchInlineSnapshot(`
    [
      "test: faults[0].kind: is "cpuu"; did you mean "cpu"? allowed: cpu, memory, network-delay, network-loss, network-corrupt, network-bandwidth, network-partition, pod-kill, container-kill, pod-failure, io-latency, io-error, time-offset, gpu-power-cap, gpu-clock-cap",
      "test: faults[1].kind: missing; allowed: cpu, memory, network-delay, network-loss, network-corrupt, network-bandwidth, network-partition, pod-kill, container-kill, pod-failure, io-latency, io-error, time-offset, gpu-power-cap, gpu-clock-cap",
      "test: faults[2].workers: is 0, allowed: at least 1; give the number of processes that compute",
      "test: faults[2].target: is "heads", allowed: head, replicas, entry, { replica: a number from 0 } or { replicasPercent: more than 0, at most 100 }",
      "test: faults[3].sizeMebibytes: missing; give how much memory is taken in all, in MiB",
      "test: faults[3].target: is {"replicas":1}, allowed: head, replicas, entry, { replica: a number from 0 } or { replicasPercent: more than 0, at most 100 }",
      "test: faults[3].sizeMebibyte: unknown key; did you mean "sizeMebibytes"? (allowed: cells, durationSeconds, kind, sizeMebibytes, startOffsetSeconds, target, workers)",
      "test: faults[4].percent: is 101, allowed: at most 100; give the share of outgoing packets that are lost, 0 to 100",
      "test: faults[4].durationSeconds: is 0, allowed: at least 1; give at least 1 second, or null for up to the end of the fault phase",
      "test: faults[4].cells: is "some", allowed: all, odd, even, or a list of cells by their number in the order of play, from 1",
      "test: faults[5].offsetSeconds: is 0, allowed: seconds by which the clock is wrong, not 0",
      "test: faults[6].peer: is "all"; allowed: everything, head, other-replicas",
    ]
  `);
});

test("faults that do not fit the timeline, the replicas or the engine", () => {
  const cpu = { kind: "cpu", workers: 1, target: "replicas" };
  expect(
    problems([
      { ...cpu, startOffsetSeconds: 15 },
      { ...cpu, startOffsetSeconds: 10, durationSeconds: 15.5 },
      { ...cpu, target: { replica: 1 } },
      { ...cpu, cells: [1, 2, 3] },
      { kind: "network-partition", target: "replicas", peer: "other-replicas" },
      { kind: "gpu-power-cap", powerWatts: 200, target: "head" },
    ]),
  ).toMatchInlineSnapshot(`
    [
      "test: faults[0].startOffsetSeconds: is 15, but the fault phase lasts 15 s; start earlier, or give durationSeconds",
      "test: faults[1].durationSeconds: ends 25.5 s after the start of the fault phase, but its cell ends after 25 s (timeline.faultSeconds 15 + afterSeconds 10); shorten the fault or lengthen a phase",
      "test: faults[2].target: is replica 1, allowed: 0 to 0 (parallelism.dataParallelism is 1)",
      "test: faults[3].cells: names cell 2, 3, allowed: 1 to 1",
      "test: faults[4].peer: is other-replicas, but the target is "replicas": nobody is left to be cut off from; choose another peer or target",
      "test: faults[5].kind: is gpu-power-cap, which needs NVIDIA GPUs; allowed with engine vllm and an acceleratorResource of nvidia.com/ only",
      "test: faults[5].target: is head, which has no GPU; choose a replica",
    ]
  `);
  expect(problems([cpu], { timeline: { profile: "smoke" } })).toMatchInlineSnapshot(`
    [
      "profile smoke: timeline.faultSeconds: is 0, but there are faults; give the fault phase a length in seconds",
    ]
  `);
});

test("faults on the entry: only what it can feel, and only where the load passes it", () => {
  const delay = { kind: "network-delay", latencyMilliseconds: 10, target: "entry" };
  const entry = { serve: { via: "entry" } };
  expect(problems([delay], entry)).toEqual([]);
  expect(
    problems([{ kind: "time-offset", offsetSeconds: 1, target: "entry" }, delay]),
  ).toMatchInlineSnapshot(`
    [
      "test: faults[0].target: is entry, where time-offset cannot act; choose another target or one of cpu, memory, network-delay, network-loss, network-corrupt, network-bandwidth, network-partition, pod-kill, container-kill, pod-failure",
      "test: faults[0].target: is entry, but serve.via is service: the load would not feel the fault; set serve.via: entry",
      "test: faults[1].target: is entry, but serve.via is service: the load would not feel the fault; set serve.via: entry",
    ]
  `);
});

test("the same limit of the same GPU is set by one fault at a time", () => {
  const cap = { kind: "gpu-power-cap", powerWatts: 200, target: "replicas" };
  const gpu = {
    engine: "vllm",
    resources: { head: { cpu: 1, memory: "1Gi" }, worker: { cpu: 1, memory: "1Gi" } },
  };
  expect(
    problems(
      [
        { ...cap, durationSeconds: 5 },
        { ...cap, startOffsetSeconds: 5 },
      ],
      gpu,
    ),
  ).toEqual([]);
  expect(problems([cap, { ...cap, startOffsetSeconds: 5 }], gpu)).toMatchInlineSnapshot(`
    [
      "test: faults[1].startOffsetSeconds: is 5, while faults[0] sets the same limit of the same GPU; let one end before the other begins",
    ]
  `);
});

test("one volume of a pod is acted on at a time", () => {
  const slow = { kind: "io-latency", volumePath: "/models", latencyMilliseconds: 5, target: "head" };
  const failing = { kind: "io-error", volumePath: "/tmp/ray", errno: 5, target: "head" };
  expect(problems([slow, { ...failing, volumePath: "/models" }])).toEqual([]);
  expect(problems([slow, { ...failing, target: "replicas" }])).toEqual([]);
  expect(
    problems([
      { ...slow, durationSeconds: 5 },
      { ...failing, startOffsetSeconds: 5 },
    ]),
  ).toEqual([]);
  expect(problems([slow, { ...failing, startOffsetSeconds: 5 }])).toMatchInlineSnapshot(`
    [
      "test: faults[1].volumePath: is /tmp/ray, while faults[0] acts on another volume of the same pod; let one end before the other begins",
    ]
  `);
});

test("whom a target means", () => {
  expect(targetedReplicas("head", 4)).toEqual([]);
  expect(targetedReplicas("entry", 4)).toEqual([]);
  expect(targetedReplicas("replicas", 3)).toEqual([0, 1, 2]);
  expect(targetedReplicas({ replica: 2 }, 4)).toEqual([2]);
  expect(targetedReplicas({ replicasPercent: 50 }, 4)).toEqual([0, 1]);
  expect(targetedReplicas({ replicasPercent: 1 }, 3)).toEqual([0]);
});

test("several faults at once and one after the other, on shares of the replicas, in some cells", () => {
  const faults = [
    { kind: "cpu", workers: 1, target: { replicasPercent: 50 } },
    { kind: "memory", sizeMebibytes: 64, target: { replicasPercent: 50 }, cells: [1, 4] },
    { kind: "cpu", workers: 2, target: "head", startOffsetSeconds: 5, durationSeconds: 5, cells: [1] },
    { kind: "pod-kill", target: { replica: 2 }, startOffsetSeconds: 12, durationSeconds: 8, cells: "even" },
  ];
  const load = { load: { iterations: 2, ratePerSecond: [2, 4] }, parallelism: { dataParallelism: 3 } };
  const planned = plannedFaults(resolveExperiment(resolve(faults, load)));
  // A cell lasts 43 s, the pause 2 s; its fault phase begins after 18 s.
  expect(
    planned.map(({ id, cell, startOffsetSeconds, durationSeconds }) => [
      id,
      cell,
      startOffsetSeconds,
      durationSeconds,
    ]),
  ).toEqual([
    ["cpu", "rate-2-iteration-1", 18, 15],
    ["memory", "rate-2-iteration-1", 18, 15],
    ["cpu-2", "rate-2-iteration-1", 23, 5],
    ["cpu", "rate-4-iteration-1", 63, 15],
    ["pod-kill", "rate-4-iteration-1", 75, 8],
    ["cpu", "rate-2-iteration-2", 108, 15],
    ["cpu", "rate-4-iteration-2", 153, 15],
    ["memory", "rate-4-iteration-2", 153, 15],
    ["pod-kill", "rate-4-iteration-2", 165, 8],
  ]);
});

test("offsets count from T0, and cells without a fault stay as controls", () => {
  const faults = [
    { kind: "cpu", workers: 2, target: "replicas", cells: "odd", startOffsetSeconds: 2 },
    { kind: "cpu", workers: 1, target: "head", cells: [3], durationSeconds: 5 },
  ];
  const planned = plannedFaults(resolveExperiment(resolve(faults, { load: { iterations: 3 } })));
  expect(
    planned.map(({ id, cell, startOffsetSeconds, durationSeconds }) => [
      id,
      cell,
      startOffsetSeconds,
      durationSeconds,
    ]),
  ).toEqual([
    ["cpu", "rate-4-iteration-1", 20, 13],
    ["cpu", "rate-4-iteration-3", 110, 13],
    ["cpu-2", "rate-4-iteration-3", 108, 5],
  ]);
});
