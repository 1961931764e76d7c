// The list of a run's files, for the manifest: size, digest, and rows where a file has lines.
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { createGunzip } from "node:zlib";
import { filesBelow, sha256OfFile, sizeIfThere } from "../shared/files.ts";
import type { ManifestFile } from "../shared/rows.ts";

/** All files but the manifest; `rowsOf` spares counting those whose rows are known. */
export async function listFiles(
  folder: string,
  rowsOf: ReadonlyMap<string, number>,
): Promise<readonly ManifestFile[]> {
  const files: ManifestFile[] = [];
  for (const path of await filesBelow(folder)) {
    if (path === "manifest.json" || path.endsWith(".tmp")) continue;
    const file = join(folder, path);
    const rows = rowsOf.get(path) ?? (/\.jsonl(\.gz)?$/.test(path) ? await countLines(file) : undefined);
    const sizeBytes = (await sizeIfThere(file)) ?? 0;
    files.push({
      path,
      sizeBytes,
      sha256: await sha256OfFile(file),
      ...(rows === undefined ? {} : { rows }),
    });
  }
  return files;
}

async function countLines(file: string): Promise<number> {
  const raw = createReadStream(file);
  let lines = 0;
  for await (const chunk of file.endsWith(".gz") ? raw.pipe(createGunzip()) : raw) {
    for (const byte of chunk as Buffer) if (byte === 10) lines += 1;
  }
  return lines;
}
