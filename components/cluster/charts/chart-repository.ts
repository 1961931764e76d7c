// Reads Helm repositories over HTTP: where a chart's file is, and the file itself, streamed and hashed.

import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import * as yaml from "yaml";
import * as z from "zod";
import { UserError } from "../../errors.ts";
import type { ChartRef } from "./chart.ts";

/** What a repository says about one version of a chart. */
export interface IndexEntry {
  /** Address of the .tgz. */
  readonly address: string;
  /** The sha256 that the repository states. */
  readonly sha256?: string;
}

// Old entries of big repositories are of many shapes, so only the one that is asked for is looked at closely.
const indexSchema = z.object({
  entries: z.record(z.string(), z.array(z.object({ version: z.coerce.string() }).loose())),
});
const entrySchema = z.object({
  urls: z.array(z.string()).min(1),
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional()
    .catch(undefined),
});

/** Looks charts up; each repository's index is fetched once. */
export class ChartIndexes {
  readonly #signal: AbortSignal;
  readonly #indexes = new Map<string, Promise<z.output<typeof indexSchema>["entries"]>>();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  async find(chart: ChartRef): Promise<IndexEntry> {
    const folder = `${chart.repository.replace(/\/+$/, "")}/`;
    const index = `${folder}index.yaml`;
    let entries = this.#indexes.get(index);
    if (entries === undefined) {
      entries = readIndex(index, this.#signal);
      this.#indexes.set(index, entries);
    }
    const versions = Object.hasOwn(await entries, chart.name) ? ((await entries)[chart.name] ?? []) : [];
    const found = versions.find(({ version }) => version === chart.version);
    if (found === undefined) {
      const newest = versions.slice(0, 3).map(({ version }) => version);
      const there = newest.length === 0 ? "no chart of this name" : `among others ${newest.join(", ")}`;
      throw new UserError(`${index} does not list this version (it has ${there})`);
    }
    const entry = entrySchema.safeParse(found);
    const address = entry.success ? URL.parse(entry.data.urls[0] ?? "", folder) : null;
    if (!entry.success || (address?.protocol !== "http:" && address?.protocol !== "https:")) {
      throw new UserError(`${index} names no http or https address of this version`);
    }
    return {
      address: address.href,
      ...(entry.data.digest === undefined ? {} : { sha256: entry.data.digest }),
    };
  }
}

async function readIndex(
  address: string,
  signal: AbortSignal,
): Promise<z.output<typeof indexSchema>["entries"]> {
  const text = await get(address, signal, (response) => response.text());
  let value: unknown;
  try {
    value = yaml.parse(text);
  } catch {
    value = undefined;
  }
  const index = indexSchema.safeParse(value);
  if (!index.success) {
    throw new UserError(`${address} is no index of a Helm repository`);
  }
  return index.data.entries;
}

/** Writes a download to a file and returns its sha256. */
export async function download(address: string, file: string, signal: AbortSignal): Promise<string> {
  return get(address, signal, async (response) => {
    const hash = createHash("sha256");
    const hashing = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        done(null, chunk);
      },
    });
    const body =
      response.body === null ? Readable.from([]) : Readable.fromWeb(response.body as ReadableStream);
    await pipeline(body, hashing, fs.createWriteStream(file), { signal });
    return hash.digest("hex");
  });
}

async function get<T>(
  address: string,
  signal: AbortSignal,
  read: (response: Response) => Promise<T>,
): Promise<T> {
  try {
    const response = await fetch(address, { signal });
    if (!response.ok) {
      await response.text();
      throw new UserError(`${address} answered ${response.status}`);
    }
    return await read(response);
  } catch (error) {
    throw error instanceof UserError ? error : new UserError(`${address}: ${reasonOf(error, signal)}`);
  }
}

/** fetch says what went wrong in the cause only. */
function reasonOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) {
    return "no complete answer in time";
  }
  const { cause } = error as Error;
  const text = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : undefined;
  return `${(error as Error).message}${text === undefined ? "" : ` (${text})`}`;
}
