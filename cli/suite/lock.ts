// One process at a time plays a suite: a file with its process id, which a dead process leaves behind harmlessly.

import { execFileSync } from "node:child_process";
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { UserError } from "../../components/errors.ts";

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process began, as its system tells: another process may have the same id later. */
  readonly began: string;
}

/** Takes the lock, also from a process that is dead, and returns what gives it back; a UserError where it is held. */
export function takeLock(folder: string, suite: string): () => void {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "run.pid");
  const own: Holder = { pid: process.pid, host: hostname(), began: beginOf(process.pid) ?? "" };
  // The second attempt follows the removal of a stale lock, the third its removal by somebody else at the same time.
  for (let attempt = 1; attempt <= 3; attempt++) {
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, `${JSON.stringify(own)}\n`);
    try {
      // Whole at once, and only where there is none: a reader never sees a part.
      linkSync(draft, file);
      return () => {
        if (readHolder(file)?.pid === own.pid) rmSync(file, { force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    } finally {
      rmSync(draft, { force: true });
    }
    const holder = liveHolder(folder);
    if (holder !== undefined) throw new UserError(heldText(suite, file, holder));
    rmSync(file, { force: true });
  }
  throw new UserError(
    `suite ${suite} is being started by another process; see: npx llmeval suite status ${suite}`,
  );
}

/** The process that holds the lock, or undefined where none does or it is dead. One on another host counts as alive. */
export function liveHolder(folder: string): Holder | undefined {
  const holder = readHolder(join(folder, "run.pid"));
  if (holder === undefined || holder.host !== hostname()) return holder;
  return beginOf(holder.pid) === holder.began ? holder : undefined;
}

function heldText(suite: string, file: string, { pid, host }: Holder): string {
  const elsewhere = host === hostname() ? "" : ` on host ${host}`;
  const remedy =
    host === hostname()
      ? `wait for it, or: npx llmeval suite stop ${suite}`
      : `wait for it; where it is dead, remove ${file}`;
  return `suite ${suite} is being run already by process ${pid}${elsewhere}; ${remedy}`;
}

function readHolder(file: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Holder;
  } catch {
    // None, or none of ours.
    return undefined;
  }
}

/** Undefined where there is no such process. */
function beginOf(pid: number): string | undefined {
  try {
    if (!existsSync("/proc/self/stat")) {
      return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    }
    // The second field is the program's name in brackets and may hold blanks; the begin is the 22nd.
    const [state = "", ...rest] = (readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1) ?? "").split(
      " ",
    );
    return state === "Z" ? undefined : rest[18];
  } catch {
    return undefined;
  }
}
