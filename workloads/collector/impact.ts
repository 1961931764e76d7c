// What a fault did to those who sent requests: the indicators of service before and during it, and how severe the change is.
import type { Distribution } from "../shared/percentiles.ts";
import { round } from "../shared/percentiles.ts";
import type { Stats } from "./stats.ts";

const severities = ["none", "minor", "major"] as const;
type Severity = (typeof severities)[number];

/** From which change on a fault counts; documented in docs/metrics.md. */
export const impactThresholds = {
  /** A latency during the fault by the one before. */
  latencyRatio: { minor: 1.2, major: 2 },
  /** A latency that changes by less counts as unchanged. */
  latencyFloorMs: 5,
  /** Added to the share of failed requests. */
  errorShare: { minor: 0.01, major: 0.1 },
  /** Taken from the share of good requests. */
  goodputShare: { minor: 0.05, major: 0.25 },
  /** Fewer values on either side say nothing: a median, and a 99th percentile. */
  minimumValues: { p50: 10, p99: 100 },
} as const;

export interface Change {
  readonly indicator: string;
  readonly unit: "ms" | "share";
  readonly before: number | null;
  readonly fault: number | null;
  /** Latencies: fault / before; shares: fault - before. Null where one of them was not measured. */
  readonly change: number | null;
  /** Null where there are too few values to tell. */
  readonly severity: Severity | null;
}

export interface Impact {
  readonly cell: string;
  /** The worst of its changes; null where none could be judged. */
  readonly severity: Severity | null;
  readonly changes: readonly Change[];
}

type Phase = Pick<Stats, "requests" | "goodput" | "ttftMs" | "itlMs" | "e2eMs">;

/** Of a cell with a fault; undefined where it has no phase `before` or no phase `fault`. */
export function impactOf(
  cell: string,
  before: Phase | undefined,
  fault: Phase | undefined,
): Impact | undefined {
  if (before === undefined || fault === undefined) return undefined;
  const latency = (indicator: string, key: "ttftMs" | "itlMs" | "e2eMs", percentile: "p50" | "p99"): Change =>
    latencyChange(indicator, percentile, before[key], fault[key]);
  const changes = [
    latency("TTFT p50", "ttftMs", "p50"),
    latency("TTFT p99", "ttftMs", "p99"),
    latency("ITL p50", "itlMs", "p50"),
    latency("E2E p99", "e2eMs", "p99"),
    shareChange("error rate", errorShare(before), errorShare(fault), impactThresholds.errorShare, 1),
    ...(fault.goodput === null
      ? []
      : [
          shareChange(
            "goodput",
            before.goodput?.share ?? null,
            fault.goodput.share,
            impactThresholds.goodputShare,
            -1,
          ),
        ]),
  ];
  const judged = changes.flatMap(({ severity }) => severity ?? []);
  return { cell, severity: severities.findLast((name) => judged.includes(name)) ?? null, changes };
}

function latencyChange(
  indicator: string,
  percentile: "p50" | "p99",
  before: Distribution,
  fault: Distribution,
): Change {
  const [a, b] = [before[percentile], fault[percentile]];
  const base = { indicator, unit: "ms" as const, before: a, fault: b };
  if (a === null || b === null || a === 0) return { ...base, change: null, severity: null };
  const change = round(b / a);
  const enough = Math.min(before.n, fault.n) >= impactThresholds.minimumValues[percentile];
  const seen = b - a >= impactThresholds.latencyFloorMs;
  return {
    ...base,
    change,
    severity: enough ? gradeOf(seen ? change : 1, impactThresholds.latencyRatio) : null,
  };
}

function shareChange(
  indicator: string,
  before: number | null,
  fault: number | null,
  thresholds: { readonly minor: number; readonly major: number },
  worse: 1 | -1,
): Change {
  const base = { indicator, unit: "share" as const, before, fault };
  if (before === null || fault === null) return { ...base, change: null, severity: null };
  const change = round(fault - before);
  return { ...base, change, severity: gradeOf(worse * change, thresholds) };
}

function gradeOf(
  value: number,
  { minor, major }: { readonly minor: number; readonly major: number },
): Severity {
  if (value >= major) return "major";
  return value >= minor ? "minor" : "none";
}

function errorShare({ requests }: Phase): number | null {
  return requests.scheduled === 0 ? null : round(requests.failed / requests.scheduled);
}
