// Two processes must not play one suite.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { liveHolder, takeLock } from "../../../cli/suite/lock.ts";
import { temporaryFolder } from "../../workloads/support.ts";

test("held, given back, taken again", () => {
  const folder = temporaryFolder();
  const unlock = takeLock(folder, "s");
  expect(liveHolder(folder)?.pid).toBe(process.pid);
  expect(() => takeLock(folder, "s")).toThrow(
    `suite s is being run already by process ${process.pid}; wait for it, or: npx llmeval suite stop s`,
  );
  unlock();
  expect([liveHolder(folder), existsSync(join(folder, "run.pid"))]).toEqual([undefined, false]);
  takeLock(folder, "s")();
});

test("a dead process holds nothing, nor one that has got its id", () => {
  const folder = temporaryFolder();
  const file = join(folder, "run.pid");
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  for (const holder of [
    { pid: dead, host: hostname(), began: "1" },
    { pid: process.pid, host: hostname(), began: "1" },
  ]) {
    writeFileSync(file, JSON.stringify(holder));
    expect(liveHolder(folder)).toBeUndefined();
    const unlock = takeLock(folder, "s");
    expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({
      pid: process.pid,
      host: hostname(),
      began: expect.stringMatching(/^\d+$/),
    });
    unlock();
  }
});

test("of a process on another host nobody can tell whether it is alive", () => {
  const folder = temporaryFolder();
  const file = join(folder, "run.pid");
  writeFileSync(file, JSON.stringify({ pid: 1, host: "elsewhere", began: "1" }));
  expect(() => takeLock(folder, "s")).toThrow(
    `suite s is being run already by process 1 on host elsewhere; wait for it; where it is dead, remove ${file}`,
  );
});
