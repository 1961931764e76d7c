// What the load generator is told of each kind of load, and where the prompt file goes.

import { expect, test } from "vitest";
import { promptFileOf, toLoadSpec } from "../../../components/experiment/run-config.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import { makeProject, projectDir } from "../../experiments/project.ts";

type Values = Readonly<Record<string, unknown>>;

function resolve(load: Values) {
  return resolveExperiment({ projectDir, name: "smoke", overrides: [{ file: "test", values: { load } }] });
}

function cellOf(load: Values) {
  const [cell] = toLoadSpec(resolve(load), "x", "exp-x")["cells"] as readonly Values[];
  const { phases: _phases, ...rest } = cell as Values;
  return rest;
}

const common = {
  startOffsetSeconds: 0,
  durationSeconds: 15,
  burstSize: 1,
  promptTokens: 64,
  outputTokens: 16,
};

test("a closed loop", () => {
  expect(cellOf({ concurrency: 8, arrivals: "poisson" })).toEqual({
    ...common,
    id: "concurrency-8-iteration-1",
    ratePerSecond: null,
    concurrency: 8,
    rampToRatePerSecond: null,
    arrivals: "closed-loop",
  });
});

test("a ramp with lengths that are drawn", () => {
  const outputTokens = { distribution: "exponential", mean: 16, min: 1, max: 64 };
  expect(cellOf({ rampToRatePerSecond: 8, arrivals: "poisson", outputTokens })).toEqual({
    ...common,
    id: "rate-4-to-8-iteration-1",
    ratePerSecond: 4,
    concurrency: null,
    rampToRatePerSecond: 8,
    arrivals: "poisson",
    outputTokens,
  });
});

test("prompts, and when to stop", () => {
  const stop = { stopAfterDeadSeconds: 20, stopWhenSaturated: true, ratePerSecond: [1, 2] };
  const prompts = { kind: "multi-turn", turns: 3, thinkSeconds: 1 };
  expect(toLoadSpec(resolve({ ...stop, prompts }), "x", "exp-x")).toMatchObject({
    stopAfterDeadSeconds: 20,
    stopWhenSaturated: true,
    prompts,
  });
});

test("a prompt file is read from the run's ConfigMap", () => {
  const files = { "experiments/x.yaml": "modelId: phi-4\n", "experiments/p.jsonl": '{"prompt":"Why?"}' };
  const overrides = [
    { file: "test", values: { load: { prompts: { kind: "file", file: "experiments/p.jsonl" } } } },
  ];
  const resolved = resolveExperiment({ projectDir: makeProject(files), name: "x", overrides });
  expect(toLoadSpec(resolved, "x", "exp-x")["prompts"]).toEqual({
    kind: "file",
    file: "/config/prompts.jsonl",
  });
  const args = {
    namespace: "exp-x",
    experiment: "x",
    experimentId: "x-r1-000000",
    resolved,
    images: {},
    standIns: [],
    stackInfo: { stack: "exp-x", cluster: "dev", capabilities: {} },
    loadScript: "",
  };
  expect(promptFileOf({ ...args, promptFile: "text" })).toEqual({ "prompts.jsonl": "text" });
  expect(() => promptFileOf(args)).toThrow("the text of experiments/p.jsonl was not given");
  expect(promptFileOf({ ...args, resolved: resolve({}) })).toEqual({});
});
