// Compares an indicator in a window with what it was before: medians, deviations, and every threshold in one place.
import { percentile, round } from "../shared/percentiles.ts";

/** What a shift is compared with, and how large it must be; documented in docs/experiments.md. */
export const thresholds = {
  /** |median in the window - median before| / MAD before, from which on an indicator shows the fault. */
  effectZ: 6,
  /** The same on a pod that was not meant, from which on it counts as hit too ... */
  bystanderZ: 3,
  /** ... where its shift is at least this share of the target's: with few samples 3 MAD are soon reached. */
  bystanderShare: 0.2,
  /** A share of the shift that is still there after the recovery counts as not recovered. */
  leftShare: 0.5,
  minimumBaselineSamples: 3,
  minimumWindowSamples: 2,
  /** A fault that acted for a smaller share of its planned time counts as not delivered. */
  minimumActingShare: 0.5,
} as const;

export interface Sample {
  /** For a rate the middle of its interval. */
  readonly atMs: number;
  readonly value: number;
}

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

type Direction = "up" | "down" | "either";

/** How an indicator is judged; no deviation counts as smaller than the floors. */
export interface Scale {
  readonly direction: Direction;
  readonly absoluteFloor: number;
  readonly relativeFloor: number;
}

export interface Measurement {
  readonly baseline: { readonly n: number; readonly median: number | null; readonly mad: number | null };
  readonly window: { readonly n: number; readonly median: number | null };
  readonly after: { readonly n: number; readonly median: number | null };
  readonly shift: number | null;
  /** Shift by the larger of MAD and floor; null where there are too few samples. */
  readonly z: number | null;
  readonly hit: boolean | null;
  /** The first sample in the window that is as far from the baseline. */
  readonly onsetMs: number | null;
}

export function measure(
  samples: readonly Sample[],
  spans: { readonly before: Span; readonly window: Span; readonly after?: Span | undefined },
  scale: Scale,
): Measurement {
  const inside = (span: Span | undefined): Sample[] =>
    span === undefined ? [] : samples.filter(({ atMs }) => atMs >= span.fromMs && atMs < span.toMs);
  const before = inside(spans.before).map(({ value }) => value);
  const during = inside(spans.window);
  const after = inside(spans.after).map(({ value }) => value);
  const baseline = median(before);
  const mad = baseline === null ? null : median(before.map((value) => Math.abs(value - baseline)));
  const middle = median(during.map(({ value }) => value));
  const figures = {
    baseline: { n: before.length, median: rounded(baseline), mad: rounded(mad) },
    window: { n: during.length, median: rounded(middle) },
    after: { n: after.length, median: rounded(median(after)) },
  };
  const enough =
    before.length >= thresholds.minimumBaselineSamples && during.length >= thresholds.minimumWindowSamples;
  if (!enough || baseline === null || mad === null || middle === null) {
    return { ...figures, shift: null, z: null, hit: null, onsetMs: null };
  }
  const unit = Math.max(mad, scale.absoluteFloor, scale.relativeFloor * Math.abs(baseline));
  const far = (value: number): boolean =>
    Math.abs(value - baseline) / unit >= thresholds.effectZ && isToward(value - baseline, scale.direction);
  const shift = middle - baseline;
  const hit = far(middle);
  return {
    ...figures,
    shift: round(shift),
    z: round(Math.abs(shift) / unit),
    hit,
    onsetMs: hit ? (during.find(({ value }) => far(value))?.atMs ?? null) : null,
  };
}

function isToward(shift: number, direction: Direction): boolean {
  return direction === "either" || (direction === "up" ? shift > 0 : shift < 0);
}

function median(values: readonly number[]): number | null {
  return percentile(Float64Array.from(values).sort(), 50);
}

function rounded(value: number | null): number | null {
  return value === null ? null : round(value);
}
