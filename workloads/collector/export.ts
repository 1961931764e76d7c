// What the exports from the parts of the cluster have in common: a result that says what became of a part, and lines into files.
import { createWriteStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

/** What became of one part of the export; exports.json lists all of them. */
export interface PartExport {
  readonly part: string;
  /** "absent": the cluster has no such part, or it cannot be read; that is no defect of a run. */
  readonly state: "exported" | "absent" | "failed";
  readonly files: readonly { readonly path: string; readonly rows?: number }[];
  /** Why it is absent, what failed, or what was left out. */
  readonly reasons: readonly string[];
}

export function absent(part: string, reason: string): PartExport {
  return { part, state: "absent", files: [], reasons: [reason] };
}

/** Time that one part may take; what has been read by then is kept. */
export class Budget {
  readonly #endsAt: number;
  readonly #seconds: number;

  constructor(seconds: number) {
    this.#seconds = seconds;
    this.#endsAt = performance.now() + seconds * 1000;
  }

  /** Throws when the time is up. */
  check(): void {
    if (performance.now() > this.#endsAt) throw new Error(`stopped after ${this.#seconds} s`);
  }
}

interface WrittenFile {
  readonly path: string;
  readonly rows: number;
}

export interface Line {
  readonly value: unknown;
  /** True for what speaks of the faults: it goes below faults/. */
  readonly ofFaults: boolean;
}

/**
 * Writes JSON lines, gzipped, to `path`, and those of the faults to `faults/<path>`. A file without lines is not left.
 * A source that fails half-way ends the files: what came before is kept, and the error is returned.
 */
export async function writeLines(
  folder: string,
  path: string,
  lines: AsyncIterable<Line>,
): Promise<{ readonly files: readonly WrittenFile[]; readonly error?: unknown }> {
  const rows = new Map<string, number>();
  let error: unknown;
  const apart: string[] = [];
  async function* observed(): AsyncGenerator<string> {
    try {
      for await (const { value, ofFaults } of lines) {
        const text = `${JSON.stringify(value)}\n`;
        const file = ofFaults ? `faults/${path}` : path;
        rows.set(file, (rows.get(file) ?? 0) + 1);
        // Few: one pod or two, of which most say little.
        if (ofFaults) apart.push(text);
        else yield text;
      }
    } catch (failure) {
      error = failure;
    }
  }
  await writeGzip(join(folder, path), observed());
  if (apart.length > 0) await writeGzip(join(folder, "faults", path), apart);
  if (!rows.has(path)) await rm(join(folder, path));
  const files = [...rows].map(([file, count]) => ({ path: file, rows: count }));
  return error === undefined ? { files } : { files, error };
}

async function writeGzip(file: string, source: AsyncIterable<string> | Iterable<string>): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await pipeline(source, createGzip(), createWriteStream(file));
}
