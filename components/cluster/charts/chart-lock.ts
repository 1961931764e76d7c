// The lock file of Helm charts: one sha256 for each chart and version, wherever the file is fetched from.

import * as fs from "node:fs";
import * as path from "node:path";
import * as yaml from "yaml";
import * as z from "zod";
import { parseConfigFile } from "../../config-problems.ts";
import { sha256Schema } from "../common/part.ts";
import type { ChartRef } from "./chart.ts";

/** Relative to the project. */
export const lockFile = "configs/charts.lock.yaml";

const lockSchema = z
  .strictObject({
    charts: z.array(
      z.strictObject({
        name: z.string().min(1),
        version: z.string().min(1),
        /** Where the digest was seen first; a mirror must serve the same bytes. */
        repository: z.string().min(1),
        sha256: sha256Schema,
      }),
    ),
  })
  .superRefine((lock, context) => {
    const names = lock.charts.map(({ name, version }) => `${name} ${version}`);
    for (const [index, name] of names.entries()) {
      if (names.indexOf(name) < index) {
        const message = `${name} is there already; keep one of the two entries`;
        context.addIssue({ code: "custom", path: ["charts", index], message });
      }
    }
  });

export type LockEntry = z.output<typeof lockSchema>["charts"][number];

const head = `# Digests of Helm charts: the sha256 of each .tgz, whatever repository or mirror serves it.
# \`npx llmeval charts pull --pin\` adds what is missing and never changes an entry: to accept other bytes under the
# same version, find out why they differ, then remove the entry and pin again.
`;

/** The entries; none when there is no file. */
export function readLock(projectDir: string): LockEntry[] {
  const file = path.join(projectDir, lockFile);
  return fs.existsSync(file) ? parseConfigFile(lockSchema, file, lockFile).charts : [];
}

/** Adds entries, in order of name and version. */
export function addToLock(projectDir: string, added: readonly LockEntry[]): void {
  const entries = [...readLock(projectDir), ...added].sort((left, right) =>
    `${left.name} ${left.version}`.localeCompare(`${right.name} ${right.version}`, "en"),
  );
  const file = path.join(projectDir, lockFile);
  fs.writeFileSync(`${file}.new`, head + yaml.stringify({ charts: entries }, { lineWidth: 0 }));
  fs.renameSync(`${file}.new`, file);
}

/** The digest that the lock file holds for a chart. */
export function lockedSha256(lock: readonly LockEntry[], chart: ChartRef): string | undefined {
  return lock.find(({ name, version }) => name === chart.name && version === chart.version)?.sha256;
}
