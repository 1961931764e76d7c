// The load of an experiment: its shape, an open or a closed loop, lengths, prompts, and what cannot be played.

import * as z from "zod";
import { formatPath } from "../components/config-problems.ts";
import type { OriginOf, Problem } from "./problems.ts";
import { readPromptFile } from "./prompt-file.ts";

const count = (what: string) => z.int().min(1).describe(what);
const rate = z.number().positive().max(100_000);
const tokens = z.int().min(1);
const bounds = { min: tokens, max: tokens };
const mean = z.number().positive();
const standardDeviation = z.number().positive();

const length = z
  .union([
    tokens,
    z.discriminatedUnion("distribution", [
      z.strictObject({ distribution: z.literal("uniform"), ...bounds }),
      z.strictObject({ distribution: z.literal("normal"), mean, standardDeviation, ...bounds }),
      z.strictObject({ distribution: z.literal("exponential"), mean, ...bounds }),
      z.strictObject({ distribution: z.literal("lognormal"), mean, standardDeviation, ...bounds }),
    ]),
  ])
  .describe(
    "a number of tokens, or { distribution: uniform, min, max }, { distribution: normal or lognormal, mean, standardDeviation, min, max } or { distribution: exponential, mean, min, max }, all in tokens",
  );

const prompts = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("random") }),
  z.strictObject({
    kind: z.literal("shared-prefix"),
    prefixes: count("the number of different prefixes of a cell; each stands in front of an equal share"),
    prefixTokens: count("tokens of each prefix, in front of promptTokens"),
  }),
  z.strictObject({
    kind: z.literal("multi-turn"),
    turns: count("the number of requests of each session"),
    thinkSeconds: z.number().min(0).default(0).describe("seconds from an answer to the next turn"),
  }),
  z.strictObject({
    kind: z.literal("file"),
    file: z.string().min(1).describe("a path inside the project to a file of JSON lines"),
  }),
]);

export const loadSchema = z.strictObject({
  ratePerSecond: z
    .union([rate, z.array(rate).min(1)])
    .nullable()
    .describe("a number of requests per second more than 0, or a list of such numbers"),
  concurrency: z
    .union([tokens, z.array(tokens).min(1)])
    .nullable()
    .describe("a number of requests that are always in flight, a list of such numbers, or null"),
  rampToRatePerSecond: rate
    .nullable()
    .describe("the rate per second at the end of each cell, more than 0, or null for a rate that stays"),
  iterations: count("how often each rate is played"),
  arrivals: z.enum(["constant", "poisson", "burst"]),
  burstSize: count("the number of requests that arrive together with arrivals: burst"),
  promptTokens: length,
  outputTokens: length,
  prompts,
  workers: count("how many requests may be in flight at once"),
  spawnRatePerSecond: z.number().positive().describe("workers started per second"),
  requestTimeoutSeconds: z.number().positive().describe("a time in seconds more than 0"),
  stopAfterDeadSeconds: z
    .number()
    .positive()
    .nullable()
    .describe("seconds of nothing but failures after which the load ends, more than 0, or null for never"),
  stopWhenSaturated: z.boolean(),
  seed: z.int().min(0).describe("a whole number, 0 or more"),
  api: z.enum(["chat", "completions"]),
  stream: z.boolean(),
});

type MergedLoad = z.output<typeof loadSchema>;
type Length = MergedLoad["promptTokens"];

/** A prompt file as it was when the experiment was resolved. */
interface FilePrompts {
  readonly kind: "file";
  readonly file: string;
  readonly sha256: string;
  readonly lines: number;
  /** The largest outputTokens of a line; null where no line has its own. */
  readonly maxOutputTokens: number | null;
}

/** Exactly one of rate and concurrency is null. */
export interface Load extends Omit<MergedLoad, "ratePerSecond" | "concurrency" | "prompts"> {
  /** An open loop's levels. */
  readonly ratePerSecond: readonly number[] | null;
  /** A closed loop's levels. */
  readonly concurrency: readonly number[] | null;
  readonly prompts: Exclude<MergedLoad["prompts"], { kind: "file" }> | FilePrompts;
}

/** The levels and the prompt file of a merged load, with the problems of the file. */
export function resolveLoad(
  load: MergedLoad,
  /** Position of the layer that decides a key of the load; a higher one wins. */
  layerOf: (key: "ratePerSecond" | "concurrency") => number,
  projectDir: string,
  originOf: OriginOf,
): { readonly load: Load; readonly problems: readonly Problem[] } {
  const open =
    load.concurrency === null ||
    (load.ratePerSecond !== null && layerOf("ratePerSecond") > layerOf("concurrency"));
  const levels = {
    ratePerSecond: open && load.ratePerSecond !== null ? [load.ratePerSecond].flat() : null,
    concurrency: open || load.concurrency === null ? null : [load.concurrency].flat(),
  };
  if (load.prompts.kind !== "file")
    return { load: { ...load, ...levels, prompts: load.prompts }, problems: [] };
  const { file } = load.prompts;
  const { problems, ...content } = readPromptFile(projectDir, file, load.api);
  const path = ["load", "prompts", "file"];
  return {
    load: { ...load, ...levels, prompts: { kind: "file", file, ...content } },
    problems: problems.map((text) => ({ file: originOf(path), path: formatPath(path), text })),
  };
}

/** What the schema cannot see: values that do not fit each other, the model or the faults. */
export function loadProblems(
  experiment: {
    readonly load: Load;
    readonly model: { readonly maxModelLen: number };
    readonly faults: readonly unknown[];
  },
  originOf: OriginOf,
): Problem[] {
  const { load, model, faults } = experiment;
  const problems: Problem[] = [];
  const add = (key: string, text: string, ...rest: string[]): void => {
    const path = ["load", key, ...rest];
    problems.push({ file: originOf(path), path: formatPath(path), text });
  };
  for (const key of ["promptTokens", "outputTokens"] as const) {
    const problem = lengthProblem(load[key]);
    if (problem !== undefined) add(key, problem);
  }
  const { sum, total } = longestRequest(load);
  if (total > model.maxModelLen) {
    add(
      load.prompts.kind === "file" ? "outputTokens" : "promptTokens",
      `${sum} is ${total}, allowed: at most model.maxModelLen ${model.maxModelLen}; lower them or raise it`,
    );
  }
  if (load.prompts.kind === "multi-turn" && load.api !== "chat") {
    add("prompts", `multi-turn needs load.api chat, but it is ${load.api}; change one of them`, "kind");
  }
  if (load.ratePerSecond === null && load.concurrency === null) {
    add("ratePerSecond", "is null, and so is load.concurrency; give one of them a value");
  }
  for (const key of ["ratePerSecond", "concurrency"] as const) {
    const levels = load[key];
    if (levels === null) continue;
    const name = key === "concurrency" ? "concurrency" : "rate";
    if (new Set(levels).size !== levels.length) {
      add(key, `is ${JSON.stringify(levels)}, allowed: each ${name} once; use load.iterations to repeat`);
    } else if (load.stopWhenSaturated && !isAscending(levels)) {
      add(
        key,
        `is ${JSON.stringify(levels)}, allowed: at least two, ascending, as load.stopWhenSaturated skips the levels above a saturated one; change one of them`,
      );
    }
  }
  if (load.stopWhenSaturated && faults.length > 0) {
    add("stopWhenSaturated", "is true, but a fault would be taken for saturation; remove one of them");
  }
  if (load.rampToRatePerSecond !== null && load.concurrency !== null) {
    add(
      "rampToRatePerSecond",
      `is ${load.rampToRatePerSecond}, but load.concurrency makes a closed loop, which has no rate; set one of them to null`,
    );
  }
  if (load.rampToRatePerSecond !== null && load.arrivals === "burst") {
    add(
      "rampToRatePerSecond",
      `is ${load.rampToRatePerSecond}, but load.arrivals is burst; use constant or poisson, or set it to null`,
    );
  }
  return problems;
}

function isAscending(levels: readonly number[]): boolean {
  return (
    levels.length > 1 && levels.every((level, index) => index === 0 || level > (levels[index - 1] as number))
  );
}

function lengthProblem(given: Length): string | undefined {
  if (typeof given === "number") return undefined;
  if (given.min > given.max) return `min ${given.min} is more than max ${given.max}; swap them`;
  if (given.distribution === "uniform" || (given.mean >= given.min && given.mean <= given.max))
    return undefined;
  return `mean ${given.mean} is not between min ${given.min} and max ${given.max}; move it or them`;
}

function longest(given: Length): number {
  return typeof given === "number" ? given : given.max;
}

/** Tokens of the longest request with its answer. The server's chat template comes on top. */
function longestRequest(load: Load): { readonly sum: string; readonly total: number } {
  const promptTokens = longest(load.promptTokens);
  const outputTokens = longest(load.outputTokens);
  const pair = `promptTokens ${promptTokens} + outputTokens ${outputTokens}`;
  const { prompts: asked } = load;
  switch (asked.kind) {
    case "random":
      return { sum: pair, total: promptTokens + outputTokens };
    case "shared-prefix":
      return {
        sum: `prompts.prefixTokens ${asked.prefixTokens} + ${pair}`,
        total: asked.prefixTokens + promptTokens + outputTokens,
      };
    case "multi-turn":
      // The last turn sends all turns and answers before it.
      return {
        sum: `prompts.turns ${asked.turns} x (${pair})`,
        total: asked.turns * (promptTokens + outputTokens),
      };
    case "file": {
      const most = Math.max(outputTokens, asked.maxOutputTokens ?? 0);
      return { sum: `a prompt of at least 1 + outputTokens ${most}`, total: 1 + most };
    }
  }
}
