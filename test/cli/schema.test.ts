// The JSON Schemas in the repository are those of the code.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { toSchemaText } from "../../cli/schema.ts";
import { root } from "../workloads/support.ts";

test.each([
  ["experiment", "experiments/schema.json"],
  ["suite", "experiments/suites/schema.json"],
  ["cluster", "configs/clusters/schema.json"],
])("%s: %s is up to date; else: npx llmeval schema KIND > FILE", (kind, file) => {
  expect(readFileSync(join(root, file), "utf8")).toBe(toSchemaText(kind));
});

test("a definition may leave out every key", () => {
  expect(toSchemaText("experiment")).not.toContain('"required": [');
});

test("an unknown kind is told", () => {
  expect(() => toSchemaText("sweep")).toThrowErrorMatchingInlineSnapshot(
    `[UserError: llmeval schema: unknown kind "sweep", known: experiment, suite, cluster]`,
  );
});
