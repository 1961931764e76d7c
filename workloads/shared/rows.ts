// Types of the files on the results volume that more than one program reads or writes.

export const requestStatuses = [
  "ok",
  "http_error",
  "timeout",
  "connection_error",
  "stream_error",
  "parse_error",
  "aborted",
] as const;
type RequestStatus = (typeof requestStatuses)[number];

/** One line of load/requests.jsonl. UnixNs are decimal strings; Ns are offsets from the instant of sending. */
export interface RequestRow {
  readonly requestId: string;
  readonly cell: string;
  readonly phase: string;
  readonly scheduledUnixNs: string;
  readonly sentUnixNs: string | null;
  readonly lagNs: number | null;
  readonly connectNs: number | null;
  readonly connectionReused: boolean;
  readonly headersNs: number | null;
  readonly firstChunkNs: number | null;
  readonly firstTokenNs: number | null;
  readonly lastTokenNs: number | null;
  readonly doneNs: number | null;
  readonly ttftNs: number | null;
  readonly itlNs: readonly number[];
  readonly chunkTokens: readonly number[];
  readonly e2eNs: number | null;
  readonly tpotNs: number | null;
  readonly status: RequestStatus;
  readonly httpStatus: number | null;
  readonly error: string | null;
  readonly promptTokens: number | null;
  readonly outputTokens: number | null;
  /** Null where it is not known: a prompt from a file, or a session's second turn and later ones. */
  readonly expectedPromptTokens: number | null;
  readonly expectedOutputTokens: number;
  readonly finishReason: string | null;
  readonly worker: number | null;
  readonly responseBytes: number;
  /** The request id of the session's first turn; null where there are no sessions. */
  readonly session: string | null;
  /** From 1. */
  readonly turn: number | null;
}

/** timeline.json: written by the gate, the origin of every other instant. */
export interface Timeline {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  readonly gatePassedUnixNs: string;
  readonly t0UnixNs: string;
  readonly leadSeconds: number;
  readonly replicas: readonly Replica[];
  readonly attempts: number;
}

export interface Replica {
  readonly id: string;
  readonly node: string | null;
  readonly pod: string | null;
}

/** load/progress.json: rewritten each second while the load plays. Completed ended well, failed are all others. */
export interface LoadProgress {
  /** Grows while a closed loop or sessions of several turns are played. */
  readonly scheduled: number;
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  /** Null until T0 is known. */
  readonly endsUnixNs: string | null;
  /** As in the report. */
  readonly skippedCells?: readonly string[];
}

/** load/load.json: the load generator's report on itself; its presence says that the load has ended. */
export interface LoadReport {
  readonly schemaVersion: 1;
  readonly loadGenerator: string;
  readonly startedUnixNs: string | null;
  readonly endedUnixNs: string | null;
  /** Null where the load was aborted before T0 was known. */
  readonly t0UnixNs: string | null;
  readonly scheduleSha256: string;
  /** Of the cells that were played. */
  readonly requests: {
    readonly scheduled: number;
    readonly sent: number;
    readonly ok: number;
    readonly failed: number;
  };
  readonly lagNs: {
    readonly mean: number;
    readonly p50: number;
    readonly p99: number;
    readonly max: number;
  } | null;
  readonly cpuSeconds: number;
  /** Null where T0 was not reached. */
  readonly selfCheck?: LoadSelfCheck | null;
  /** Not played, as a lower level was saturated. */
  readonly skippedCells?: readonly string[];
  readonly saturatedCells?: readonly { readonly cell: string; readonly reason: string }[];
  readonly aborted: boolean;
  readonly abortReason: string | null;
}

/** Whether the load generator kept up, from T0 to the end. */
interface LoadSelfCheck {
  /** CPU seconds / (wall seconds x GOMAXPROCS). */
  readonly cpuShare: number;
  /** How long its CPU limit stopped it; null where the kernel does not count that. */
  readonly throttledSeconds: number | null;
  /** Requests that failed for a lack of files, ports or buffers on its side. */
  readonly socketErrors: number;
  /** Its own part of the lag: not the time in which no worker was free. */
  readonly lagP99Ms: number;
  /** True where there is a reason. */
  readonly bottleneck: boolean;
  readonly reasons: readonly string[];
}

/** The part of the load's specification that the summary needs. */
export interface LoadSpec {
  readonly target: { readonly model: string };
  readonly cells: readonly CellSpec[];
}

export interface CellSpec {
  readonly id: string;
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
  /** Null in a closed loop. */
  readonly ratePerSecond: number | null;
  /** Null or absent in an open loop. */
  readonly concurrency?: number | null;
  /** The rate at the end of the cell; null or absent where it stays. */
  readonly rampToRatePerSecond?: number | null;
  /** `closed-loop` where requests do not arrive. */
  readonly arrivals: string;
  readonly phases: readonly {
    readonly name: string;
    readonly startOffsetSeconds: number;
    readonly durationSeconds: number;
  }[];
}

/** manifest.json: written last by the collector; with it the results are complete. */
export interface Manifest {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  readonly completedUnixNs: string;
  readonly standIns: readonly string[];
  /** False where the load has not ended by itself: what is there was kept, but it is no result. */
  readonly complete: boolean;
  /** Parts of the cluster that there are no exports of, each with the reason. */
  readonly notes: readonly string[];
  readonly files: readonly ManifestFile[];
  readonly versions: Readonly<Record<string, string>>;
}

export interface ManifestFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly rows?: number;
}

/** One entry of quality.json. */
export interface QualityCheck {
  readonly check: string;
  readonly value: number | string | boolean | null;
  readonly threshold: string;
  readonly pass: boolean;
  readonly note?: string;
}

export interface Quality {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  readonly verdict: "pass" | "fail";
  readonly checks: readonly QualityCheck[];
}
