// The requests table: reads load/requests.jsonl row by row and writes requests.csv, one row per request, failures too.
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { percentile, round } from "../shared/percentiles.ts";
import { type RequestRow, requestStatuses } from "../shared/rows.ts";
import { type FaultWindow, faultsDuring } from "./fault-windows.ts";

interface Column {
  readonly name: string;
  readonly meaning: string;
  readonly value: (row: RequestRow, faults: readonly FaultWindow[]) => string | number | boolean | null;
}

const ms = (ns: number | null): number | null => (ns === null ? null : round(ns / 1e6));

const itl = (row: RequestRow, p: number): number | null =>
  ms(percentile(Float64Array.from(row.itlNs).sort(), p));

/** The columns of requests.csv, in order. An empty field means: not measured. */
export const requestColumns: readonly Column[] = [
  { name: "request_id", meaning: "unique; also sent as x-request-id", value: (r) => r.requestId },
  { name: "cell", meaning: "cell of the experiment", value: (r) => r.cell },
  {
    name: "phase",
    meaning: "phase of the cell by the scheduled instant; the same in a cell without a fault",
    value: (r) => r.phase,
  },
  {
    name: "fault_active",
    meaning: "faults that acted between sending and end, by the injector's records; several by a space",
    value: (r, faults) => faultsDuring(r, faults).join(" "),
  },
  { name: "session", meaning: "conversation that the request belongs to", value: (r) => r.session ?? null },
  { name: "turn", meaning: "turn of the conversation", value: (r) => r.turn ?? null },
  { name: "status", meaning: requestStatuses.join(" | "), value: (r) => r.status },
  { name: "http_status", meaning: "status code of the response", value: (r) => r.httpStatus },
  {
    name: "scheduled_unix_ns",
    meaning: "instant of the schedule, ns since 1970 UTC",
    value: (r) => r.scheduledUnixNs,
  },
  { name: "sent_unix_ns", meaning: "instant of sending, ns since 1970 UTC", value: (r) => r.sentUnixNs },
  { name: "lag_ms", meaning: "sent - scheduled", value: (r) => ms(r.lagNs) },
  { name: "connect_ms", meaning: "sent -> connection established", value: (r) => ms(r.connectNs) },
  {
    name: "connection_reused",
    meaning: "true where no connection was opened",
    value: (r) => r.connectionReused,
  },
  { name: "headers_ms", meaning: "sent -> response headers", value: (r) => ms(r.headersNs) },
  { name: "first_chunk_ms", meaning: "sent -> first chunk of the body", value: (r) => ms(r.firstChunkNs) },
  { name: "ttft_ms", meaning: "sent -> first token (TTFT)", value: (r) => ms(r.ttftNs) },
  { name: "last_token_ms", meaning: "sent -> last token", value: (r) => ms(r.lastTokenNs) },
  { name: "e2e_ms", meaning: "sent -> end of the response (E2E)", value: (r) => ms(r.e2eNs) },
  {
    name: "tpot_ms",
    meaning: "(last token - first token) / (output tokens - 1)",
    value: (r) => ms(r.tpotNs),
  },
  { name: "itl_n", meaning: "number of gaps between tokens", value: (r) => r.itlNs.length },
  { name: "itl_p50_ms", meaning: "median gap between tokens (ITL)", value: (r) => itl(r, 50) },
  { name: "itl_p90_ms", meaning: "90th percentile of the gaps", value: (r) => itl(r, 90) },
  { name: "itl_p99_ms", meaning: "99th percentile of the gaps", value: (r) => itl(r, 99) },
  { name: "itl_max_ms", meaning: "largest gap", value: (r) => itl(r, 100) },
  { name: "chunks", meaning: "chunks that carried tokens", value: (r) => r.chunkTokens.length },
  { name: "prompt_tokens", meaning: "as the server counted", value: (r) => r.promptTokens },
  { name: "expected_prompt_tokens", meaning: "as asked", value: (r) => r.expectedPromptTokens },
  { name: "output_tokens", meaning: "as the server counted", value: (r) => r.outputTokens },
  { name: "expected_output_tokens", meaning: "as asked", value: (r) => r.expectedOutputTokens },
  { name: "finish_reason", meaning: "as the server said", value: (r) => r.finishReason },
  { name: "worker", meaning: "worker of the load generator", value: (r) => r.worker },
  { name: "response_bytes", meaning: "bytes of the body", value: (r) => r.responseBytes },
  { name: "error", meaning: "text of the error", value: (r) => r.error },
];

export interface RequestsExport {
  readonly rows: number;
  readonly unreadableLines: number;
}

/** Calls `each` for every row, in the order of the file, and writes the table. No file gives a table without rows. */
export async function exportRequests(
  jsonl: string,
  csv: string,
  each: (row: RequestRow) => void,
  /** Faults that have acted. @default none */
  faults: readonly FaultWindow[] = [],
): Promise<RequestsExport> {
  let rows = 0;
  let unreadableLines = 0;
  async function* table(): AsyncGenerator<string> {
    yield `${requestColumns.map(({ name }) => name).join(",")}\n`;
    if (!existsSync(jsonl)) return;
    for await (const line of createInterface({ input: createReadStream(jsonl) })) {
      if (line === "") continue;
      const row = parseRow(line);
      if (row === undefined) {
        // A load generator that was killed leaves half a line.
        unreadableLines += 1;
        continue;
      }
      rows += 1;
      each(row);
      yield `${requestColumns.map(({ value }) => csvField(value(row, faults))).join(",")}\n`;
    }
  }
  await pipeline(table, createWriteStream(csv));
  return { rows, unreadableLines };
}

function parseRow(line: string): RequestRow | undefined {
  try {
    const row = JSON.parse(line) as RequestRow;
    const whole = typeof row.requestId === "string" && requestStatuses.includes(row.status);
    // The Go side writes an empty list as null.
    return whole ? { ...row, itlNs: row.itlNs ?? [], chunkTokens: row.chunkTokens ?? [] } : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 4180: quoted only where it must be. */
function csvField(value: string | number | boolean | null): string {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
