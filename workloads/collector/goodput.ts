// Goodput: which requests were good enough for whoever waited for them. Definitions beside those of other tools: docs/metrics.md.
import type { RequestRow } from "../shared/rows.ts";

/** Section `slo` of an experiment; null: no limit. */
export interface Slo {
  readonly ttftMilliseconds: number | null;
  /** For (last token - first token) / (output tokens - 1). */
  readonly tpotMilliseconds: number | null;
  /** For the mean of a request's gaps between chunks that carry tokens. */
  readonly itlMilliseconds: number | null;
  readonly e2eMilliseconds: number | null;
  /** The share of good requests below which a load level counts as saturated. */
  readonly attainmentShare: number;
}

export interface Goodput {
  /** Good requests by the window's length; a request counts in the window in which it was due. */
  readonly requestsPerSecond: number | null;
  /** Good requests of all that were due: what failed and what was never sent is not good. */
  readonly share: number | null;
}

export function hasLimit(slo: Slo | undefined): slo is Slo {
  if (slo === undefined) return false;
  const { ttftMilliseconds, tpotMilliseconds, itlMilliseconds, e2eMilliseconds } = slo;
  return [ttftMilliseconds, tpotMilliseconds, itlMilliseconds, e2eMilliseconds].some(
    (limit) => limit !== null,
  );
}

/**
 * Whether a request ended ok and meets every limit that is set; equal to the limit is good. What was not measured
 * (a TTFT without streaming) does not meet a limit; a single token has no gaps, and so no gap that is too long.
 */
export function isGood(row: RequestRow, slo: Slo): boolean {
  if (row.status !== "ok") return false;
  const meets = (ns: number | null, limit: number | null): boolean =>
    limit === null || (ns !== null && ns / 1e6 <= limit);
  const single = row.ttftNs !== null && row.itlNs.length === 0;
  return (
    meets(row.ttftNs, slo.ttftMilliseconds) &&
    meets(row.tpotNs ?? (single ? 0 : null), slo.tpotMilliseconds) &&
    meets(single ? 0 : meanOf(row.itlNs), slo.itlMilliseconds) &&
    meets(row.e2eNs, slo.e2eMilliseconds)
  );
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
