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
  readonly expectedPromptTokens: number;
  readonly expectedOutputTokens: number;
  readonly finishReason: string | null;
  readonly worker: number | null;
  readonly responseBytes: number;
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
  readonly scheduled: number;
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  /** Null until T0 is known. */
  readonly endsUnixNs: string | null;
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
  readonly aborted: boolean;
  readonly abortReason: string | null;
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
  readonly ratePerSecond: number;
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
