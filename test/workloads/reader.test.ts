// The reader as it runs in the cluster: a child process asked over HTTP.
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { root, run, stable, startReader, temporaryFolder } from "./support.ts";

/** A request whose path goes out as it is: fetch() would resolve ".." before sending. */
function ask(
  base: string,
  path: string,
  method = "GET",
): Promise<{ status: number; headers: unknown; body: Buffer }> {
  return new Promise((done, fail) => {
    const { port } = new URL(base);
    const sent = request({ host: "127.0.0.1", port, path, method }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const {
        "content-type": type,
        "content-length": length,
        "content-encoding": encoding,
      } = response.headers;
      done({
        status: response.statusCode ?? 0,
        headers: { type, length, encoding },
        body: Buffer.concat(chunks),
      });
    });
    sent.once("error", fail);
    sent.end();
  });
}

test("serves files as they are, folders as listings, and nothing else", async () => {
  const folder = temporaryFolder();
  const outside = temporaryFolder();
  writeFileSync(join(outside, "secret"), "secret");
  mkdirSync(join(folder, "id-1/metrics"), { recursive: true });
  const packed = gzipSync("one line\n");
  writeFileSync(join(folder, "id-1/metrics/ray.jsonl.gz"), packed);
  writeFileSync(join(folder, "id-1/timeline.json"), '{"t0UnixNs":"1"}\n');
  writeFileSync(join(folder, "id-1/a b.log"), "");
  symlinkSync(join(outside, "secret"), join(folder, "id-1/link"));
  const base = await startReader(folder);

  const timeline = await ask(base, "/id-1/timeline.json");
  expect({ ...timeline, body: timeline.body.toString() }).toEqual({
    status: 200,
    headers: { type: "application/json", length: "17", encoding: undefined },
    body: '{"t0UnixNs":"1"}\n',
  });
  expect(await ask(base, "/id-1/metrics/ray.jsonl.gz")).toEqual({
    status: 200,
    headers: { type: "application/gzip", length: String(packed.length), encoding: undefined },
    body: packed,
  });
  expect(await ask(base, "/id-1/timeline.json", "HEAD")).toMatchObject({
    status: 200,
    body: Buffer.alloc(0),
  });
  expect(JSON.parse((await ask(base, "/id-1/")).body.toString())).toEqual([
    { name: "a b.log", type: "file", sizeBytes: 0 },
    { name: "metrics", type: "directory", sizeBytes: 0 },
    { name: "timeline.json", type: "file", sizeBytes: 17 },
  ]);
  expect((await ask(base, "/healthz")).body.toString()).toBe('{"status":"ok"}\n');
  expect(await ask(base, "/id-1/a%20b.log")).toMatchObject({ status: 200, body: Buffer.alloc(0) });

  const refused = [];
  for (const path of [
    "/id-1",
    "/id-1/none.json",
    "/id-1/timeline.json/",
    "/id-1/link",
    "/../etc/passwd",
    "/id-1/%2e%2e/%2e%2e/etc/passwd",
    "/id-1/..%2fx",
    "/%00",
    "/%zz",
  ]) {
    const { status, body } = await ask(base, path);
    refused.push(`${status} ${JSON.parse(body.toString()).error}`);
  }
  expect(refused).toMatchInlineSnapshot(`
    [
      "404 /id-1 is a directory: ask for /id-1/",
      "404 /id-1/none.json does not exist",
      "404 /id-1/timeline.json/ does not exist",
      "404 /id-1/link does not exist",
      "400 the path is not a plain path",
      "400 the path is not a plain path",
      "400 the path is not a plain path",
      "400 the path is not a plain path",
      "400 the path is not a plain path",
    ]
  `);
  expect((await ask(base, "/id-1/timeline.json", "DELETE")).status).toBe(405);
});

test("names a root that is not there", async () => {
  const { status, stderr } = await run(join(root, "workloads/reader/main.ts"), {
    env: { ROOT: join(temporaryFolder(), "none"), PORT: "0" },
  });
  expect({ status, stderr: stable(stderr) }).toMatchInlineSnapshot(`
    {
      "status": 1,
      "stderr": "reader: ROOT TMP/none does not exist
    ",
    }
  `);
});
