// The record of one fault, written whole after each change; a conductor that begins again reads it first.
import { join } from "node:path";
import type { FaultRecord, PlanEntry } from "../shared/faults.ts";
import { readJsonIfThere, writeJsonAtomic } from "../shared/files.ts";
import { nowUnixNs, plusSeconds } from "../shared/time.ts";

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function recordFile(resultsDir: string, entry: Pick<PlanEntry, "cell" | "fault">): string {
  return join(resultsDir, "faults", entry.cell, `${entry.fault}.json`);
}

export class FaultFile {
  readonly #file: string;
  readonly record: Writable<FaultRecord>;
  #written = "";

  private constructor(file: string, record: FaultRecord) {
    this.#file = file;
    this.record = record;
  }

  static async open(
    resultsDir: string,
    experimentId: string,
    entry: PlanEntry,
    t0UnixNs: bigint,
  ): Promise<FaultFile> {
    const file = recordFile(resultsDir, entry);
    const start = plusSeconds(t0UnixNs, entry.startOffsetSeconds);
    const fresh: FaultRecord = {
      schemaVersion: 1,
      experimentId,
      cell: entry.cell,
      fault: entry.fault,
      kind: entry.kind,
      parameters: entry.parameters,
      oneShot: entry.oneShot,
      state: "planned",
      planned: {
        startUnixNs: String(start),
        endUnixNs: String(plusSeconds(start, entry.durationSeconds)),
        durationSeconds: entry.durationSeconds,
      },
      delivery: null,
      reason: null,
      intendedTargets: [],
      actualTargets: [],
      objects: [],
      created: null,
      adopted: false,
      injected: { first: null, all: null },
      recovery: { requestedUnixNs: null, recovered: null, goneUnixNs: null, forced: false, early: null },
      finalStatus: null,
      errors: [],
      conductorStarts: 0,
    };
    const record = (await readJsonIfThere<FaultRecord>(file)) ?? fresh;
    const open = record.state !== "done";
    return new FaultFile(file, { ...record, conductorStarts: record.conductorStarts + (open ? 1 : 0) });
  }

  get startUnixNs(): bigint {
    return BigInt(this.record.planned.startUnixNs);
  }

  get endUnixNs(): bigint {
    return BigInt(this.record.planned.endUnixNs);
  }

  /** Keeps each text once, with its count and the instant when it first came. */
  error(text: string): void {
    const { errors } = this.record;
    const known = errors.find((error) => error.text === text);
    this.record.errors =
      known === undefined
        ? [...errors, { unixNs: String(nowUnixNs()), text, count: 1 }]
        : errors.map((error) => (error === known ? { ...error, count: error.count + 1 } : error));
  }

  get lastError(): string | undefined {
    return this.record.errors.at(-1)?.text;
  }

  async save(): Promise<void> {
    const text = JSON.stringify(this.record);
    if (text === this.#written) return;
    await writeJsonAtomic(this.#file, this.record);
    this.#written = text;
  }
}
