// HTTP over node's own modules: every request has a time limit, bodies are buffered or streamed into a file.
import { createWriteStream } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { SecureContextOptions } from "node:tls";

export interface TlsOptions extends Pick<SecureContextOptions, "ca" | "cert" | "key" | "pfx" | "passphrase"> {
  readonly rejectUnauthorized?: boolean;
  readonly servername?: string;
}

export interface HttpRequest {
  readonly url: string;
  /** @default GET */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Limit of the whole exchange; of each silence where the body goes to a file. @default 15 */
  readonly timeoutSeconds?: number;
  readonly tls?: TlsOptions;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** An answer with a status that the caller did not ask for. */
export class HttpStatusError extends Error {
  override readonly name = "HttpStatusError";
  readonly status: number;
  readonly body: string;
  constructor(url: string, status: number, body: string) {
    super(`${url} answered ${status}${statusText(body)}`);
    this.status = status;
    this.body = body;
  }
}

const transientCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "EAI_AGAIN",
  "ENOTFOUND",
  "ERR_STREAM_PREMATURE_CLOSE",
]);

/** True where the same request may well succeed a little later. */
export function isTransient(error: unknown): boolean {
  if (error instanceof HttpStatusError) return error.status === 429 || error.status >= 500;
  if (error instanceof AggregateError) return error.errors.some(isTransient);
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code !== undefined && transientCodes.has(code);
}

/** One request whose body is kept in memory. Any status is returned; only a failed exchange throws. */
export async function request(options: HttpRequest): Promise<HttpResponse> {
  const timeoutSeconds = options.timeoutSeconds ?? 15;
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(timeoutError(options.url, timeoutSeconds)),
    timeoutSeconds * 1000,
  );
  try {
    const response = await open(options, controller.signal);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : withUrl(error, options.url);
  } finally {
    clearTimeout(timer);
  }
}

/** One request that must answer 200, its body parsed as JSON. */
export async function requestJson<T>(options: HttpRequest): Promise<T> {
  const response = await request(options);
  if (response.status < 200 || response.status > 299) {
    throw new HttpStatusError(options.url, response.status, response.body.toString("utf8"));
  }
  try {
    return JSON.parse(response.body.toString("utf8")) as T;
  } catch {
    throw new Error(
      `${options.url} answered ${response.status} without JSON: ${snippet(response.body.toString("utf8"))}`,
    );
  }
}

/** Streams a body that must come with status 200 into a file; returns the number of bytes. */
export async function download(options: HttpRequest, file: string): Promise<number> {
  const timeoutSeconds = options.timeoutSeconds ?? 15;
  const controller = new AbortController();
  const abort = (): void => controller.abort(timeoutError(options.url, timeoutSeconds));
  let timer = setTimeout(abort, timeoutSeconds * 1000);
  try {
    const response = await open(options, controller.signal);
    const status = response.statusCode ?? 0;
    if (status !== 200) {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      throw new HttpStatusError(options.url, status, Buffer.concat(chunks).toString("utf8"));
    }
    let sizeBytes = 0;
    const counter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        sizeBytes += chunk.length;
        clearTimeout(timer);
        timer = setTimeout(abort, timeoutSeconds * 1000);
        done(null, chunk);
      },
    });
    await pipeline(response, counter, createWriteStream(file), { signal: controller.signal });
    return sizeBytes;
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : withUrl(error, options.url);
  } finally {
    clearTimeout(timer);
  }
}

function open(options: HttpRequest, signal: AbortSignal): Promise<http.IncomingMessage> {
  const url = new URL(options.url);
  const body = options.body === undefined ? undefined : Buffer.from(options.body);
  const headers: Record<string, string | number> = { ...options.headers };
  if (body !== undefined) headers["content-length"] = body.length;
  return new Promise((resolve, reject) => {
    const common = { method: options.method ?? "GET", headers, signal };
    // A connection per request: none outlives a restart of the server, none keeps the program alive.
    const sent =
      url.protocol === "https:"
        ? https.request(url, { ...common, ...options.tls, agent: false })
        : http.request(url, { ...common, agent: false });
    sent.once("response", resolve);
    sent.once("error", reject);
    sent.end(body);
  });
}

function timeoutError(url: string, timeoutSeconds: number): Error {
  return Object.assign(new Error(`${url} did not answer within ${timeoutSeconds} s`), { code: "ETIMEDOUT" });
}

function withUrl(error: unknown, url: string): unknown {
  if (error instanceof HttpStatusError || !(error instanceof Error)) return error;
  const inner = error instanceof AggregateError ? (error.errors[0] as NodeJS.ErrnoException) : error;
  const code = (inner as NodeJS.ErrnoException).code;
  return Object.assign(new Error(`${url}: ${inner.message === "" ? (code ?? "failed") : inner.message}`), {
    code,
  });
}

/** The useful part of an error body: the message of a Kubernetes Status, else its beginning. */
function statusText(body: string): string {
  try {
    const parsed = JSON.parse(body) as { message?: unknown; error?: unknown };
    const message = parsed.message ?? parsed.error;
    if (typeof message === "string") return `: ${message}`;
  } catch {
    // Not JSON.
  }
  const text = snippet(body);
  return text === "" ? "" : `: ${text}`;
}

function snippet(text: string): string {
  const flat = text.replace(/\s+/g, " ").trim();
  return flat.length > 200 ? `${flat.slice(0, 200)}...` : flat;
}
