// Counts, rates and latency figures of one group of requests: a phase, a cell, all of them.
import { type Distribution, round, Samples } from "../shared/percentiles.ts";
import type { RequestRow } from "../shared/rows.ts";
import { secondsBetween } from "../shared/time.ts";
import { type Goodput, hasLimit, isGood, type Slo } from "./goodput.ts";

/** Latencies are of requests that ended ok; lag is of all requests that were sent. */
export interface Stats {
  /** Length of the measured window, by the plan. */
  readonly seconds: number | null;
  readonly requests: Counts;
  readonly ratePerSecond: Rates;
  /** Null where the experiment sets no limit. */
  readonly goodput: Goodput | null;
  /** Tokens of ok requests by the window's length. */
  readonly outputTokensPerSecond: number | null;
  readonly ttftMs: Distribution;
  /** All gaps between tokens of all requests, pooled. */
  readonly itlMs: Distribution;
  readonly tpotMs: Distribution;
  readonly e2eMs: Distribution;
  readonly lagMs: Distribution;
}

export interface Counts {
  readonly scheduled: number;
  readonly sent: number;
  readonly ok: number;
  readonly failed: number;
  /** Failed requests by status; statuses that did not occur are absent. */
  readonly failedByStatus: Readonly<Record<string, number>>;
}

interface Rates {
  /** Null in a closed loop, whose rate is a result. */
  readonly target: number | null;
  /** Requests that were sent within the window, by its length. */
  readonly sent: number | null;
  /** Requests that ended ok within the window, by its length. */
  readonly completed: number | null;
}

export interface TimeWindow {
  readonly startUnixNs: bigint;
  readonly endUnixNs: bigint;
}

/** Gathers one group of requests. */
export class Group {
  readonly windows: readonly TimeWindow[];
  readonly target: number | null;
  readonly #slo: Slo | undefined;
  #scheduled = 0;
  #sent = 0;
  #ok = 0;
  #good = 0;
  #outputTokens = 0;
  #sentInside = 0;
  #completedInside = 0;
  readonly #failed = new Map<string, number>();
  readonly #ttft = new Samples();
  readonly #itl = new Samples();
  readonly #tpot = new Samples();
  readonly #e2e = new Samples();
  readonly #lag = new Samples();

  constructor(windows: readonly TimeWindow[], target: number | null, slo?: Slo) {
    this.windows = windows;
    this.target = target;
    this.#slo = hasLimit(slo) ? slo : undefined;
  }

  add(row: RequestRow): void {
    this.#scheduled += 1;
    if (row.sentUnixNs !== null) {
      this.#sent += 1;
      if (row.lagNs !== null) this.#lag.push(row.lagNs / 1e6);
    }
    if (row.status !== "ok") {
      this.#failed.set(row.status, (this.#failed.get(row.status) ?? 0) + 1);
      return;
    }
    this.#ok += 1;
    if (this.#slo !== undefined && isGood(row, this.#slo)) this.#good += 1;
    this.#outputTokens += row.outputTokens ?? 0;
    if (row.ttftNs !== null) this.#ttft.push(row.ttftNs / 1e6);
    if (row.tpotNs !== null) this.#tpot.push(row.tpotNs / 1e6);
    if (row.e2eNs !== null) this.#e2e.push(row.e2eNs / 1e6);
    for (const gap of row.itlNs) this.#itl.push(gap / 1e6);
  }

  /** Rates go by the clock alone: a request of the warm-up that ends inside the window counts as completed there. */
  clock(row: RequestRow): void {
    if (row.sentUnixNs === null) return;
    const sent = BigInt(row.sentUnixNs);
    if (this.#inside(sent)) this.#sentInside += 1;
    if (row.status === "ok" && row.doneNs !== null && this.#inside(sent + BigInt(Math.round(row.doneNs)))) {
      this.#completedInside += 1;
    }
  }

  #inside(at: bigint): boolean {
    return this.windows.some(({ startUnixNs, endUnixNs }) => at >= startUnixNs && at < endUnixNs);
  }

  get seconds(): number | null {
    if (this.windows.length === 0) return null;
    return round(this.windows.reduce((sum, w) => sum + secondsBetween(w.startUnixNs, w.endUnixNs), 0));
  }

  counts(): Counts {
    const failedByStatus = Object.fromEntries([...this.#failed].sort(([a], [b]) => a.localeCompare(b)));
    const failed = [...this.#failed.values()].reduce((sum, count) => sum + count, 0);
    return { scheduled: this.#scheduled, sent: this.#sent, ok: this.#ok, failed, failedByStatus };
  }

  stats(): Stats {
    const seconds = this.seconds;
    const rate = (count: number): number | null =>
      seconds === null || seconds === 0 ? null : round(count / seconds);
    return {
      seconds,
      requests: this.counts(),
      ratePerSecond: {
        target: this.target,
        sent: rate(this.#sentInside),
        completed: rate(this.#completedInside),
      },
      goodput:
        this.#slo === undefined
          ? null
          : {
              requestsPerSecond: rate(this.#good),
              share: this.#scheduled === 0 ? null : round(this.#good / this.#scheduled),
            },
      outputTokensPerSecond: rate(this.#outputTokens),
      ttftMs: this.#ttft.distribution(),
      itlMs: this.#itl.distribution(),
      tpotMs: this.#tpot.distribution(),
      e2eMs: this.#e2e.distribution(),
      lagMs: this.#lag.distribution(),
    };
  }
}
