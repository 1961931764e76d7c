// The summary's table: what is added for goodput, a closed loop, saturation, impact and a load generator that was too slow.
import { expect, test } from "vitest";
import { summaryTable } from "../../cli/summary.ts";
import type { Stats } from "../../workloads/collector/stats.ts";
import type { Summary } from "../../workloads/collector/summary.ts";

const figures = (p50: number) => ({
  n: 8,
  mean: p50,
  min: 1,
  p50,
  p90: p50 * 1.5,
  p95: p50,
  p99: p50 * 2,
  max: 9,
});

function stats(target: number | null, goodput: Stats["goodput"]): Stats {
  return {
    seconds: 10,
    requests: { scheduled: 40, sent: 40, ok: 40, failed: 0, failedByStatus: {} },
    ratePerSecond: { target, sent: 4, completed: 4 },
    goodput,
    outputTokensPerSecond: 1,
    ttftMs: figures(50),
    itlMs: figures(10),
    tpotMs: figures(10),
    e2eMs: figures(200),
    lagMs: figures(0.2),
  };
}

const cell = { arrivals: "constant", startUnixNs: "0", durationSeconds: 10, warmUp: null };
const saturationLevel = {
  cells: [],
  sentPerSecond: 4,
  completedPerSecond: 4,
  completedShare: 1,
  goodputShare: 1,
  backlogAtEnd: 1,
  backlogGrowthPerSecond: 0,
};

function summary(overrides: Partial<Summary>): Summary {
  return {
    schemaVersion: 1,
    experimentId: "smoke-r1-3f9ac2",
    measurementOf: "engine",
    measurementText: "",
    standIns: [],
    model: "phi-4",
    t0UnixNs: "0",
    t0: "2023-11-14T22:13:20.123456789Z",
    endedUnixNs: "1",
    slo: null,
    loadGenerator: null,
    cells: [],
    overall: stats(4, null),
    saturation: null,
    impact: [],
    quality: { verdict: "pass", failed: [], checks: 1 },
    ...overrides,
  };
}

function table(value: Summary): string {
  return summaryTable({
    folder: "fetched/smoke-r1-3f9ac2",
    summary: value,
    quality: { schemaVersion: 1, experimentId: value.experimentId, verdict: "pass", checks: [] },
    manifest: {
      schemaVersion: 1,
      experimentId: value.experimentId,
      completedUnixNs: "2",
      standIns: [],
      complete: true,
      notes: [],
      files: [],
      versions: {},
    },
  });
}

test("goodput, saturation and impact", () => {
  const good = (share: number): Stats["goodput"] => ({ requestsPerSecond: 4 * share, share });
  const text = table(
    summary({
      slo: {
        ttftMilliseconds: 500,
        tpotMilliseconds: null,
        itlMilliseconds: null,
        e2eMilliseconds: 2000,
        attainmentShare: 0.9,
      },
      cells: [
        {
          ...cell,
          id: "rate-4-iteration-1",
          concurrency: null,
          skipped: false,
          measured: stats(4, good(1)),
          phases: [],
        },
        {
          ...cell,
          id: "rate-8-iteration-1",
          concurrency: null,
          skipped: true,
          measured: stats(8, good(0.5)),
          phases: [],
        },
      ],
      overall: stats(6, good(0.75)),
      saturation: {
        kind: "ratePerSecond",
        levels: [
          { ...saturationLevel, target: 4, saturated: false, reasons: [] },
          {
            ...saturationLevel,
            target: 8,
            saturated: true,
            reasons: ["50.0 % of the requests were good, asked: 90.0 %"],
          },
        ],
        highestNotSaturated: 4,
        lowestSaturated: 8,
        skippedCells: ["rate-16-iteration-1"],
      },
      impact: [
        {
          cell: "rate-4-iteration-1",
          severity: "major",
          changes: [
            { indicator: "TTFT p50", unit: "ms", before: 50, fault: 125, change: 2.5, severity: "major" },
            { indicator: "ITL p50", unit: "ms", before: 10, fault: 10, change: 1, severity: "none" },
            {
              indicator: "error rate",
              unit: "share",
              before: 0,
              fault: 0.05,
              change: 0.05,
              severity: "minor",
            },
          ],
        },
      ],
    }),
  );
  expect(text).toMatchInlineSnapshot(`
    "
    experiment smoke-r1-3f9ac2, model phi-4, T0 2023-11-14T22:13:20.123456789Z

    latencies in ms, of requests that ended ok, warm-up excluded
                                  requests  errors  sent/s  target/s  done/s  TTFT p50 / p90 / p99  ITL p50 / p90 / p99  E2E p50 / p90 / p99  lag p99     good
    rate-4-iteration-1                  40       0    4.00      4.00    4.00     50.0 / 75.0 / 100   10.0 / 15.0 / 20.0      200 / 300 / 400     0.40  100.0 %
    rate-8-iteration-1 (skipped)        40       0    4.00      8.00    4.00     50.0 / 75.0 / 100   10.0 / 15.0 / 20.0      200 / 300 / 400     0.40   50.0 %
    all                                 40       0    4.00      6.00    4.00     50.0 / 75.0 / 100   10.0 / 15.0 / 20.0      200 / 300 / 400     0.40   75.0 %

    good: share of all requests that ended ok with TTFT <= 500 ms, E2E <= 2000 ms
    saturation: kept up with 4 requests/s, saturated at 8 requests/s, not played: rate-16-iteration-1
      8: 50.0 % of the requests were good, asked: 90.0 %
    impact on rate-4-iteration-1: major (TTFT p50 50.0 -> 125 ms, error rate 0.0 % -> 5.0 %)
    quality: 0 of 0 checks passed
    results: fetched/smoke-r1-3f9ac2 (0 files)
    "
  `);
});

test("a closed loop, and a load generator that was too slow", () => {
  const text = table(
    summary({
      loadGenerator: { bottleneck: true, reasons: ["CPU share 0.97 is above 0.85"] },
      cells: [
        {
          ...cell,
          id: "concurrency-8-iteration-1",
          concurrency: 8,
          skipped: false,
          measured: stats(null, null),
          phases: [],
        },
      ],
      overall: stats(null, null),
      saturation: null,
    }),
  );
  expect(text).toMatchInlineSnapshot(`
    "
    experiment smoke-r1-3f9ac2, model phi-4, T0 2023-11-14T22:13:20.123456789Z
    *** THE LOAD GENERATOR WAS THE BOTTLENECK, NOT THE ENGINE: CPU share 0.97 is above 0.85 ***

    latencies in ms, of requests that ended ok, warm-up excluded
                               requests  errors  sent/s  target/s  done/s  TTFT p50 / p90 / p99  ITL p50 / p90 / p99  E2E p50 / p90 / p99  lag p99  in flight
    concurrency-8-iteration-1        40       0    4.00         -    4.00     50.0 / 75.0 / 100   10.0 / 15.0 / 20.0      200 / 300 / 400     0.40          8

    quality: 0 of 0 checks passed
    results: fetched/smoke-r1-3f9ac2 (0 files)
    "
  `);
});
