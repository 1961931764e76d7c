// Compares an indicator in a window with what it was before: medians, deviations, and every threshold in one place.
//
// The noise is taken from all phases `before` of the run, each about its own median: the deviation of three samples
// alone is so uncertain that without any effect every fifth window would be 6 of them away. With normal noise and two
// samples in the window, 6 deviations are reached by chance in 20 % of windows with the MAD of 3 samples, in 2 % with
// the noise of 4 cells of 2 samples, in 0.3 % with that of 4 cells of 3 samples. Floors make it rarer.
import { percentile, round } from "../shared/percentiles.ts";

/** What a shift is compared with, and how large it must be; documented in docs/experiments.md. */
export const thresholds = {
  /** |median in the window - median before| / noise, from which on an indicator shows the fault. */
  effectZ: 6,
  /** The same on a pod that was not meant, from which on it counts as hit beside a target that is hit ... */
  bystanderZ: 3,
  /** ... where its shift is at least this share of the target's: with few samples 3 deviations are soon reached. */
  bystanderShare: 0.2,
  /** This share of the shift, and effectZ, still there after the recovery count as not recovered. */
  leftShare: 0.5,
  minimumBaselineSamples: 2,
  minimumWindowSamples: 2,
  /** Of the noise: samples in all phases `before`, less one for each of them, whose median was taken from them. */
  minimumNoiseSamples: 3,
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
  /** Deviations from the median in all phases `before` of the run. */
  readonly noise: { readonly n: number; readonly mad: number | null };
  readonly window: { readonly n: number; readonly median: number | null };
  readonly after: { readonly n: number; readonly median: number | null };
  readonly shift: number | null;
  /** Shift by the largest of both deviations and the floor; null where there are too few samples. */
  readonly z: number | null;
  /** The same of what is there after the fault; null where there are no samples. */
  readonly zAfter: number | null;
  readonly hit: boolean | null;
  /** The first sample in the window that is as far from the baseline. */
  readonly onsetMs: number | null;
}

export interface Spans {
  readonly before: Span;
  readonly window: Span;
  readonly after?: Span | undefined;
  /** All phases `before` of the run. */
  readonly quiet: readonly Span[];
}

export function measure(samples: readonly Sample[], spans: Spans, scale: Scale): Measurement {
  const inside = (span: Span | undefined): Sample[] =>
    span === undefined ? [] : samples.filter(({ atMs }) => atMs >= span.fromMs && atMs < span.toMs);
  const valuesOf = (span: Span | undefined): number[] => inside(span).map(({ value }) => value);
  const before = valuesOf(spans.before);
  const during = inside(spans.window);
  const after = valuesOf(spans.after);
  const deviations = spans.quiet.flatMap((span) => deviationsOf(valuesOf(span)));
  const baseline = median(before);
  const mad = baseline === null ? null : median(before.map((value) => Math.abs(value - baseline)));
  const noise = median(deviations);
  const middle = median(during.map(({ value }) => value));
  const last = median(after);
  const figures = {
    baseline: { n: before.length, median: rounded(baseline), mad: rounded(mad) },
    noise: { n: deviations.length, mad: rounded(noise) },
    window: { n: during.length, median: rounded(middle) },
    after: { n: after.length, median: rounded(last) },
  };
  const enough =
    before.length >= thresholds.minimumBaselineSamples &&
    during.length >= thresholds.minimumWindowSamples &&
    deviations.length >= thresholds.minimumNoiseSamples;
  if (!enough || baseline === null || mad === null || noise === null || middle === null) {
    return { ...figures, shift: null, z: null, zAfter: null, hit: null, onsetMs: null };
  }
  const unit = Math.max(mad, noise, scale.absoluteFloor, scale.relativeFloor * Math.abs(baseline));
  const zOf = (value: number): number => Math.abs(value - baseline) / unit;
  const far = (value: number): boolean =>
    zOf(value) >= thresholds.effectZ && isToward(value - baseline, scale.direction);
  const hit = far(middle);
  return {
    ...figures,
    shift: round(middle - baseline),
    z: round(zOf(middle)),
    zAfter: last === null ? null : round(zOf(last)),
    hit,
    onsetMs: hit ? (during.find(({ value }) => far(value))?.atMs ?? null) : null,
  };
}

/** Absolute deviations from the median, one fewer than there are values, enlarged by what the median took from them. */
export function deviationsOf(values: readonly number[]): readonly number[] {
  const middle = median(values);
  if (middle === null || values.length < 2) return [];
  const enlarged = Math.sqrt(values.length / (values.length - 1));
  const all = values.map((value) => Math.abs(value - middle) * enlarged);
  return all.toSorted((left, right) => left - right).slice(1);
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
