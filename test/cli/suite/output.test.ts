// What is read of pulumi's output; the texts are those of the real engine.

import { expect, test } from "vitest";
import { Lines, progressOf, reasonOf } from "../../../cli/suite/output.ts";

test.each([
  [
    " +  command:local:Command results-a-r1 creating (0s) [   1 s] load: 1/2 requests sent, 0 failed",
    "load: 1/2 requests sent, 0 failed",
  ],
  [" +  kubernetes:ray.io/v1:RayService smoke-ray creating (12s) ", "creating RayService smoke-ray"],
  [" -  kubernetes:core/v1:Namespace smoke deleting (0s) ", "deleting Namespace smoke"],
  [" +  llmeval:experiment:Load smoke-load creating (0s) ", undefined],
  [" +  kubernetes:core/v1:Namespace smoke created (0.1s) ", undefined],
  [" +  pulumi:pulumi:Stack llm-serving-eval-exp-smoke creating (0s) ", undefined],
  ["@ updating....", undefined],
])("%s", (line, progress) => {
  expect(progressOf(line)).toBe(progress);
});

const failed = `Updating (exp-a-two):

 +  command:local:Command load creating (0s) error: exit status 3: running "false":
 +  pulumi:pulumi:Stack suite-test-exp-a-two **creating failed (0.60s)** 1 error
Diagnostics:
  pulumi:pulumi:Stack (suite-test-exp-a-two):
    error: update failed

  command:local:Command (load):
    error: exit status 3: running "false":
      one more line
    no error line

Resources:
    + 2 created
    2 errored
`;

test("a failure's reason is what the diagnostics say, without what is said of every failure", () => {
  expect(reasonOf(failed.split("\n"))).toBe('exit status 3: running "false":\n  one more line');
  expect(reasonOf(["error: no Pulumi.yaml project file found"])).toBe("no Pulumi.yaml project file found");
  expect(reasonOf(["", "it went", "wrong", ""])).toBe("it went\nwrong");
  expect(reasonOf([])).toBe("");
  const many = Array.from({ length: 9 }, (_, index) => `    error: number ${index}`);
  expect(reasonOf(["Diagnostics:", ...many]).split("\n")).toEqual(
    [3, 4, 5, 6, 7, 8].map((number) => `number ${number}`),
  );
});

test("chunks become whole lines", () => {
  const seen: string[] = [];
  const lines = new Lines((line) => void seen.push(line));
  for (const chunk of ["a", "b\nc", "d\r\n", "\ne"]) lines.push(chunk);
  expect(seen).toEqual(["ab", "cd", ""]);
  lines.end();
  lines.end();
  expect(seen).toEqual(["ab", "cd", "", "e"]);
});
