// What every client is asked to do at one level, and what it says afterwards in its own records.

/** The server's pace and the size of a request: the same for all clients and levels. */
export interface Pace {
  readonly ttftMilliseconds: number;
  readonly itlMilliseconds: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
}

/** One level: an open loop at a constant rate that keeps about `streams` requests in flight. */
export interface Work extends Pace {
  readonly streams: number;
  readonly ratePerSecond: number;
  readonly durationSeconds: number;
  readonly requests: number;
}

/** What a client's own record says of one request. Every time in milliseconds. */
export interface ClientRow {
  /** The x-request-id that it sent; null when it sent none. */
  readonly id: string | null;
  /** When it sent the request, by a clock of its own: gives the order, and the delay where `delay` is null. */
  readonly start: number;
  /** Sent so long after it was due; null where the client keeps no record of when that was. */
  readonly delay: number | null;
  readonly ttft: number;
  /** Time per output token after the first. */
  readonly tpot: number;
  readonly e2e: number;
  /** Gaps between tokens; null where the client keeps one figure per request only. */
  readonly gaps: readonly number[] | null;
}

export interface Result {
  /** Requests that ended well. */
  readonly rows: readonly ClientRow[];
  readonly failed: number;
  /** Its own summary of the schedule's delay, for a client that reports that but not per request. */
  readonly delay?: Delay;
}

/** How late requests went out, in milliseconds. */
export interface Delay {
  readonly mean: number;
  readonly p99: number;
}

export interface Target {
  /** The server's root, without a path. */
  readonly url: string;
  readonly model: string;
}

/** Where the programs of this benchmark are. */
export interface Places {
  /** Root of the work tree. */
  readonly root: string;
  /** Folder of the tokenizer that the peers are given. */
  readonly tokenizer: string;
  readonly k6: string;
}

export interface Command {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A load generator. */
export interface Client {
  readonly name: string;
  /** The distribution of its gaps between requests when it is asked for a constant rate. */
  readonly arrivals: "constant" | "exponential";
  /** Writes what the client reads into the folder and says how to start it; it starts in that folder. */
  prepare(work: Work, target: Target, places: Places, folder: string): Promise<Command> | Command;
  /** What has to happen while it runs. */
  readonly beside?: (folder: string, signal: AbortSignal) => Promise<void>;
  read(folder: string, work: Work): Promise<Result> | Result;
}

/** The Python of a peer's own virtual environment, which run.sh has made. */
export function pythonOf({ root }: Places, name: string): string {
  return `${root}/.tools/peers-${name}/bin/python`;
}

/** A level's rate and number of requests: `streams` requests of the length that the pace gives, at any time. */
export function toWork(pace: Pace, streams: number, durationSeconds: number): Work {
  const seconds = (pace.ttftMilliseconds + (pace.outputTokens - 1) * pace.itlMilliseconds) / 1000;
  const requests = Math.round((streams / seconds) * durationSeconds);
  // The rate follows from the whole number of requests; rounded up, so that a client that multiplies gets it back.
  const ratePerSecond = Math.ceil((requests / durationSeconds) * 1e6) / 1e6;
  return { ...pace, streams, ratePerSecond, durationSeconds, requests };
}
