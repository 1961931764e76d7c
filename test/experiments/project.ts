// A project folder with the repository's configs/ and experiments of the test's own.

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { onTestFinished } from "vitest";

/** The repository. */
export const projectDir = resolve(import.meta.dirname, "../..");

/** `files` maps paths to text, e.g. `experiments/x.yaml`; removed when the test ends. */
export function makeProject(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), "project-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  cpSync(join(projectDir, "configs"), join(directory, "configs"), { recursive: true });
  mkdirSync(join(directory, "experiments"));
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text);
  return directory;
}
