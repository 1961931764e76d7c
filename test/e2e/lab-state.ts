// What there is of a lab on this machine: its processes, its facts, and what must be gone with it.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { commandOf, repository } from "./support.ts";

export const labDirectory = process.env["LLMEVAL_LAB"] ?? "/var/lib/llmeval-lab";
const bridge = "llmeval0";

/** The pids of the lab's processes and when its facts were last written. */
export function labState(): Record<string, string> {
  const facts = readdirSync(join(repository, ".lab"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(repository.length + 1));
  const pids = readdirSync(join(labDirectory, "run")).filter((file) => file.endsWith(".pid"));
  return Object.fromEntries([
    ...facts.map((file) => [file, String(statSync(join(repository, file)).mtimeMs)]),
    ...pids.map((file) => [file, readFileSync(join(labDirectory, "run", file), "utf8").trim()]),
  ]);
}

/** What there is of a lab on this machine; empty when there is none. */
export function labRemains(): string[] {
  const processes = readdirSync("/proc").filter((pid) => commandOf(pid).includes(`${labDirectory}/`));
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${labDirectory}/`));
  const groups = readdirSync("/sys/fs/cgroup").map((controller) =>
    join("/sys/fs/cgroup", controller, "llmeval-lab"),
  );
  const paths = [labDirectory, join(repository, ".lab"), join("/sys/class/net", bridge), ...groups];
  return [
    ...processes.map((pid) => `process ${pid}`),
    ...mounts,
    ...paths.filter((path) => existsSync(path)),
  ];
}
