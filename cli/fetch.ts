// Fetches the files of a manifest, verifies each by its sha256, and puts the folder into place when all are there.
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join, normalize, resolve } from "node:path";
import { UserError } from "../components/errors.ts";
import { readJsonIfThere, sha256OfFile, sizeIfThere, writeFileAtomic } from "../workloads/shared/files.ts";
import type { KubeClient } from "../workloads/shared/kube.ts";
import type { Manifest, ManifestFile } from "../workloads/shared/rows.ts";
import { found, missing, waitFor } from "../workloads/shared/wait.ts";
import { type ClusterAccess, ResultsReader, Tolerance } from "./connect.ts";
import { Progress } from "./progress.ts";
import { Namespace, progressLine } from "./state.ts";
import { readResults, summaryTable } from "./summary.ts";

/** `llmeval fetch`: as `results`, for an experiment that has finished. */
export async function fetchResults(
  access: ClusterAccess,
  output: string,
  connect: () => Promise<KubeClient>,
): Promise<void> {
  const progress = new Progress(access.progressSeconds);
  if (await deliverFetched(access, output, progress)) return;
  const kube = await connect();
  const reader = new ResultsReader(kube, access.namespace, access.experimentId);
  const manifest = await reader.text("manifest.json");
  if (manifest === undefined) {
    const state = await progressLine(
      await Namespace.look(kube, access.namespace, access.experimentId),
      reader,
    );
    throw new UserError(
      `${access.experimentId} in namespace ${access.namespace} has no manifest.json yet (${state}); wait for it with: llmeval results`,
    );
  }
  await fetchInto(access, output, reader, manifest, progress);
  await deliver(output, access.experimentId);
}

/**
 * Prints the table for a terminal, or for a program the summary as JSON with the table in it. A run that did not
 * complete is an error, with its files kept.
 */
export async function deliver(output: string, experimentId: string, loadFailure?: string): Promise<void> {
  const folder = join(output, experimentId);
  const results = await readResults(folder);
  const table = summaryTable(results);
  process.stdout.write(process.stdout.isTTY ? table : `${JSON.stringify({ ...results.summary, table })}\n`);
  if (results.manifest.complete) return;
  const noteOf = (name: string): string | undefined =>
    results.quality.checks.find(({ check, pass }) => check === name && !pass)?.note;
  // What the load says itself, else how its Job ended.
  const reason =
    noteOf("load-not-aborted") ?? loadFailure ?? noteOf("load-ended") ?? "the load has not ended by itself";
  throw new UserError(
    `experiment ${experimentId} did not complete: ${reason}\nwhat there is lies in ${folder}; for another run raise llmeval:run in the stack's configuration`,
  );
}

/** Delivers what is on disk already, whole; false where it is not. */
export async function deliverFetched(
  { experimentId }: ClusterAccess,
  output: string,
  progress: Progress,
): Promise<boolean> {
  if (!(await isComplete(output, experimentId))) return false;
  progress.always(`${experimentId} is fetched already, all files verified`);
  await deliver(output, experimentId);
  return true;
}

/** True where the folder holds every file of a complete run's manifest, unchanged. */
async function isComplete(output: string, experimentId: string): Promise<boolean> {
  const folder = join(output, experimentId);
  let manifest: Manifest | undefined;
  try {
    manifest = await readJsonIfThere<Manifest>(join(folder, "manifest.json"));
  } catch {
    return false;
  }
  if (manifest === undefined || manifest.experimentId !== experimentId || !manifest.complete) return false;
  for (const file of manifest.files) {
    if (!(await isVerified(folder, file))) return false;
  }
  return true;
}

export async function fetchInto(
  access: ClusterAccess,
  output: string,
  reader: ResultsReader,
  manifestText: string,
  progress: Progress,
): Promise<void> {
  const manifest = parseManifest(manifestText, access.experimentId);
  const folder = join(output, access.experimentId);
  const partial = `${folder}.partial`;
  await mkdir(output, { recursive: true });
  if ((await sizeIfThere(folder)) !== undefined) {
    // A damaged or older folder: its good files need not be fetched again, and the user's own stay in it.
    await rm(partial, { recursive: true, force: true });
    await rename(folder, partial);
  }
  const totalBytes = manifest.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let doneBytes = 0;
  let fetched = 0;
  const deadline = performance.now() + access.timeoutSeconds * 1000;
  for (const [index, file] of manifest.files.entries()) {
    if (!(await isVerified(partial, file))) {
      await fetchOne(access, reader, partial, file, (deadline - performance.now()) / 1000, progress);
      fetched += 1;
    }
    doneBytes += file.sizeBytes;
    progress.say(
      `fetching: ${index + 1} of ${manifest.files.length} files, ${bytes(doneBytes)} of ${bytes(totalBytes)}`,
    );
  }
  await writeFileAtomic(join(partial, "manifest.json"), manifestText);
  await rename(partial, folder);
  const total = manifest.files.length;
  progress.always(
    `fetched ${fetched} of ${total} files, all ${total} verified by sha256 (${bytes(totalBytes)})`,
  );
}

async function fetchOne(
  access: ClusterAccess,
  reader: ResultsReader,
  folder: string,
  file: ManifestFile,
  timeoutSeconds: number,
  progress: Progress,
): Promise<void> {
  const target = join(folder, file.path);
  await mkdir(dirname(target), { recursive: true });
  const tolerance = new Tolerance();
  let mismatches = 0;
  await waitFor({
    what: `file ${file.path} of ${access.experimentId}`,
    timeoutSeconds: Math.max(1, timeoutSeconds),
    intervalSeconds: access.pollSeconds,
    progress: (text) => progress.say(text),
    look: () =>
      tolerance.look(async () => {
        try {
          await reader.download(file.path, `${target}.tmp`);
          const sha256 = await sha256OfFile(`${target}.tmp`);
          if (sha256 === file.sha256) {
            await rename(`${target}.tmp`, target);
            return found(undefined);
          }
          mismatches += 1;
          // Once may be a cut connection; a file that stays different is not what the collector has hashed.
          if (mismatches === 3) {
            throw new UserError(
              `file ${file.path} of ${access.experimentId} has sha256 ${sha256}, the manifest says ${file.sha256}: it was changed after the collector had finished`,
            );
          }
          return missing(`file ${file.path} came damaged, trying again`);
        } finally {
          await rm(`${target}.tmp`, { force: true });
        }
      }),
  });
}

async function isVerified(folder: string, file: ManifestFile): Promise<boolean> {
  const path = join(folder, file.path);
  return (await sizeIfThere(path)) === file.sizeBytes && (await sha256OfFile(path)) === file.sha256;
}

function parseManifest(text: string, experimentId: string): Manifest {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch (error) {
    throw new UserError(`manifest.json of ${experimentId} is not JSON: ${(error as Error).message}`);
  }
  if (manifest.schemaVersion !== 1) {
    throw new UserError(
      `manifest.json of ${experimentId} has schemaVersion ${String(manifest.schemaVersion)}, this llmeval reads 1`,
    );
  }
  if (manifest.experimentId !== experimentId) {
    throw new UserError(`manifest.json of ${experimentId} belongs to ${manifest.experimentId}`);
  }
  for (const { path } of manifest.files) {
    // Data from a cluster must not write outside its folder.
    if (normalize(path) !== path || resolve("/", path) !== `/${path}`) {
      throw new UserError(
        `manifest.json of ${experimentId} names the file "${path}", allowed: paths below the folder`,
      );
    }
  }
  return manifest;
}

function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 1_000_000) return `${(count / 1000).toFixed(1)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}
