// A client's records against what the server really did. All times in milliseconds.
import { percentile } from "../../workloads/shared/percentiles.ts";
import type { Client, ClientRow, Delay, Pace, Result, Work } from "./work.ts";

/** What the stub server knows of one request: nanoseconds since 1970. */
export interface TruthRow {
  readonly id: string;
  readonly receivedNs: number;
  readonly sentNs: readonly number[];
  readonly outputTokens: number;
}

/** What the client's processes cost, as measure writes it. */
export interface Usage {
  readonly exitCode: number;
  readonly cpuSeconds: number;
  readonly peakMemoryBytes: number;
  readonly samples: readonly { readonly unixNs: number; readonly cpuSeconds: number }[];
}

type Quantity = "ttft" | "itl" | "tpot" | "e2e";

interface Figure {
  readonly p50: number;
  readonly p99: number;
}

export interface Comparison {
  /** Figure of the client minus figure of the server; null where the client has no such figure. */
  readonly figures: Readonly<Record<Quantity, Figure | null>>;
  /** Size of the error of one request; null where requests cannot be told apart. */
  readonly each: Readonly<Record<"ttft" | "tpot" | "e2e", Figure>> | null;
  /** How late requests went out by the client's own record. */
  readonly delay: Delay | null;
  /** The same from the arrivals at the server, against a constant rate; null for another distribution. */
  readonly delayAtServer: Delay | null;
  readonly ratePerSecond: number;
  readonly failed: number;
  readonly cpuSeconds: number;
  /** Share of one core between the first request and the last token. */
  readonly cpuShare: number;
  readonly memoryMebibytes: number;
  /** How late the server sent tokens (p99 of all, ms): the machine's noise while this client ran. */
  readonly serverLate: number | null;
}

type Times = Pick<ClientRow, "ttft" | "tpot" | "e2e" | "gaps">;

/** The times that a client without any error would have measured. */
export function toTimes(row: TruthRow): Times {
  const sent = row.sentNs.map((at) => (at - row.receivedNs) / 1e6);
  const [first, last] = [sent[0]!, sent.at(-1)!];
  return {
    ttft: first,
    tpot: (last - first) / (sent.length - 1),
    e2e: last,
    gaps: sent.slice(1).map((at, index) => at - sent[index]!),
  };
}

/** Each token's time after the one that the pace gives it. */
export function lateness(row: TruthRow, pace: Pace): number[] {
  return row.sentNs.map(
    (at, index) => (at - row.receivedNs) / 1e6 - pace.ttftMilliseconds - index * pace.itlMilliseconds,
  );
}

/** What a server that keeps no record is set to. */
export function configured(pace: Pace): Times {
  const { ttftMilliseconds: ttft, itlMilliseconds: itl, outputTokens } = pace;
  return { ttft, tpot: itl, e2e: ttft + (outputTokens - 1) * itl, gaps: [itl] };
}

/** The requests of the work, whole ones, in the order of arrival; probes before the load are left out. */
export function ofWork(truth: readonly TruthRow[], work: Work): TruthRow[] {
  return truth
    .filter((row) => row.outputTokens === work.outputTokens && row.sentNs.length === work.outputTokens)
    .sort((left, right) => left.receivedNs - right.receivedNs)
    .slice(-work.requests);
}

/** How late each time is on a grid of this rate, counted from the most punctual one. */
export function gridDelay(times: readonly number[], ratePerSecond: number): Delay {
  const late = times.toSorted((a, b) => a - b).map((at, index) => at - (index * 1000) / ratePerSecond);
  const least = late.reduce((left, right) => Math.min(left, right), Number.POSITIVE_INFINITY);
  return summary(late.map((each) => each - least));
}

/** Pairs of client and server: by the request's id where the client keeps it, else by the order of sending. */
export function pairs(
  rows: readonly ClientRow[],
  truth: readonly TruthRow[],
): [ClientRow, TruthRow][] | null {
  const byId = new Map(truth.map((row) => [row.id, row]));
  if (rows.every(({ id }) => id !== null)) {
    return rows.flatMap((row) => {
      const found = byId.get(row.id ?? "");
      return found === undefined ? [] : [[row, found] as [ClientRow, TruthRow]];
    });
  }
  if (rows.length !== truth.length) return null;
  const inOrder = rows.toSorted((left, right) => left.start - right.start);
  return inOrder.map((row, index) => [row, truth[index]!]);
}

/** `truth` is null for a server that keeps no record: then the pace that it is set to is the truth. */
export function compare(
  client: Pick<Client, "arrivals">,
  work: Work,
  { rows, failed, delay }: Result,
  truth: readonly TruthRow[] | null,
  usage: Usage,
): Comparison {
  const server = truth === null ? [configured(work)] : truth.map(toTimes);
  const constant = client.arrivals === "constant";
  const starts = rows.map(({ start }) => start);
  const arrivals = truth?.map(({ receivedNs }) => receivedNs / 1e6) ?? null;
  const figureOf = (quantity: Quantity): Figure | null => {
    const [ours, theirs] = [values(rows, quantity), values(server, quantity)];
    if (ours === null || theirs === null || ours.length === 0 || theirs.length === 0) return null;
    return { p50: at(ours, 50) - at(theirs, 50), p99: at(ours, 99) - at(theirs, 99) };
  };
  const matched = truth === null ? null : pairs(rows, truth);
  const errorOf = (quantity: "ttft" | "tpot" | "e2e"): Figure => {
    const errors = (matched ?? []).map(([row, other]) => Math.abs(row[quantity] - toTimes(other)[quantity]));
    return { p50: at(errors, 50), p99: at(errors, 99) };
  };
  const delays = rows.flatMap((row) => row.delay ?? []);
  const own = delays.length > 0 ? summary(delays) : (delay ?? null);
  return {
    figures: { ttft: figureOf("ttft"), itl: figureOf("itl"), tpot: figureOf("tpot"), e2e: figureOf("e2e") },
    each: matched?.length ? { ttft: errorOf("ttft"), tpot: errorOf("tpot"), e2e: errorOf("e2e") } : null,
    delay: own ?? (constant && starts.length > 0 ? gridDelay(starts, work.ratePerSecond) : null),
    delayAtServer: constant && arrivals?.length ? gridDelay(arrivals, work.ratePerSecond) : null,
    ratePerSecond: rateOf(arrivals ?? starts),
    failed,
    cpuSeconds: usage.cpuSeconds,
    cpuShare: truth?.length ? shareOf(usage, truth) : Number.NaN,
    memoryMebibytes: usage.peakMemoryBytes / 2 ** 20,
    serverLate: truth?.length
      ? at(
          truth.flatMap((row) => lateness(row, work)),
          99,
        )
      : null,
  };
}

function values(rows: readonly Times[], quantity: Quantity): number[] | null {
  if (quantity !== "itl") return rows.map((row) => row[quantity]);
  return rows.some(({ gaps }) => gaps === null) ? null : rows.flatMap(({ gaps }) => gaps ?? []);
}

function at(list: readonly number[], p: number): number {
  return percentile(
    list.toSorted((a, b) => a - b),
    p,
  )!;
}

function summary(list: readonly number[]): Delay {
  return { mean: list.reduce((sum, each) => sum + each, 0) / list.length, p99: at(list, 99) };
}

function rateOf(times: readonly number[]): number {
  const [first, last] = [at(times, 0), at(times, 100)];
  return ((times.length - 1) * 1000) / (last - first);
}

/** CPU seconds per second between the first arrival and the last token, from the samples around them. */
function shareOf({ samples }: Usage, truth: readonly TruthRow[]): number {
  const from = at(
    truth.map(({ receivedNs }) => receivedNs),
    0,
  );
  const to = at(
    truth.map(({ sentNs }) => sentNs.at(-1)!),
    100,
  );
  const inside = samples.filter(({ unixNs }) => unixNs >= from && unixNs <= to);
  const [first, last] = [inside[0], inside.at(-1)];
  if (first === undefined || last === undefined || first === last) return Number.NaN;
  return ((last.cpuSeconds - first.cpuSeconds) * 1e9) / (last.unixNs - first.unixNs);
}
