// The state of a suite, and what has changed since it was written.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { differences, freshState, readState, withCase, writeState } from "../../../cli/suite/state.ts";
import { planned, suiteProject } from "./support.ts";

const suite = (counts: string): string =>
  `description: d\nexperiment: small\nmatrix: { parallelism.dataParallelism: ${counts} }\n`;

test("the first state of a suite, to the last field, and what a step changes", () => {
  const { plan } = planned(suiteProject(suite("[1, 2]")));
  const state = freshState(plan, new Date(0), (name) => (name === "s-dp2" ? 4 : 1));
  expect(state).toEqual({
    schemaVersion: 1,
    suite: "s",
    cluster: "dev",
    startedAt: "1970-01-01T00:00:00.000Z",
    updatedAt: "1970-01-01T00:00:00.000Z",
    cases: ["dp1", "dp2"].map((name, index) => ({
      name,
      stack: `exp-s-${name}`,
      digest: plan.cases[index]?.digest,
      status: "pending",
      cells: ["rate-1-iteration-1"],
      playedSeconds: 20,
      firstRun: [1, 4][index],
      runs: [],
      playing: null,
      progress: null,
      startedAt: null,
      attemptStartedAt: null,
      endedAt: null,
      results: [],
      verdicts: [],
      reason: null,
      log: `fetched/suites/s/${name}.log`,
      hasStack: false,
    })),
  });
  const later = withCase(state, "dp2", { status: "running" }, new Date(1000));
  expect(later.updatedAt).toBe("1970-01-01T00:00:01.000Z");
  expect(later.cases.map(({ status }) => status)).toEqual(["pending", "running"]);
});

test("written whole, and read again", async () => {
  const projectDir = suiteProject(suite("[1, 2]"));
  const { state } = planned(projectDir);
  expect(await readState(projectDir, "s")).toBeUndefined();
  await writeState(projectDir, state);
  const file = join(projectDir, "fetched/suites/s/state.json");
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(state);
  expect(existsSync(`${file}.tmp`)).toBe(false);
  expect(await readState(projectDir, "s")).toEqual(state);
  mkdirSync(join(projectDir, "fetched/suites/t"));
  writeFileSync(join(projectDir, "fetched/suites/t/state.json"), '{"schemaVersion":2}');
  await expect(readState(projectDir, "t")).rejects.toThrow("has schemaVersion 2, this llmeval reads 1");
});

test("differences name the cases", () => {
  const { state } = planned(suiteProject(suite("[1, 2]")));
  const { plan } = planned(
    suiteProject(suite("[2, 3]").replace("small\n", "small\noverrides: { load.seed: 7 }\n")),
  );
  expect(differences(plan, state)).toEqual(["case dp2 has changed", "case dp3 is new", "case dp1 is gone"]);
  expect(differences(planned(suiteProject(suite("[1, 2]"))).plan, state)).toEqual([]);
});
