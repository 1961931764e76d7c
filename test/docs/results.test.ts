// docs/results.md and docs/metrics.md: every column and every check is named, and the thresholds are those of the code.

import { expect, test } from "vitest";
import { impactThresholds } from "../../workloads/collector/impact.ts";
import { qualityChecks, TokenCounts } from "../../workloads/collector/quality.ts";
import { requestColumns } from "../../workloads/collector/requests.ts";
import { saturationRule } from "../../workloads/collector/saturation.ts";
import { Summarizer } from "../../workloads/collector/summary.ts";
import type { LoadReport } from "../../workloads/shared/rows.ts";
import { inlineCode, read } from "./support.ts";

/** Code in the first cells of the tables' rows. */
function firstCells(page: string): string[] {
  const rows = read(page)
    .split("\n")
    .filter((line) => line.startsWith("| "));
  return rows.flatMap((line) => inlineCode(line.split("|")[1] ?? ""));
}

test("every column of requests.csv has its meaning", () => {
  const named = firstCells("docs/results.md");
  const columns = requestColumns.map(({ name }) => name);
  expect(columns.length).toBeGreaterThan(30);
  expect(columns.filter((name) => !named.includes(name))).toEqual([]);
});

test("every check of the quality is named", () => {
  const selfCheck = {
    cpuShare: 0,
    throttledSeconds: null,
    socketErrors: 0,
    lagP99Ms: 0,
    bottleneck: false,
    reasons: [],
  };
  const checks = qualityChecks({
    report: { requests: {}, aborted: false, selfCheck } as unknown as LoadReport,
    reportProblem: undefined,
    requests: { rows: 0, unreadableLines: 0 },
    tokens: new TokenCounts(),
    overall: new Summarizer({ plan: [], t0UnixNs: undefined }).overall(),
    randomArrivals: false,
    closedLoop: false,
    jobs: [],
    health: [],
    faultedNamespace: undefined,
    cluster: undefined,
    problems: [],
  }).map(({ check }) => check);
  const named = firstCells("docs/metrics.md");
  expect(checks.length).toBeGreaterThan(12);
  expect([...checks, "cells-as-planned"].filter((name) => !named.includes(name))).toEqual([]);
});

test("the thresholds of saturation and impact", () => {
  const page = read("docs/metrics.md");
  const { completedShareBelow, growthShareAbove, growthAbove, growthDeviations } = saturationRule;
  expect(page).toContain(`Less than ${completedShareBelow} of the requests that were due ended ok`);
  expect(page).toContain(`by more than ${growthShareAbove} of the rate at which requests were due`);
  expect(page).toContain(
    `${growthAbove} request with constant arrivals, else ${growthDeviations} deviations`,
  );
  const { latencyRatio, errorShare, goodputShare, latencyFloorMs, minimumValues } = impactThresholds;
  for (const [row, { minor, major }] of [
    ["fault / before", latencyRatio],
    ["fault - before", errorShare],
    ["before - fault", goodputShare],
  ] as const) {
    expect(page).toContain(`| ${row} | ${minor} | ${major} |`);
  }
  expect(page).toContain(`changes by less than ${latencyFloorMs} ms`);
  expect(page).toContain(
    `Medians need ${minimumValues.p50} values in both phases, 99th percentiles ${minimumValues.p99}`,
  );
});
