// The load of an experiment: what is effective, and what cannot be played.

import { expect, test } from "vitest";
import { explain } from "../../cli/explain.ts";
import { type Layer, resolveExperiment, tryResolve } from "../../experiments/resolve.ts";
import { makeProject, projectDir } from "./project.ts";

type Values = Readonly<Record<string, unknown>>;

const stackFile = "Pulumi.exp-x.yaml llmeval:overrides";

/** `smoke` with these values of the load in layers above it, lowest first. */
function loadOf(...loads: readonly Values[]) {
  const overrides: Layer[] = loads.map((load) => ({ file: stackFile, values: { load } }));
  return resolveExperiment({ projectDir, name: "smoke", overrides }).load;
}

function problemsOf(values: Values, files: Readonly<Record<string, string>> = {}): string[] {
  const directory = makeProject({
    "experiments/x.yaml": "modelId: phi-4\nengine: llm-d-inference-sim\ntimeline: { profile: smoke }\n",
    ...files,
  });
  const overrides = [{ file: stackFile, values }];
  const { problems } = tryResolve({ projectDir: directory, name: "x", overrides });
  return problems.map(({ path, text }) => `${path}: ${text}`);
}

test("a concurrency makes a closed loop, without a word about the rate", () => {
  const levels = (...loads: readonly Values[]) => {
    const { ratePerSecond, concurrency } = loadOf(...loads);
    return { ratePerSecond, concurrency };
  };
  expect(levels()).toEqual({ ratePerSecond: [4], concurrency: null });
  // Above the rate of the definition, and beside a rate.
  expect(levels({ concurrency: 8 })).toEqual({ ratePerSecond: null, concurrency: [8] });
  expect(levels({ concurrency: [8, 16], ratePerSecond: 5 })).toEqual({
    ratePerSecond: null,
    concurrency: [8, 16],
  });
  // A rate in a higher layer makes an open loop again; so does no concurrency.
  expect(levels({ concurrency: 8 }, { ratePerSecond: [2, 5] })).toEqual({
    ratePerSecond: [2, 5],
    concurrency: null,
  });
  expect(levels({ concurrency: 8 }, { concurrency: null })).toEqual({
    ratePerSecond: [4],
    concurrency: null,
  });
});

test("a form of prompts or lengths replaces another form as a whole, and completes its own", () => {
  const normal = { distribution: "normal", mean: 64, standardDeviation: 16, min: 1, max: 128 };
  const sharedPrefix = { kind: "shared-prefix", prefixes: 4, prefixTokens: 256 };
  const { promptTokens, prompts } = loadOf(
    { promptTokens: { ...normal, distribution: "lognormal" }, prompts: sharedPrefix },
    {
      promptTokens: { distribution: "uniform", min: 32, max: 96 },
      prompts: { kind: "multi-turn", turns: 3 },
    },
  );
  expect({ promptTokens, prompts }).toEqual({
    promptTokens: { distribution: "uniform", min: 32, max: 96 },
    prompts: { kind: "multi-turn", turns: 3, thinkSeconds: 0 },
  });
  expect(loadOf({ outputTokens: normal }, { outputTokens: { mean: 32 } }).outputTokens).toEqual({
    ...normal,
    mean: 32,
  });
  expect(loadOf({ outputTokens: normal }, { outputTokens: 16 }).outputTokens).toBe(16);
});

test("what has no allowed form", () => {
  expect(
    problemsOf({
      load: {
        concurrency: 0,
        rampToRatePerSecond: -1,
        promptTokens: { distribution: "zipf", min: 1, max: 2 },
        outputTokens: { distribution: "normal", mean: 5, min: 1, max: 9 },
        prompts: { kind: "shared-prefix", prefixes: 0, prefixTokns: 5 },
        stopAfterDeadSeconds: 0,
        stopWhenSaturated: "yes",
      },
    }),
  ).toMatchInlineSnapshot(`
    [
      "load.concurrency: is 0, allowed: at least 1; give a number of requests that are always in flight, a list of such numbers, or null",
      "load.rampToRatePerSecond: is -1, allowed: more than 0; give the rate per second at the end of each cell, more than 0, or null for a rate that stays",
      "load.promptTokens: is {"distribution":"zipf","min":1,"max":2}, allowed: a number of tokens, or { distribution: uniform, min, max }, { distribution: normal or lognormal, mean, standardDeviation, min, max } or { distribution: exponential, mean, min, max }, all in tokens",
      "load.outputTokens: is {"distribution":"normal","mean":5,"min":1,"max":9}, allowed: a number of tokens, or { distribution: uniform, min, max }, { distribution: normal or lognormal, mean, standardDeviation, min, max } or { distribution: exponential, mean, min, max }, all in tokens",
      "load.prompts.prefixes: is 0, allowed: at least 1; give the number of different prefixes of a cell; each stands in front of an equal share",
      "load.prompts.prefixTokens: missing; give tokens of each prefix, in front of promptTokens",
      "load.prompts.prefixTokns: unknown key; did you mean "prefixTokens"? (allowed: kind, prefixTokens, prefixes)",
      "load.stopAfterDeadSeconds: is 0, allowed: more than 0; give seconds of nothing but failures after which the load ends, more than 0, or null for never",
      "load.stopWhenSaturated: is "yes", allowed: true or false",
    ]
  `);
  expect(problemsOf({ load: { prompts: { kind: "multiturn" } } })).toMatchInlineSnapshot(`
    [
      "load.prompts.kind: is "multiturn"; did you mean "multi-turn"? allowed: random, shared-prefix, multi-turn, file",
    ]
  `);
});

test("values of the load that contradict each other are refused, all at once", () => {
  expect(
    problemsOf({
      load: {
        concurrency: [8, 4],
        rampToRatePerSecond: 5,
        arrivals: "burst",
        api: "completions",
        prompts: { kind: "multi-turn", turns: 20 },
        promptTokens: { distribution: "exponential", mean: 2000, min: 10, max: 1000 },
        outputTokens: { distribution: "uniform", min: 9, max: 1 },
        stopWhenSaturated: true,
      },
      faults: [{ kind: "cpu", target: "head", workers: 1 }],
      timeline: { faultSeconds: 5 },
    }),
  ).toMatchInlineSnapshot(`
    [
      "load.promptTokens: mean 2000 is not between min 10 and max 1000; move it or them",
      "load.outputTokens: min 9 is more than max 1; swap them",
      "load.promptTokens: prompts.turns 20 x (promptTokens 1000 + outputTokens 1) is 20020, allowed: at most model.maxModelLen 8192; lower them or raise it",
      "load.prompts.kind: multi-turn needs load.api chat, but it is completions; change one of them",
      "load.concurrency: is [8,4], allowed: at least two, ascending, as load.stopWhenSaturated skips the levels above a saturated one; change one of them",
      "load.stopWhenSaturated: is true, but a fault would be taken for saturation; remove one of them",
      "load.rampToRatePerSecond: is 5, but load.concurrency makes a closed loop, which has no rate; set one of them to null",
      "load.rampToRatePerSecond: is 5, but load.arrivals is burst; use constant or poisson, or set it to null",
    ]
  `);
  expect(problemsOf({ load: { ratePerSecond: null } })).toMatchInlineSnapshot(`
    [
      "load.ratePerSecond: is null, and so is load.concurrency; give one of them a value",
    ]
  `);
  expect(problemsOf({ load: { concurrency: [4, 4] } })).toMatchInlineSnapshot(`
    [
      "load.concurrency: is [4,4], allowed: each concurrency once; use load.iterations to repeat",
    ]
  `);
  expect(problemsOf({ load: { ratePerSecond: 4, stopWhenSaturated: true } })).toMatchInlineSnapshot(`
    [
      "load.ratePerSecond: is [4], allowed: at least two, ascending, as load.stopWhenSaturated skips the levels above a saturated one; change one of them",
    ]
  `);
});

test("prompt and output fit the model, with prefixes and all turns", () => {
  // phi-4 is served with 8192 tokens here.
  const fixed = { promptTokens: 2048, outputTokens: 2048 };
  const drawn = { distribution: "exponential", mean: 99, min: 1, max: 2048 };
  const prefixes = (prefixTokens: number) => ({ kind: "shared-prefix", prefixes: 1, prefixTokens });
  const turns = (count: number) => ({ kind: "multi-turn", turns: count });
  const fits = [
    { promptTokens: 4096, outputTokens: 4096 },
    { ...fixed, prompts: prefixes(4096) },
    { ...fixed, prompts: turns(2) },
  ];
  expect(fits.flatMap((load) => problemsOf({ load }))).toEqual([]);
  const unfit = [
    { promptTokens: 6145, outputTokens: drawn },
    { ...fixed, prompts: prefixes(4097) },
    { ...fixed, prompts: turns(3) },
  ];
  expect(unfit.flatMap((load) => problemsOf({ load }))).toMatchInlineSnapshot(`
    [
      "load.promptTokens: promptTokens 6145 + outputTokens 2048 is 8193, allowed: at most model.maxModelLen 8192; lower them or raise it",
      "load.promptTokens: prompts.prefixTokens 4097 + promptTokens 2048 + outputTokens 2048 is 8193, allowed: at most model.maxModelLen 8192; lower them or raise it",
      "load.promptTokens: prompts.turns 3 x (promptTokens 2048 + outputTokens 2048) is 12288, allowed: at most model.maxModelLen 8192; lower them or raise it",
    ]
  `);
});

test("a prompt file is part of the experiment: its content decides the id", () => {
  const prompts = { kind: "file", file: "experiments/mine.jsonl" };
  const load = { prompts };
  const text = '{"prompt":"Why?"}\n{"prompt":"How?","outputTokens":900}\n';
  const directory = makeProject({ "experiments/x.yaml": "modelId: phi-4\n", "experiments/mine.jsonl": text });
  const { experiment, problems } = tryResolve({
    projectDir: directory,
    name: "x",
    overrides: [{ file: stackFile, values: { load } }],
  });
  expect(problems).toEqual([]);
  expect(experiment?.load.prompts).toEqual({
    kind: "file",
    file: "experiments/mine.jsonl",
    sha256: "08e9ad455aa6348d5fa7b43bd4906d4a85fcb1d17b4b77443cf20a7cf1ab9d09",
    lines: 2,
    maxOutputTokens: 900,
  });
  expect(problemsOf({ load })).toMatchInlineSnapshot(`
    [
      "load.prompts.file: is "experiments/mine.jsonl", which does not exist; give a file of JSON lines",
    ]
  `);
  const long = { "experiments/mine.jsonl": '{"prompt":"a","outputTokens":20000}' };
  expect(problemsOf({ load }, long)).toMatchInlineSnapshot(`
    [
      "load.outputTokens: a prompt of at least 1 + outputTokens 20000 is 20001, allowed: at most model.maxModelLen 8192; lower them or raise it",
    ]
  `);
});

test("explain tells what a closed loop and sessions come to", () => {
  const requestsOf = (load: Values) => {
    const overrides = [{ file: stackFile, values: { load } }];
    const args = { projectDir, name: "smoke", overrides };
    const page = explain(resolveExperiment(args), tryResolve(args).originOf, 1);
    return page.split("\n").find((line) => line.startsWith("  requests "));
  };
  expect(requestsOf({ concurrency: [2, 4] })).toBe(
    "  requests           as many as the engine answers in 2 cells",
  );
  expect(requestsOf({ ratePerSecond: 1, rampToRatePerSecond: 8 })).toBe("  requests           68 in 1 cell");
  expect(requestsOf({ prompts: { kind: "multi-turn", turns: 3 } })).toBe(
    "  requests           60 sessions of up to 3 turns in 1 cell",
  );
});
