// The stack's configuration map of an experiment.

import { expect, test } from "vitest";
import { readExperimentSettings } from "../../experiments/settings.ts";

const minimal = { "llmeval:kind": "experiment", "llmeval:cluster": "dev" };

test("the name is the stack's without exp-, and everything else has a default", () => {
  expect(readExperimentSettings("exp-smoke", minimal)).toEqual({
    name: "smoke",
    cluster: "dev",
    run: 1,
    steps: "collect",
    debug: false,
    overrides: [],
    problems: [],
  });
});

test("keys of other namespaces are not ours", () => {
  const config = { ...minimal, "pulumi:disable-default-providers": '["kubernetes"]', "aws:region": "x" };
  expect(readExperimentSettings("exp-smoke", config).problems).toEqual([]);
});

test("modelId and overrides become layers; fractions that pulumi keeps as text become numbers", () => {
  const { overrides, run, definition } = readExperimentSettings("exp-smoke", {
    ...minimal,
    "llmeval:run": "3",
    "llmeval:experiment": "falcon-baseline",
    "llmeval:modelId": "phi-4",
    "llmeval:overrides": '{"load":{"ratePerSecond":["0.5",4],"seed":7},"description":"1.2.3"}',
  });
  expect({ run, definition, overrides }).toEqual({
    run: 3,
    definition: "falcon-baseline",
    overrides: [
      { file: "Pulumi.exp-smoke.yaml llmeval:modelId", values: { modelId: "phi-4" } },
      {
        file: "Pulumi.exp-smoke.yaml llmeval:overrides",
        values: { load: { ratePerSecond: [0.5, 4], seed: 7 }, description: "1.2.3" },
      },
    ],
  });
});

test("steps, debug and cells, as pulumi stores them", () => {
  const read = (values: Readonly<Record<string, string>>) => {
    const { steps, debug, cells, problems } = readExperimentSettings("exp-smoke", { ...minimal, ...values });
    expect(problems).toEqual([]);
    return { steps, debug, cells: cells?.numbers };
  };
  expect(read({ "llmeval:steps": "deploy", "llmeval:debug": "true", "llmeval:cells": "3, 1,3" })).toEqual({
    steps: "deploy",
    debug: true,
    cells: [1, 3],
  });
  // Of a list by --path, of one number, of texts.
  expect(["[2,1]", "4", '["10","9"]'].map((text) => read({ "llmeval:cells": text }).cells)).toEqual([
    [1, 2],
    [4],
    [9, 10],
  ]);
});

test("fails on everything that is wrong at once", () => {
  const { problems } = readExperimentSettings("exp-Smoke_1", {
    "llmeval:kind": "experiment",
    "llmeval:overides": "{}",
    "llmeval:overrides": "5",
    "llmeval:run": "0",
    "llmeval:steps": "benchmrk",
    "llmeval:debug": "yes",
    "llmeval:cells": "1,0",
  });
  expect(problems.map(({ file, path, text }) => `${file}: ${path}: ${text}`)).toMatchInlineSnapshot(`
    [
      "Pulumi.exp-Smoke_1.yaml: llmeval:overides: unknown key; did you mean "overrides"? allowed: kind, cluster, run, experiment, steps, debug, cells, modelId, overrides, huggingFaceToken; remove it by: pulumi config rm llmeval:overides",
      "Pulumi.exp-Smoke_1.yaml: stack exp-Smoke_1: is no name for an experiment, allowed: a-z, 0-9 and -, at most 39 characters after exp-; use another stack name",
      "Pulumi.exp-Smoke_1.yaml: llmeval:cluster: missing; name the cluster's stack, e.g.: pulumi config set llmeval:cluster dev",
      "Pulumi.exp-Smoke_1.yaml: llmeval:run: is "0", allowed: a whole number from 1; e.g.: pulumi config set llmeval:run 2",
      "Pulumi.exp-Smoke_1.yaml: llmeval:steps: is "benchmrk"; did you mean "benchmark"? allowed: deploy, benchmark, collect; e.g.: pulumi config set llmeval:steps deploy",
      "Pulumi.exp-Smoke_1.yaml: llmeval:debug: is "yes", allowed: true, false; e.g.: pulumi config set llmeval:debug true",
      "Pulumi.exp-Smoke_1.yaml: llmeval:cells: is "1,0", allowed: whole numbers from 1 in the order of play, e.g.: pulumi config set llmeval:cells 1,3",
      "Pulumi.exp-Smoke_1.yaml: llmeval:overrides: is "5", allowed: a map; set one value by: pulumi config set --path llmeval:overrides.load.ratePerSecond 5",
    ]
  `);
});

test("fails on a name that would make a Job's name too long", () => {
  expect(readExperimentSettings(`exp-${"a".repeat(39)}`, minimal).problems).toEqual([]);
  expect(readExperimentSettings(`exp-${"a".repeat(40)}`, minimal).problems).toHaveLength(1);
});
