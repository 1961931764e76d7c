// Percentiles with linear interpolation between closest ranks (numpy's default, the definition of vLLM's benchmark).

/** Figures of one quantity; all null where there is no value, so that "nothing measured" never reads as 0. */
export interface Distribution {
  readonly n: number;
  readonly mean: number | null;
  readonly min: number | null;
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly max: number | null;
}

/** The p-th percentile (0 to 100) of values that are sorted already. */
export function percentile(sorted: ArrayLike<number>, p: number): number | null {
  if (sorted.length === 0) return null;
  const rank = ((sorted.length - 1) * p) / 100;
  const low = Math.floor(rank);
  const a = sorted[low] as number;
  const b = sorted[Math.min(low + 1, sorted.length - 1)] as number;
  return a + (b - a) * (rank - low);
}

/** A growing list of doubles: millions of inter-token gaps fit without an object each. */
export class Samples {
  #values = new Float64Array(256);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#length++] = value;
  }

  sorted(): Float64Array {
    return this.#values.slice(0, this.#length).sort();
  }

  distribution(): Distribution {
    const sorted = this.sorted();
    const at = (p: number): number | null => roundOrNull(percentile(sorted, p));
    let sum = 0;
    for (const value of sorted) sum += value;
    return {
      n: sorted.length,
      mean: sorted.length === 0 ? null : round(sum / sorted.length),
      min: at(0),
      p50: at(50),
      p90: at(90),
      p95: at(95),
      p99: at(99),
      max: at(100),
    };
  }
}

/** To six decimals: a nanosecond, where the unit is the millisecond. */
export function round(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

function roundOrNull(value: number | null): number | null {
  return value === null ? null : round(value);
}
