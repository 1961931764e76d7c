// A temporary copy of what a stack reads from the project folder, so that a lab on this machine changes no test.

import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { onTestFinished } from "vitest";

/** Folder with configs/clusters/, workloads/ and the given further files; removed after the test. */
export function temporaryProject(files: Readonly<Record<string, string>> = {}): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "llmeval-test-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true }));
  const root = path.resolve(import.meta.dirname, "../..");
  fs.cpSync(path.join(root, "configs/clusters"), path.join(folder, "configs/clusters"), { recursive: true });
  fs.symlinkSync(path.join(root, "workloads"), path.join(folder, "workloads"));
  for (const [file, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
    fs.writeFileSync(path.join(folder, file), text);
  }
  return folder;
}
