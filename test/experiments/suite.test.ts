// From a suite's file to its cases.

import { expect, test } from "vitest";
import { casesOf, suiteSchema } from "../../experiments/suite.ts";

const cases = (suite: string, definition: unknown) => casesOf(suite, suiteSchema.parse(definition));

test("a matrix of keys and of named values, its last axis fastest, with what is left out and a list beside it", () => {
  const definition = {
    description: "d",
    experiment: "base",
    overrides: { load: { iterations: 2, workers: 8 }, "timeline.profile": "smoke" },
    matrix: {
      fault: [
        { name: "none", overrides: { faults: [] } },
        { name: "cpu", overrides: { faults: [{ kind: "cpu" }], load: { iterations: 3 } } },
      ],
      "parallelism.dataParallelism": [1, 2],
    },
    exclude: [{ fault: "none", "parallelism.dataParallelism": 2 }],
    cases: [{ name: "extra", experiment: "other", overrides: { "load.workers": 1 } }],
  };
  const common = { load: { iterations: 2, workers: 8 }, timeline: { profile: "smoke" } };
  expect(cases("s", definition)).toEqual({
    problems: [],
    cases: [
      {
        name: "none-dp1",
        experiment: "base",
        overrides: { ...common, faults: [], parallelism: { dataParallelism: 1 } },
      },
      {
        name: "cpu-dp1",
        experiment: "base",
        overrides: {
          load: { iterations: 3, workers: 8 },
          timeline: { profile: "smoke" },
          faults: [{ kind: "cpu" }],
          parallelism: { dataParallelism: 1 },
        },
      },
      {
        name: "cpu-dp2",
        experiment: "base",
        overrides: {
          load: { iterations: 3, workers: 8 },
          timeline: { profile: "smoke" },
          faults: [{ kind: "cpu" }],
          parallelism: { dataParallelism: 2 },
        },
      },
      { name: "extra", experiment: "other", overrides: { ...common, load: { iterations: 2, workers: 1 } } },
    ],
  });
});

test("plain values of any kind make names that are DNS labels", () => {
  const definition = {
    description: "d",
    experiment: "base",
    matrix: { modelId: ["phi-4", "Qwen_2.5"], "load.ratePerSecond": [0.5, 10], "load.stream": [true] },
  };
  expect(cases("s", definition).cases.map(({ name }) => name)).toEqual([
    "phi-4-rps0-5-strue",
    "phi-4-rps10-strue",
    "qwen-2-5-rps0-5-strue",
    "qwen-2-5-rps10-strue",
  ]);
});

test("a name that is too long keeps its beginning and says so", () => {
  const long = "a-name-that-goes-on-and-on-and-on";
  const definition = { description: "d", experiment: "base", cases: [{ name: long }, { name: `${long}-2` }] };
  const { cases: made } = cases("rca-anomalies", definition);
  expect(
    made.map(({ name, shortenedFrom }) => [name, `rca-anomalies-${name}`.length, shortenedFrom]),
  ).toEqual([
    [expect.stringMatching(/^a-name-that-goes-on-[0-9a-f]{4}$/), 38, long],
    [expect.stringMatching(/^a-name-that-goes-on-[0-9a-f]{4}$/), 38, `${long}-2`],
  ]);
  expect(made[0]?.name).not.toBe(made[1]?.name);
});

test("what does not fit is told by its key", () => {
  const problems = (definition: unknown, suite = "s") => cases(suite, definition).problems;
  const matrix = { a: [1, 2] };
  expect([
    problems({ description: "d", experiment: "base" }),
    problems({ description: "d", matrix }),
    problems({ description: "d", experiment: "base", matrix, cases: [{ name: "a1" }] }),
    problems({ description: "d", experiment: "base", matrix, exclude: [{ b: 1 }, { a: 3 }] }),
    problems({ description: "d", experiment: "base", matrix }, "a-suite-with-quite-a-long-name"),
  ]).toEqual([
    [{ path: "", text: "has no cases; give matrix, or cases" }],
    [
      {
        path: "experiment",
        text: "case a1 has no definition; give experiment, for all cases or for this one",
      },
      {
        path: "experiment",
        text: "case a2 has no definition; give experiment, for all cases or for this one",
      },
    ],
    [{ path: "", text: "two cases are named a1; give the values of the axes other names" }],
    [
      { path: "exclude[0].b", text: "is no axis of the matrix; allowed: a" },
      { path: "exclude[1].a", text: "is 3, allowed: 1, 2" },
    ],
    [
      {
        path: "",
        text: "its name has 30 characters, allowed: at most 26, so that those of its cases fit; rename the file",
      },
    ],
  ]);
});
