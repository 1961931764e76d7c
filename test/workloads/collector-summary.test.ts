// Goodput, saturation, impact and what the load generator says of itself: exact figures from small made-up runs.
import { expect, test } from "vitest";
import { faultsDuring } from "../../workloads/collector/fault-windows.ts";
import { isGood, type Slo } from "../../workloads/collector/goodput.ts";
import { impactOf } from "../../workloads/collector/impact.ts";
import { type Evidence, qualityChecks, TokenCounts } from "../../workloads/collector/quality.ts";
import { Summarizer } from "../../workloads/collector/summary.ts";
import type { CellSpec, LoadReport, RequestRow } from "../../workloads/shared/rows.ts";
import { requestRow } from "./support.ts";

const t0 = 1_700_000_000;
const ns = (seconds: number): string => String(BigInt(Math.round(seconds * 1e6)) * 1000n);
const noLimit: Slo = {
  ttftMilliseconds: null,
  tpotMilliseconds: null,
  itlMilliseconds: null,
  e2eMilliseconds: null,
  attainmentShare: 0.9,
};
const row = (overrides: Readonly<Record<string, unknown>> = {}): RequestRow =>
  requestRow(overrides) as unknown as RequestRow;

// TTFT 50 ms, three gaps of 10 ms, TPOT 10 ms, E2E 81 ms.
test.each<[string, Partial<Slo>, Record<string, unknown>, boolean]>([
  ["no limit", {}, {}, true],
  ["no limit, but failed", {}, { status: "timeout" }, false],
  ["at the limit", { ttftMilliseconds: 50, tpotMilliseconds: 10, e2eMilliseconds: 81 }, {}, true],
  ["TTFT above", { ttftMilliseconds: 49.9 }, {}, false],
  ["TPOT above", { tpotMilliseconds: 9.9 }, {}, false],
  ["E2E above", { e2eMilliseconds: 80.9 }, {}, false],
  ["every limit must hold", { ttftMilliseconds: 50, e2eMilliseconds: 80 }, {}, false],
  ["ITL is the mean of the gaps", { itlMilliseconds: 20 }, { itlNs: [5e6, 5e6, 50e6] }, true],
  ["not their median", { itlMilliseconds: 19 }, { itlNs: [5e6, 5e6, 50e6] }, false],
  [
    "a single token has no gap",
    { tpotMilliseconds: 1, itlMilliseconds: 1 },
    { itlNs: [], tpotNs: null },
    true,
  ],
  ["not streamed: no TTFT", { ttftMilliseconds: 500 }, { ttftNs: null, itlNs: [], tpotNs: null }, false],
  ["not streamed: no ITL", { itlMilliseconds: 500 }, { ttftNs: null, itlNs: [], tpotNs: null }, false],
])("good or not: %s", (_, limits, overrides, good) => {
  expect(isGood(row(overrides), { ...noLimit, ...limits })).toBe(good);
});

/** A cell of 40 s without a warm-up. */
function cell(id: string, startOffsetSeconds: number, overrides: Partial<CellSpec> = {}): CellSpec {
  return {
    id,
    startOffsetSeconds,
    durationSeconds: 40,
    ratePerSecond: 2,
    rampToRatePerSecond: null,
    concurrency: null,
    arrivals: "constant",
    phases: [{ name: "before", startOffsetSeconds: 0, durationSeconds: 40 }],
    ...overrides,
  } as CellSpec;
}

/** One request each half second; `e2e(n)` seconds long. */
function play(
  summarizer: Summarizer,
  { id, startOffsetSeconds }: CellSpec,
  e2e: (n: number) => number,
  overrides: (n: number) => Record<string, unknown> = () => ({}),
): void {
  for (let n = 0; n < 80; n += 1) {
    const at = t0 + startOffsetSeconds + n / 2;
    const base = { cell: id, scheduledUnixNs: ns(at), sentUnixNs: ns(at) };
    summarizer.add(row({ ...base, e2eNs: e2e(n) * 1e9, doneNs: e2e(n) * 1e9, ...overrides(n) }));
  }
}

test("goodput counts all that were due: failures and what was never sent are not good", () => {
  const slo = { ...noLimit, e2eMilliseconds: 1000 };
  const plan = [cell("rate-2-iteration-1", 0)];
  const summarizer = new Summarizer({ plan, t0UnixNs: BigInt(t0) * 1_000_000_000n, slo });
  play(
    summarizer,
    plan[0] as CellSpec,
    (n) => (n < 60 ? 1 : 1.5),
    (n) => (n < 8 ? { status: "aborted", sentUnixNs: null } : n < 20 ? { status: "http_error" } : {}),
  );
  // 80 due: 8 never sent, 12 failed, 20 too slow, 40 good in 40 s.
  expect(summarizer.overall()).toMatchObject({
    requests: { scheduled: 80, sent: 72, ok: 60, failed: 20 },
    goodput: { requestsPerSecond: 1, share: 0.5 },
  });
  expect(summarizer.cells()[0]?.phases[0]?.goodput).toEqual({ requestsPerSecond: 1, share: 0.5 });
  expect(summarizer.saturation()).toBeNull();
});

test("without a limit there is no goodput", () => {
  const plan = [cell("rate-2-iteration-1", 0)];
  const summarizer = new Summarizer({ plan, t0UnixNs: BigInt(t0) * 1_000_000_000n, slo: noLimit });
  play(summarizer, plan[0] as CellSpec, () => 1);
  expect(summarizer.overall().goodput).toBeNull();
});

test("saturation: what is let out no longer follows what comes in", () => {
  const levels: readonly [number, (n: number) => number, (n: number) => Record<string, unknown>][] = [
    // Steady: at 10 s the queue is full, and stays so.
    [1, () => 10, () => ({})],
    // Each request takes 0.1 s longer: of 2 requests/s that come in, 1 / (0.5 + 0.1) = 1.67 are let out.
    [2, (n) => 1 + n / 10, () => ({})],
    [3, () => 1, (n) => (n % 10 === 0 ? { status: "timeout" } : {})],
    [4, (n) => (n % 5 === 0 ? 13 : 1), () => ({})],
    [5, () => 1, () => ({})],
  ];
  const plan = levels.map(([rate], index) =>
    cell(`rate-${rate}-iteration-1`, index * 100, { ratePerSecond: rate }),
  );
  const slo = { ...noLimit, e2eMilliseconds: 12_000, attainmentShare: 0.85 };
  const skippedCells = ["rate-5-iteration-1"];
  const summarizer = new Summarizer({ plan, t0UnixNs: BigInt(t0) * 1_000_000_000n, slo, skippedCells });
  for (const [index, [, e2e, overrides]] of levels.entries()) {
    if (index < 4) play(summarizer, plan[index] as CellSpec, e2e, overrides);
  }
  expect(summarizer.saturation()).toMatchInlineSnapshot(`
    {
      "highestNotSaturated": 1,
      "kind": "ratePerSecond",
      "levels": [
        {
          "backlogAtEnd": 20,
          "backlogGrowthPerSecond": 0,
          "cells": [
            "rate-1-iteration-1",
          ],
          "completedPerSecond": 1.5,
          "completedShare": 1,
          "goodputShare": 1,
          "reasons": [],
          "saturated": false,
          "sentPerSecond": 2,
          "target": 1,
        },
        {
          "backlogAtEnd": 15,
          "backlogGrowthPerSecond": 0.334,
          "cells": [
            "rate-2-iteration-1",
          ],
          "completedPerSecond": 1.625,
          "completedShare": 1,
          "goodputShare": 1,
          "reasons": [
            "the backlog grows by 0.33 requests per second",
          ],
          "saturated": true,
          "sentPerSecond": 2,
          "target": 2,
        },
        {
          "backlogAtEnd": 2,
          "backlogGrowthPerSecond": 0,
          "cells": [
            "rate-3-iteration-1",
          ],
          "completedPerSecond": 1.75,
          "completedShare": 0.9,
          "goodputShare": 0.9,
          "reasons": [
            "90.0 % of the requests ended ok",
          ],
          "saturated": true,
          "sentPerSecond": 2,
          "target": 3,
        },
        {
          "backlogAtEnd": 7,
          "backlogGrowthPerSecond": 0,
          "cells": [
            "rate-4-iteration-1",
          ],
          "completedPerSecond": 1.825,
          "completedShare": 1,
          "goodputShare": 0.8,
          "reasons": [
            "80.0 % of the requests were good, asked: 85.0 %",
          ],
          "saturated": true,
          "sentPerSecond": 2,
          "target": 4,
        },
      ],
      "lowestSaturated": 2,
      "skippedCells": [
        "rate-5-iteration-1",
      ],
    }
  `);
  // What was not played is no part of all.
  expect(summarizer.overall()).toMatchObject({ seconds: 160, ratePerSecond: { target: 2.5 } });
  expect(summarizer.cells().map(({ skipped }) => skipped)).toEqual([false, false, false, false, true]);
});

test("closed loop: no rate to keep up with, and a backlog that was asked for", () => {
  const plan = [2, 8].map((concurrency, index) =>
    cell(`concurrency-${concurrency}-iteration-1`, index * 100, { ratePerSecond: null, concurrency }),
  );
  const summarizer = new Summarizer({ plan, t0UnixNs: BigInt(t0) * 1_000_000_000n });
  for (const one of plan) play(summarizer, one, (n) => 1 + n / 10);
  expect(summarizer.overall().ratePerSecond).toMatchObject({ target: null, sent: 2 });
  expect(summarizer.cells().map(({ concurrency }) => concurrency)).toEqual([2, 8]);
  expect(summarizer.saturation()).toMatchObject({
    kind: "concurrency",
    highestNotSaturated: 8,
    lowestSaturated: null,
    levels: [
      { target: 2, backlogGrowthPerSecond: null, goodputShare: null, saturated: false },
      { target: 8, backlogGrowthPerSecond: null, goodputShare: null, saturated: false },
    ],
  });
  const found = [{ cell: "concurrency-8-iteration-1", reason: "no more is let out than at 2" }];
  const stopped = new Summarizer({ plan, t0UnixNs: BigInt(t0) * 1_000_000_000n, saturatedCells: found });
  for (const one of plan) play(stopped, one, () => 1);
  expect(stopped.saturation()).toMatchObject({
    highestNotSaturated: 2,
    lowestSaturated: 8,
    levels: [
      { saturated: false },
      { reasons: ["found while concurrency-8-iteration-1 was played: no more is let out than at 2"] },
    ],
  });
});

test("a ramp has the mean rate of each of its phases, and is no level", () => {
  const phases = [
    { name: "warm-up", startOffsetSeconds: 0, durationSeconds: 10 },
    { name: "before", startOffsetSeconds: 10, durationSeconds: 30 },
  ];
  const plan = [
    cell("rate-1-to-9-iteration-1", 0, { ratePerSecond: 1, rampToRatePerSecond: 9, phases }),
    cell("rate-4-iteration-1", 100, { ratePerSecond: 4 }),
  ];
  const summarizer = new Summarizer({ plan, t0UnixNs: BigInt(t0) * 1_000_000_000n });
  // The line from 1 to 9 in 40 s is at 6 in the middle of 10 s to 40 s.
  expect(summarizer.cells()[0]?.phases[0]?.ratePerSecond.target).toBe(6);
  expect(summarizer.saturation()).toBeNull();
});

test("impact: what changed for the senders, judged by the worst change", () => {
  const phases = [
    { name: "before", startOffsetSeconds: 0, durationSeconds: 20 },
    { name: "fault", startOffsetSeconds: 20, durationSeconds: 20 },
  ];
  const plan = [cell("rate-2-iteration-1", 0, { phases }), cell("rate-2-iteration-2", 100, { phases })];
  const summarizer = new Summarizer({
    plan,
    t0UnixNs: BigInt(t0) * 1_000_000_000n,
    slo: { ...noLimit, ttftMilliseconds: 70 },
    faultCells: new Set(["rate-2-iteration-1"]),
  });
  for (const one of plan) {
    play(
      summarizer,
      one,
      () => 1,
      (n) => (n < 40 ? {} : { phase: "fault", ttftNs: 65e6, ...(n < 44 ? { status: "timeout" } : {}) }),
    );
  }
  expect(summarizer.impact()).toEqual([
    {
      cell: "rate-2-iteration-1",
      severity: "major",
      changes: [
        { indicator: "TTFT p50", unit: "ms", before: 50, fault: 65, change: 1.3, severity: "minor" },
        // 40 requests: too few for a 99th percentile.
        { indicator: "TTFT p99", unit: "ms", before: 50, fault: 65, change: 1.3, severity: null },
        { indicator: "ITL p50", unit: "ms", before: 10, fault: 10, change: 1, severity: "none" },
        { indicator: "E2E p99", unit: "ms", before: 1000, fault: 1000, change: 1, severity: null },
        { indicator: "error rate", unit: "share", before: 0, fault: 0.1, change: 0.1, severity: "major" },
        { indicator: "goodput", unit: "share", before: 1, fault: 0.9, change: -0.1, severity: "minor" },
      ],
    },
  ]);
});

test("impact: a doubled latency of a millisecond is none; no answer at all has no latency", () => {
  const distribution = (n: number, value: number | null) =>
    ({ n, mean: value, min: value, p50: value, p90: value, p95: value, p99: value, max: value }) as const;
  const phase = (ok: number, failed: number, latency: number | null) => ({
    requests: { scheduled: ok + failed, sent: ok + failed, ok, failed, failedByStatus: {} },
    goodput: null,
    ttftMs: distribution(ok, latency),
    itlMs: distribution(ok, latency),
    e2eMs: distribution(ok, latency),
  });
  const severityOf = (...phases: Parameters<typeof phase>[]) => {
    const [before, fault] = phases.map((values) => phase(...values));
    const impact = impactOf("c", before, fault);
    return [impact?.severity, impact?.changes.map(({ severity }) => severity)];
  };
  expect(severityOf([200, 0, 1], [200, 0, 2])).toEqual(["none", ["none", "none", "none", "none", "none"]]);
  expect(severityOf([200, 0, 10], [200, 0, 20])).toEqual([
    "major",
    ["major", "major", "major", "major", "none"],
  ]);
  expect(severityOf([200, 0, 10], [0, 200, null])).toEqual(["major", [null, null, null, null, "major"]]);
  expect(severityOf([0, 0, null], [0, 0, null])).toEqual([null, [null, null, null, null, null]]);
  expect(impactOf("c", undefined, phase(1, 0, 1))).toBeUndefined();
});

test("a request was hit by the faults that acted between its sending and its end", () => {
  const at = (seconds: number): bigint => BigInt(ns(t0 + seconds));
  const cpu = { cell: "rate-2-iteration-1", fault: "cpu", kind: "cpu", fromUnixNs: at(10), toUnixNs: at(20) };
  const open = { cell: "other", fault: "memory", kind: "memory", fromUnixNs: at(15), toUnixNs: undefined };
  const hit = (sent: number | null, seconds: number): readonly string[] =>
    faultsDuring(
      row({
        scheduledUnixNs: ns(t0 + (sent ?? 12)),
        sentUnixNs: sent === null ? null : ns(t0 + sent),
        doneNs: sent === null ? null : seconds * 1e9,
      }),
      [cpu, open],
    );
  expect(hit(8, 1.9)).toEqual([]);
  expect(hit(8, 2)).toEqual(["cpu"]);
  expect(hit(8, 9)).toEqual(["cpu", "other/memory"]);
  expect(hit(20.1, 1)).toEqual(["other/memory"]);
  // Never sent: by the instant at which it was due.
  expect(hit(null, 0)).toEqual(["cpu"]);
});

const selfCheck = {
  cpuShare: 0.42,
  throttledSeconds: 0.25,
  socketErrors: 0,
  lagP99Ms: 1.5,
  bottleneck: false,
  reasons: [],
};

function evidence(report: object, overrides: Partial<Evidence> = {}): Evidence {
  const plan = [cell("rate-2-iteration-1", 0)];
  const summarizer = new Summarizer({ plan, t0UnixNs: BigInt(t0) * 1_000_000_000n });
  play(summarizer, plan[0] as CellSpec, () => 1);
  const base = {
    requests: { scheduled: 80, sent: 80, ok: 80, failed: 0 },
    aborted: false,
    abortReason: null,
  };
  return {
    report: { ...base, ...report } as unknown as LoadReport,
    reportProblem: undefined,
    requests: { rows: 80, unreadableLines: 0 },
    tokens: new TokenCounts(),
    overall: summarizer.overall(),
    randomArrivals: false,
    closedLoop: false,
    jobs: [],
    health: [],
    faultedNamespace: undefined,
    cluster: undefined,
    problems: [],
    ...overrides,
  };
}

const named = (checks: ReturnType<typeof qualityChecks>, name: string) =>
  checks.find(({ check }) => check === name);

test("the load generator's word on itself is a check; a report without it has none", () => {
  expect(named(qualityChecks(evidence({})), "load-generator-kept-up")).toBeUndefined();
  expect(named(qualityChecks(evidence({ selfCheck })), "load-generator-kept-up")).toEqual({
    check: "load-generator-kept-up",
    value: true,
    threshold: "true",
    pass: true,
    note: "CPU share 0.42, throttled for 0.25 s, 0 socket errors, lag p99 1.50 ms",
  });
  // The lag is its own part of it; without its word all of it.
  expect(named(qualityChecks(evidence({ selfCheck })), "lag-p99-ms")).toMatchObject({
    value: 1.5,
    pass: true,
  });
  expect(named(qualityChecks(evidence({})), "lag-p99-ms")).toMatchObject({ value: 0.1, pass: true });
  const reasons = ["CPU share 0.97 is above 0.85"];
  const slow = { ...selfCheck, cpuShare: 0.97, throttledSeconds: null, bottleneck: true, reasons };
  expect(named(qualityChecks(evidence({ selfCheck: slow })), "load-generator-kept-up")).toEqual({
    check: "load-generator-kept-up",
    value: false,
    threshold: "true",
    pass: false,
    note: "CPU share 0.97 is above 0.85 (CPU share 0.97, 0 socket errors, lag p99 1.50 ms)",
  });
});

test("prompts are compared where their length was asked for", () => {
  const tokens = new TokenCounts();
  const checksOf = () => named(qualityChecks(evidence({}, { tokens })), "prompt-tokens-as-expected");
  tokens.add(row({ expectedPromptTokens: null, promptTokens: 90 }));
  expect(checksOf()).toBeUndefined();
  tokens.add(row({ expectedPromptTokens: 64, promptTokens: 70 }));
  expect(checksOf()).toMatchObject({
    value: 1,
    pass: true,
    note: "the chat template adds 6 tokens to each prompt",
  });
});

test("a closed loop is not held to a rate", () => {
  expect(named(qualityChecks(evidence({})), "sent-rate-share")).toMatchObject({ value: 1, pass: true });
  const checks = qualityChecks(evidence({}, { closedLoop: true })).map(({ check }) => check);
  expect(checks).not.toContain("sent-rate-share");
  expect(checks).toContain("lag-p99-ms");
});

test("targets that a fault may take down do not count against the scrapes", () => {
  const target = (namespace: string | null, upShare: number) => ({
    ...{ job: "ray", instance: `${namespace}:1`, namespace, samples: 10, expectedSamples: 10, upShare },
  });
  const health = [target(null, 1), target("exp-a", 0.5), target("monitoring", 1)];
  const checkOf = (faultedNamespace: string | undefined) =>
    named(qualityChecks(evidence({}, { health, faultedNamespace })), "targets-up-share");
  expect(checkOf(undefined)).toEqual({
    check: "targets-up-share",
    value: 0.833333,
    threshold: ">= 0.99",
    pass: false,
    note: "ray exp-a:1",
  });
  expect(checkOf("exp-a")).toMatchObject({ value: 1, pass: true });
});
