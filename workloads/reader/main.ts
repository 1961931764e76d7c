// Reader: serves the results volume over HTTP, read-only: files as they are, folders as JSON listings.
import { createReadStream } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { extname, join, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { Env } from "../shared/env.ts";
import { describe, runMain, StopError, say } from "../shared/errors.ts";

interface Entry {
  readonly name: string;
  readonly type: "file" | "directory";
  readonly sizeBytes: number;
}

const program = "reader";

const contentTypes: Readonly<Record<string, string>> = {
  ".json": "application/json",
  ".jsonl": "application/x-ndjson",
  ".csv": "text/csv; charset=utf-8",
  ".log": "text/plain; charset=utf-8",
  // Never with a content-encoding: the file's own bytes are what the manifest has hashed.
  ".gz": "application/gzip",
};

async function answer(root: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return sendError(response, 405, `method ${request.method} is not allowed, only GET and HEAD`);
  }
  const path = decodedPath(request.url ?? "/");
  if (path === undefined) return sendError(response, 400, "the path is not a plain path");
  if (path === "/healthz") return sendJson(request, response, { status: "ok" });

  // A link may point anywhere: the real path decides whether something lies below the root.
  const real = await realpath(join(root, path)).catch(() => undefined);
  if (real === undefined || (real !== root && !real.startsWith(root + sep))) {
    return sendError(response, 404, `${path} does not exist`);
  }
  const about = await stat(real);
  if (about.isDirectory()) {
    if (!path.endsWith("/")) return sendError(response, 404, `${path} is a directory: ask for ${path}/`);
    return sendJson(request, response, await entriesOf(real));
  }
  if (!about.isFile() || path.endsWith("/")) return sendError(response, 404, `${path} does not exist`);

  response.writeHead(200, {
    "content-type": contentTypes[extname(real)] ?? "application/octet-stream",
    "content-length": about.size,
    "last-modified": about.mtime.toUTCString(),
    "cache-control": "no-store",
  });
  if (request.method === "HEAD" || about.size === 0) {
    response.end();
    return;
  }
  // A file that grows while it is sent ends where it ended at the start.
  await pipeline(createReadStream(real, { end: about.size - 1 }), response);
}

/** The path of a request, or undefined where it is malformed or tries to climb. */
function decodedPath(url: string): string | undefined {
  let path: string;
  try {
    path = decodeURIComponent(url.split(/[?#]/, 1)[0] as string);
  } catch {
    return undefined;
  }
  if (!path.startsWith("/") || path.includes("\0") || path.split("/").includes("..")) return undefined;
  return path;
}

async function entriesOf(folder: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const found of await readdir(folder, { withFileTypes: true })) {
    if (!found.isFile() && !found.isDirectory()) continue;
    const about = await stat(join(folder, found.name)).catch(() => undefined);
    if (about === undefined) continue;
    const type = found.isDirectory() ? "directory" : "file";
    entries.push({ name: found.name, type, sizeBytes: type === "file" ? about.size : 0 });
  }
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function sendJson(request: IncomingMessage, response: ServerResponse, value: unknown): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(200, {
    "content-type": "application/json",
    "content-length": body.length,
    "cache-control": "no-store",
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

function sendError(response: ServerResponse, status: number, message: string): void {
  const body = Buffer.from(`${JSON.stringify({ error: message })}\n`);
  response.writeHead(status, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
}

async function main(): Promise<void> {
  const env = new Env();
  const configuredRoot = env.text("ROOT", "/results");
  const port = env.number("PORT", { minimum: 0, maximum: 65535, integer: true, fallback: 8080 });
  env.check();
  const root = await realpath(configuredRoot).catch(() => {
    throw new StopError(`ROOT ${configuredRoot} does not exist`);
  });
  const server = createServer((request, response) => {
    answer(root, request, response).catch((error: unknown) => {
      // Most often the client has gone in the middle of a file.
      say(program, `${request.method} ${request.url}: ${describe(error)}`);
      if (response.headersSent) response.destroy();
      else sendError(response, 500, describe(error));
    });
  });
  // The API server's proxy and the kubelet's probes keep connections; a stop must not wait for them.
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      server.close(() => process.exit(0));
      server.closeIdleConnections();
      setTimeout(() => process.exit(0), 2000).unref();
    });
  }
  server.listen(port, () => {
    const address = server.address();
    say(program, `serving ${root} on port ${typeof address === "object" ? address?.port : address}`);
  });
}

await runMain(program, main);
