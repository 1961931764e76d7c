// Verdicts from planted series: two cells with a fault on one of two replicas, and a control cell between them.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { MetricFiles, ratesOf } from "../../workloads/collector/indicators.ts";
import { podEvents } from "../../workloads/collector/judge.ts";
import { isAboutNamespace, isObjectOfFaults, isOfFaults } from "../../workloads/collector/labels.ts";
import { deviationsOf, measure, type Span } from "../../workloads/collector/measure.ts";
import { judgeRun, verdictCheck } from "../../workloads/collector/verdicts.ts";
import type { FaultRecord, PlanEntry, PodLine, ProbeLine } from "../../workloads/shared/faults.ts";
import { temporaryFolder } from "./support.ts";

const t0 = 1_700_000_000;
const ns = (seconds: number): string => String(BigInt(Math.round((t0 + seconds) * 1000)) * 1_000_000n);

/** 40 s each: 20 before, 10 fault, 10 after. */
const cells = [1, 2].map((iteration) => ({
  id: `rate-4-iteration-${iteration}`,
  startOffsetSeconds: (iteration - 1) * 50,
  durationSeconds: 40,
  ratePerSecond: 4,
  arrivals: "constant",
  phases: [
    { name: "before", startOffsetSeconds: 0, durationSeconds: 20 },
    { name: "fault", startOffsetSeconds: 20, durationSeconds: 10 },
    { name: "after", startOffsetSeconds: 30, durationSeconds: 10 },
  ],
}));
const [faulty, control] = cells as [(typeof cells)[number], (typeof cells)[number]];

const bracket = (seconds: number) => ({
  notBeforeUnixNs: ns(seconds - 0.2),
  notAfterUnixNs: ns(seconds),
  stampFirst: null,
  stampLast: null,
});

function record(overrides: Partial<FaultRecord> = {}): FaultRecord {
  return {
    schemaVersion: 1,
    experimentId: "x",
    cell: faulty.id,
    fault: "cpu",
    kind: "cpu",
    parameters: {},
    oneShot: false,
    state: "done",
    planned: { startUnixNs: ns(20), endUnixNs: ns(30), durationSeconds: 10 },
    delivery: "delivered",
    reason: null,
    intendedTargets: [
      {
        pod: "worker-0",
        uid: "uid-0",
        node: "server-1",
        container: "ray-worker",
        containerId: null,
        restartCount: 0,
        replica: "replica-0",
      },
    ],
    actualTargets: [],
    objects: [],
    created: { requestedUnixNs: ns(20), answeredUnixNs: ns(20.1) },
    adopted: false,
    injected: { first: bracket(21), all: bracket(21) },
    recovery: {
      requestedUnixNs: ns(30),
      recovered: bracket(30.5),
      goneUnixNs: ns(31),
      forced: false,
      early: null,
    },
    finalStatus: null,
    errors: [],
    conductorStarts: 1,
    ...overrides,
  };
}

function podLine(index: number, seconds: number, overrides: Partial<PodLine> = {}): PodLine {
  return {
    unixNs: ns(seconds),
    pod: `worker-${index}`,
    uid: `uid-${index}`,
    nodeType: "worker",
    replica: `replica-${index}`,
    node: "server-1",
    phase: "Running",
    ready: true,
    containers: [{ name: "ray-worker", id: "a", restartCount: 0, ready: true }],
    ...overrides,
  };
}

interface Planted {
  /** Cores that a pod uses at a time from T0. @default 0.2, and 1.2 on worker-0 from 20.5 to 30.5 s */
  readonly cores?: (pod: string, seconds: number) => number;
  readonly records?: readonly FaultRecord[];
  readonly podLines?: readonly PodLine[];
  readonly probes?: readonly ProbeLine[];
  readonly kind?: string;
}

const stressed = (pod: string, seconds: number): number =>
  pod === "worker-0" && seconds >= 20.5 && seconds < 30.5 ? 1.2 : 0.2;

function judge(planted: Planted = {}) {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "metrics"));
  mkdirSync(join(folder, "faults", faulty.id), { recursive: true });
  const cores = planted.cores ?? stressed;
  const series = ["worker-0", "worker-1"].map((pod) => {
    const values: [number, string][] = [];
    let used = 100;
    // Steps of a tenth of a second, a sample every 2.5 s, with some noise.
    for (let tenth = -100; tenth <= 1000; tenth++) {
      used += cores(pod, tenth / 10) / 10 + (tenth % 7) * 1e-5;
      if (tenth % 25 === 0) values.push([t0 + tenth / 10, String(used)]);
    }
    return { metric: { __name__: "pod_cpu_usage_seconds_total", namespace: "exp-smoke", pod }, values };
  });
  const text = series.map((one) => `${JSON.stringify(one)}\n`).join("");
  writeFileSync(join(folder, "metrics", "kubelet.jsonl.gz"), gzipSync(text));
  const lines = (values: readonly unknown[]): string =>
    values.map((one) => `${JSON.stringify(one)}\n`).join("");
  const pods = [podLine(0, -1), podLine(1, -1), ...(planted.podLines ?? [])];
  writeFileSync(join(folder, "faults", "pods.jsonl"), lines(pods));
  if (planted.probes !== undefined)
    writeFileSync(join(folder, "faults", "probes.jsonl"), lines(planted.probes));
  for (const one of planted.records ?? [record()]) {
    writeFileSync(join(folder, "faults", one.cell, `${one.fault}.json`), JSON.stringify(one));
  }
  const entry: PlanEntry = {
    fault: "cpu",
    cell: faulty.id,
    kind: planted.kind ?? "cpu",
    startOffsetSeconds: 20,
    durationSeconds: 10,
    selector: "",
    container: "ray-worker",
    expectedTargets: 1,
    oneShot: planted.records?.[0]?.oneShot ?? false,
    parameters: {},
  };
  return judgeRun({
    experimentId: "x",
    namespace: "exp-smoke",
    resultsDir: folder,
    plan: { schemaVersion: 1, experimentId: "x", faults: [entry] },
    cells,
    t0UnixNs: BigInt(ns(0)),
  });
}

const first = async (planted?: Planted) => {
  const { cells: judged } = await judge(planted);
  return [judged[0]?.verdict, judged[0]?.reasons];
};

test("a fault that shows on its target only is valid, with the figures; the control cell is clean", async () => {
  const verdicts = await judge();
  expect(verdicts.cells.map(({ cell, verdict, reasons }) => [cell, verdict, reasons])).toEqual([
    [faulty.id, "valid", []],
    [control.id, "control-clean", []],
  ]);
  const [fault] = verdicts.cells[0]?.faults ?? [];
  expect(fault).toMatchObject({
    verdict: "valid",
    actedFromSeconds: 21,
    actedToSeconds: 30,
    onsetSeconds: 0.25,
  });
  expect(fault?.indications.map(({ indicator, pod, role, hit }) => [indicator, pod, role, hit])).toEqual([
    ["cpu", "worker-0", "target", true],
    ["cpu", "worker-1", "bystander", false],
  ]);
  const [target] = fault?.indications ?? [];
  expect(target?.baseline.n).toBe(8);
  expect(target?.baseline.median).toBeCloseTo(0.2, 2);
  expect(target?.window.median).toBeCloseTo(1.2, 2);
  expect(target?.shift).toBeCloseTo(1, 2);
  // The noise is smaller than the floor of 0.02 cores.
  expect(target?.z).toBeCloseTo(50, 0);
  expect(target?.after.median).toBeCloseTo(0.2, 2);
  expect(verdictCheck(verdicts)).toEqual({
    check: "cells-as-planned",
    value: 2,
    threshold: "== 2 cells valid or control-clean",
    pass: true,
  });
});

test("a fault that shows nowhere has no effect", async () => {
  expect(await first({ cores: () => 0.2 })).toEqual([
    "no-effect",
    ["cpu: nothing shows on worker-0: cpu z 0.0"],
  ]);
});

test("less use of a processor is no effect of more load", async () => {
  const [verdict] = await first({ cores: (pod, at) => 1.4 - stressed(pod, at) });
  expect(verdict).toBe("no-effect");
});

test("what shows on a pod that was not meant, or restarts it, contaminates the cell", async () => {
  expect(await first({ cores: (_pod, at) => stressed("worker-0", at) })).toEqual([
    "contaminated",
    ["cpu: cpu on worker-1, which was not meant: z 50.0"],
  ]);
  // Also where the target itself shows nothing, but then not what 3 deviations tell already.
  const other = (size: number) => (pod: string, at: number) =>
    pod === "worker-1" ? 0.2 + size * (stressed("worker-0", at) - 0.2) : 0.2;
  expect(await first({ cores: other(1) })).toEqual([
    "contaminated",
    ["cpu: cpu on worker-1, which was not meant: z 50.0"],
  ]);
  expect((await first({ cores: other(0.1) }))[0]).toBe("no-effect");
  // A tenth of the target's shift is no second target, whatever its z.
  const slight = (pod: string, at: number): number =>
    pod === "worker-0" ? stressed(pod, at) : 0.2 + (stressed("worker-0", at) - 0.2) / 10;
  expect(await first({ cores: slight })).toEqual(["valid", []]);
  const restart = podLine(1, 25, {
    containers: [{ name: "ray-worker", id: "b", restartCount: 1, ready: true }],
  });
  expect(await first({ podLines: [restart] })).toEqual(["contaminated", ["cpu: pod worker-1 restarted"]]);
  const early = podLine(0, 10, {
    containers: [{ name: "ray-worker", id: "b", restartCount: 1, ready: true }],
  });
  expect(await first({ podLines: [early] })).toEqual(["contaminated", ["cpu: pod worker-0 restarted"]]);
  // A target that the fault itself brings down does not.
  const own = podLine(0, 25, { containers: [{ name: "ray-worker", id: "b", restartCount: 1, ready: true }] });
  expect(await first({ podLines: [own] })).toEqual(["valid", []]);
});

test("what was not injected, not on all targets, or for too short, was not delivered", async () => {
  expect(await first({ records: [] })).toEqual([
    "not-delivered",
    ["cpu: there is no record of it: the conductor has not come to it"],
  ]);
  const reason = "exp-smoke/worker-0: Apply failed: no qdisc";
  const never = record({ delivery: "not-delivered", reason, injected: { first: null, all: null } });
  expect(await first({ records: [never] })).toEqual(["not-delivered", [`cpu: ${reason}`]]);
  const late = record({ injected: { first: bracket(27), all: bracket(27) } });
  expect(await first({ records: [late] })).toEqual(["not-delivered", ["cpu: it acted for 3.0 s of 10 s"]]);
});

test("what stays after its end was not recovered", async () => {
  const recovery = { ...record().recovery, recovered: null };
  expect(await first({ records: [record({ recovery })] })).toEqual([
    "not-recovered",
    ["cpu: the injector has not reported the recovery"],
  ]);
  const stays = (pod: string, at: number): number => (pod === "worker-0" && at >= 20.5 ? 1.2 : 0.2);
  expect(await first({ cores: stays })).toEqual([
    "not-recovered",
    ["cpu: cpu on worker-0: 100 % of the shift is left after the recovery"],
  ]);
  // What is there while the injector still takes it back is not what is left.
  const slow = { ...record().recovery, recovered: bracket(35) };
  const until35 = (pod: string, at: number): number =>
    pod === "worker-0" && at >= 20.5 && at < 35 ? 1.2 : 0.2;
  expect(await first({ cores: until35, records: [record({ recovery: slow })] })).toEqual(["valid", []]);
});

test("a control cell in which something shows is contaminated", async () => {
  const shown = (pod: string, at: number): number =>
    pod === "worker-1" && at >= 70 && at < 80 ? 1 : stressed(pod, at);
  const { cells: judged } = await judge({ cores: shown });
  expect(judged[1]).toMatchObject({ verdict: "contaminated", reasons: ["cpu on worker-1: z 40.0"] });
});

test("kills show in the life of the pod", async () => {
  const kill = (kind: string) => ({
    kind,
    records: [record({ kind, oneShot: true, recovery: { ...record().recovery, recovered: null } })],
    cores: () => 0.2,
  });
  expect(await first(kill("pod-kill"))).toEqual(["no-effect", ["cpu: nothing shows on worker-0"]]);
  const gone = podLine(0, 20.4, { phase: "gone", ready: false });
  expect(await first({ ...kill("pod-kill"), podLines: [gone] })).toEqual(["valid", []]);
  const restarted = podLine(0, 22, {
    containers: [{ name: "ray-worker", id: "b", restartCount: 1, ready: true }],
  });
  expect(await first({ ...kill("container-kill"), podLines: [restarted] })).toEqual(["valid", []]);
  expect(await first({ ...kill("pod-kill"), podLines: [restarted] })).toEqual([
    "no-effect",
    ["cpu: nothing shows on worker-0"],
  ]);
});

test("faults of the network show in the time that a connection takes, or in connections lost", async () => {
  const probes = (of: (pod: string, at: number, n: number) => number | null): ProbeLine[] =>
    ["worker-0", "worker-1"].flatMap((pod) =>
      Array.from({ length: 200 }, (_, n) => ({ unixNs: ns(n / 5), pod, connectMs: of(pod, n / 5, n) })),
    );
  const during = (pod: string, at: number): boolean => pod === "worker-0" && at >= 21 && at < 30;
  const quiet = { cores: () => 0.2 };
  const delay = probes((pod, at) => (during(pod, at) ? 100.4 : 0.4));
  expect(await first({ ...quiet, kind: "network-delay", probes: delay })).toEqual(["valid", []]);
  expect(await first({ ...quiet, kind: "network-loss", probes: delay })).toEqual([
    "no-effect",
    ["cpu: nothing shows on worker-0: connects-lost z 0.0"],
  ]);
  const loss = probes((pod, at, n) => (during(pod, at) && n % 5 === 0 ? null : 0.4));
  expect(await first({ ...quiet, kind: "network-loss", probes: loss })).toEqual(["valid", []]);
  // A delay beyond the probe's patience is a delay all the same.
  const long = probes((pod, at) => (during(pod, at) ? null : 0.4));
  expect(await first({ ...quiet, kind: "network-delay", probes: long })).toEqual(["valid", []]);
});

test("what nothing shows is not judged", async () => {
  expect(await first({ kind: "time-offset" })).toEqual([
    "unmeasured",
    ["cpu: no indicator has enough samples to show it on worker-0"],
  ]);
});

test("too few samples give no figure", () => {
  const scale = { direction: "up", absoluteFloor: 1, relativeFloor: 0 } as const;
  const before = { fromMs: 0, toMs: 10 };
  const spans = { before, window: { fromMs: 10, toMs: 20 }, quiet: [before, { fromMs: 100, toMs: 110 }] };
  const at = (...times: number[]) => times.map((atMs) => ({ atMs, value: atMs >= 10 && atMs < 20 ? 10 : 0 }));
  const none = { z: null, zAfter: null, hit: null };
  // One before; one in the window; a noise of two deviations.
  expect(measure(at(1, 11, 12, 101, 102, 103, 104), spans, scale)).toMatchObject(none);
  expect(measure(at(1, 2, 3, 11, 101, 102, 103), spans, scale)).toMatchObject(none);
  expect(measure(at(1, 2, 3, 11, 12), spans, scale)).toMatchObject({ ...none, noise: { n: 2, mad: 0 } });
  expect(measure(at(1, 2, 11, 12, 101, 102, 103), spans, scale)).toEqual({
    baseline: { n: 2, median: 0, mad: 0 },
    noise: { n: 3, mad: 0 },
    window: { n: 2, median: 10 },
    after: { n: 0, median: null },
    shift: 10,
    z: 10,
    zAfter: null,
    hit: true,
    onsetMs: 11,
  });
});

test("noise is that of all quiet spans, each about its own median, and no smaller than that of its own", () => {
  const scale = { direction: "up", absoluteFloor: 0, relativeFloor: 0 } as const;
  const before = { fromMs: 0, toMs: 10 };
  const quiet = [before, { fromMs: 100, toMs: 110 }, { fromMs: 200, toMs: 210 }];
  const spans = { before, window: { fromMs: 10, toMs: 20 }, quiet };
  const samples = (...values: [number, number][]) => values.map(([atMs, value]) => ({ atMs, value }));
  const window: [number, number][] = [
    [11, 14],
    [12, 14],
  ];
  // By chance close together before this fault; the level of other cells does not matter.
  const calm = measure(
    samples([1, 10], [2, 10.2], ...window, [101, 50], [102, 52], [201, 70], [202, 74]),
    spans,
    scale,
  );
  expect(calm.noise.n).toBe(3);
  expect(calm.noise.mad).toBeCloseTo(Math.SQRT2, 5);
  expect([calm.z, calm.hit]).toEqual([2.757716, false]);
  const restless = measure(
    samples([1, 8], [2, 10], [3, 12], ...window, [101, 50], [102, 50], [201, 70], [202, 70]),
    spans,
    scale,
  );
  expect([restless.baseline.mad, restless.noise.mad, restless.z]).toEqual([2, 1.224745, 2]);
});

test("deviations are one fewer than values, and as large as those from the true median would be", () => {
  expect(deviationsOf([])).toEqual([]);
  expect(deviationsOf([1])).toEqual([]);
  expect(deviationsOf([1, 3])).toEqual([Math.SQRT2]);
  expect(deviationsOf([4, 1, 2])).toEqual([Math.sqrt(1.5), 2 * Math.sqrt(1.5)]);
  // 4 cells of 3 samples of normal noise (drawn by a fixed generator), without any effect: few are 6 away by chance.
  let state = 12345;
  const uniform = (): number => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return (state + 0.5) / 2 ** 32;
  };
  const normal = (): number => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  const cellsOf = [0, 1, 2, 3].map((n) => ({ fromMs: n * 10, toMs: n * 10 + 3 }));
  const [before] = cellsOf as [Span];
  const window = { fromMs: 5, toMs: 7 };
  const scale = { direction: "either", absoluteFloor: 0, relativeFloor: 0 } as const;
  const hits = Array.from({ length: 5000 }, () => {
    const samples = Array.from({ length: 40 }, (_, atMs) => ({ atMs, value: normal() }));
    const alone = measure(samples, { before, window, quiet: [before, before] }, scale);
    const pooled = measure(samples, { before, window, quiet: cellsOf }, scale);
    return [alone.hit === true, pooled.hit === true] as const;
  });
  const share = (of: (hit: readonly [boolean, boolean]) => boolean): number => hits.filter(of).length / 5000;
  expect(share(([alone]) => alone)).toBeGreaterThan(0.01);
  expect(share(([, pooled]) => pooled)).toBeLessThan(0.006);
});

test("an indicator is read from the source with most samples, and only from the pod's own series", () => {
  const files = new MetricFiles();
  const add = (name: string, labels: Record<string, string>, ...values: number[]): void => {
    const samples = values.map((value, n) => [n * 5, String(value)] as const);
    files.add({
      metric: { __name__: name, namespace: "exp-smoke", pod: "worker-0", ...labels },
      values: samples,
    });
  };
  const values = (indicator: string) =>
    files.samples(indicator, "exp-smoke", "worker-0").map(({ value }) => value);
  expect(values("cpu")).toEqual([]);
  add("container_cpu_usage_seconds_total", { id: "/pod" }, 0, 5);
  expect(values("cpu")).toEqual([1]);
  add("container_cpu_usage_seconds_total", { id: "/pod/c", container: "ray-worker" }, 0, 10, 20, 30);
  add("container_cpu_usage_seconds_total", { id: "/pod/d", container: "sidecar" }, 0, 50, 100, 150, 200);
  expect(values("cpu")).toEqual([2, 2, 2]);
  add("pod_cpu_usage_seconds_total", {}, 0, 15, 30, 45, 60);
  add("pod_cpu_usage_seconds_total", { pod: "worker-1" }, 0, 1, 2, 3, 4, 5, 6);
  add("pod_cpu_usage_seconds_total", { namespace: "another" }, 0, 1, 2, 3, 4, 5, 6);
  expect(values("cpu")).toEqual([3, 3, 3, 3]);
  // A series comes in chunks of time.
  add("pod_memory_working_set_bytes", {}, 7);
  add("pod_memory_working_set_bytes", {}, 8);
  expect(values("memory-working-set")).toEqual([7, 8]);
  const engine = { id: "/pod/c", container: "ray-worker" };
  add("container_cpu_cfs_periods_total", engine, 0, 100, 200, 200);
  add("container_cpu_cfs_throttled_periods_total", engine, 0, 25, 125, 125);
  expect(values("cpu-throttled")).toEqual([0.25, 1]);
  // The exporter has a pod of its own: who uses the GPU stands in the other label.
  add(
    "DCGM_FI_DEV_POWER_MGMT_LIMIT",
    { namespace: "gpu-operator", pod: "dcgm", exported_namespace: "exp-smoke", exported_pod: "worker-0" },
    300,
  );
  expect(values("gpu-power-limit")).toEqual([300]);
});

test("rates lie in the middle of their interval, and a counter that fell gives none", () => {
  expect(
    ratesOf([
      [0, 10],
      [5000, 20],
      [10_000, 1],
      [15_000, 6],
    ]),
  ).toEqual([
    { atMs: 2500, value: 2 },
    { atMs: 12_500, value: 1 },
  ]);
});

test("a conductor that began again does not make its first look a change", () => {
  const lines = [
    podLine(0, 0),
    podLine(0, 5),
    podLine(0, 6, { ready: false }),
    podLine(0, 7, { phase: "gone" }),
  ];
  expect(podEvents(lines).map(({ what }) => what)).toEqual(["not-ready", "gone"]);
});

test("what speaks of the faults is told from what was observed", () => {
  expect(
    [
      { __name__: "llmeval_fault_condition", name: "fault-cpu" },
      { __name__: "kube_pod_info", pod: "conductor-smoke-r1-3f9ac2-x7z" },
      { __name__: "container_cpu_usage_seconds_total", namespace: "chaos-mesh", pod: "chaos-daemon-abc" },
      { __name__: "kube_job_labels", label_app_kubernetes_io_name: "conductor" },
      { __name__: "container_cpu_usage_seconds_total", namespace: "exp-smoke", pod: "llm-replica-0-worker" },
      { __name__: "kube_job_status_active", job_name: "load-smoke-r1-3f9ac2" },
    ].map((labels) => isOfFaults(labels as unknown as Record<string, string>)),
  ).toEqual([true, true, true, true, false, false]);
  const event = (kind: string, name: string) => ({ metadata: { name: "e" }, involvedObject: { kind, name } });
  expect(
    [
      event("StressChaos", "fault-cpu"),
      event("PodNetworkChaos", "worker-0"),
      event("Pod", "conductor-smoke-x"),
      event("Pod", "worker-0"),
      { metadata: { name: "x", labels: { "app.kubernetes.io/name": "fault" } } },
      { metadata: { name: "gate", labels: { "app.kubernetes.io/name": "gate" } } },
    ].map((object) => isObjectOfFaults(object)),
  ).toEqual([true, true, true, false, true, false]);
});

test("series of other experiments are told by their namespace, whatever the label is called", () => {
  const others = new Set(["exp-other"]);
  expect(
    [
      { namespace: "exp-other" },
      { namespace: "kuberay-system", exported_namespace: "exp-other" },
      { namespace: "kube-state-metrics", claim_namespace: "exp-other" },
      { __meta_kubernetes_namespace: "exp-other" },
      { namespace: "exp-smoke", pod: "exp-other" },
      { job: "node" },
    ].map((labels) => isAboutNamespace(labels as unknown as Record<string, string>, others)),
  ).toEqual([true, true, true, true, false, false]);
});
