// The programs' sources as ConfigMaps: complete, small enough, and runnable from where the volume puts them.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readSources, sourceVolume } from "../../../components/experiment/workload-source.ts";
import { projectDir } from "../../experiments/project.ts";

const workloadsDir = join(projectDir, "workloads");
const workloads = ["gate", "collector", "reader"] as const;

test.each(workloads)("%s fits into a ConfigMap with its entry point and the shared files", (workload) => {
  const sources = readSources(workloadsDir, workload);
  expect(Object.keys(sources)).toContain(`${workload}/main.ts`);
  expect(Object.keys(sources)).toContain("shared/env.ts");
  expect(JSON.stringify(sources).length).toBeLessThan(1_000_000);
});

test.each(workloads)("%s starts from its volume alone and says which settings are missing", (workload) => {
  const folder = mkdtempSync(join(tmpdir(), "app-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(readSources(workloadsDir, workload))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  // The reader has a default for everything; a root that does not exist stops it.
  const env = { PATH: process.env["PATH"] ?? "", ROOT: "/nonexistent" };
  const run = () =>
    execFileSync(process.execPath, [join(folder, workload, "main.ts")], {
      env,
      stdio: "pipe",
      timeout: 20_000,
    });
  expect(run).toThrow(/is not set|does not exist/);
});

test("the volume puts each file back into its folder", () => {
  const volume = sourceVolume("gate", { "package.json": "", "gate/main.ts": "", "shared/env.ts": "" });
  expect(volume.volume).toMatchObject({
    name: "app",
    configMap: {
      items: [
        { key: "package.json", path: "package.json" },
        { key: "gate__main.ts", path: "gate/main.ts" },
        { key: "shared__env.ts", path: "shared/env.ts" },
      ],
    },
  });
  expect(volume.mount).toEqual({ mountPath: "/app", readOnly: true });
});
