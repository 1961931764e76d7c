// Reads the `llmeval:` keys of an experiment's stack from the stack's configuration map.

import { didYouMean } from "../components/spelling.ts";
import type { CellChoice } from "./cells.ts";
import type { Problem } from "./problems.ts";
import type { Layer } from "./resolve.ts";

/** How far a stack goes: the model is served; the load and the faults are played; the results are collected and fetched. */
export const steps = ["deploy", "benchmark", "collect"] as const;
export type Step = (typeof steps)[number];

/** What a stack's configuration says about its experiment. */
export interface ExperimentSettings {
  /** The experiment's name: the stack's without `exp-`. */
  readonly name: string;
  /** The stack that describes the cluster. */
  readonly cluster: string;
  /** Counts up to run the same definition again. */
  readonly run: number;
  /** The last step that the stack takes. */
  readonly steps: Step;
  /** Verbose logs of every part, and pods that stay for a day longer. */
  readonly debug: boolean;
  /** The cells to play; absent for all of them. */
  readonly cells?: CellChoice;
  /** Name of the file in experiments/, where it is not the experiment's name. */
  readonly definition?: string;
  readonly overrides: readonly Layer[];
  readonly problems: readonly Problem[];
}

/** Every key that an experiment's stack may set, with what it is for. */
export const experimentKeys: Readonly<Record<string, string>> = {
  kind: "experiment",
  cluster: "name of the cluster's stack, e.g. dev",
  run: "a whole number from 1; count it up to run the experiment again",
  experiment: "name of a file in experiments/, where the stack's name is another",
  steps: "how far to go: deploy, benchmark or collect (the default: all of it)",
  debug: "true for verbose logs of every part, and for pods that stay",
  cells: "numbers of the cells to play, e.g. 1,3; the others are neither played nor expected",
  modelId: "short for overrides.modelId",
  overrides: "a map of values that win over the definition's",
  huggingFaceToken: "secret; a token for gated models",
};

const dnsLabel = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

/** `config` holds the stack's whole configuration as pulumi hands it over: values as text, maps as JSON. */
export function readExperimentSettings(
  stack: string,
  config: Readonly<Record<string, string>>,
): ExperimentSettings {
  const file = `Pulumi.${stack}.yaml`;
  const problems: Problem[] = [];
  const values = new Map(
    Object.entries(config)
      .filter(([key]) => key.startsWith("llmeval:"))
      .map(([key, value]) => [key.slice("llmeval:".length), value]),
  );
  for (const key of values.keys()) {
    if (key in experimentKeys) continue;
    const known = Object.keys(experimentKeys);
    const remedy = `remove it by: pulumi config rm llmeval:${key}`;
    const text = `unknown key; ${didYouMean(key, known)}allowed: ${known.join(", ")}; ${remedy}`;
    problems.push({ file, path: `llmeval:${key}`, text });
  }

  const name = stack.replace(/^exp-/, "");
  // The id is part of Job names, and Kubernetes copies these into labels of at most 63 characters.
  if (!dnsLabel.test(stack) || name.length > maxNameLength) {
    const text = `is no name for an experiment, allowed: a-z, 0-9 and -, at most ${maxNameLength} characters after exp-; use another stack name`;
    problems.push({ file, path: `stack ${stack}`, text });
  }
  const cluster = values.get("cluster");
  if (cluster === undefined) {
    problems.push({
      file,
      path: "llmeval:cluster",
      text: "missing; name the cluster's stack, e.g.: pulumi config set llmeval:cluster dev",
    });
  }
  const run = Number(values.get("run") ?? "1");
  if (!Number.isSafeInteger(run) || run < 1 || run > 99999) {
    const text = `is "${values.get("run")}", allowed: a whole number from 1; e.g.: pulumi config set llmeval:run 2`;
    problems.push({ file, path: "llmeval:run", text });
  }
  const step = steps.find((name) => name === (values.get("steps") ?? "collect"));
  if (step === undefined) {
    const given = values.get("steps") as string;
    const text = `is "${given}"; ${didYouMean(given, steps)}allowed: ${steps.join(", ")}; e.g.: pulumi config set llmeval:steps deploy`;
    problems.push({ file, path: "llmeval:steps", text });
  }
  const debug = values.get("debug") ?? "false";
  if (debug !== "true" && debug !== "false") {
    const text = `is "${debug}", allowed: true, false; e.g.: pulumi config set llmeval:debug true`;
    problems.push({ file, path: "llmeval:debug", text });
  }
  const cells = readCells(values.get("cells"), file, problems);
  const definition = values.get("experiment");
  const modelId = values.get("modelId");
  return {
    name,
    cluster: cluster ?? "",
    run,
    steps: step ?? "collect",
    debug: debug === "true",
    ...(cells === undefined ? {} : { cells }),
    ...(definition === undefined ? {} : { definition }),
    overrides: [
      ...(modelId === undefined ? [] : [{ file: `${file} llmeval:modelId`, values: { modelId } }]),
      ...readOverrides(values.get("overrides"), file, problems),
    ],
    problems,
  };
}

// 63 less `collector-`, `-r99999-` and the hash's 6 digits.
const maxNameLength = 39;

/** `1,3`, or the list that `pulumi config set --path llmeval:cells[0] 1` makes; each number once, in ascending order. */
function readCells(text: string | undefined, file: string, problems: Problem[]): CellChoice | undefined {
  if (text === undefined) return undefined;
  const parts = text.replace(/^\[(.*)\]$/s, "$1").split(",");
  const numbers = parts.map((part) => (/^\s*"?\d+"?\s*$/.test(part) ? Number(part.replaceAll('"', "")) : 0));
  if (numbers.every((number) => Number.isSafeInteger(number) && number >= 1)) {
    return { file, numbers: [...new Set(numbers)].sort((left, right) => left - right) };
  }
  const allowed = "whole numbers from 1 in the order of play, e.g.: pulumi config set llmeval:cells 1,3";
  problems.push({
    file,
    path: "llmeval:cells",
    text: `is ${JSON.stringify(text)}, allowed: ${allowed}`,
  });
  return undefined;
}

function readOverrides(text: string | undefined, file: string, problems: Problem[]): Layer[] {
  if (text === undefined) return [];
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch {
    values = undefined;
  }
  if (values === null || typeof values !== "object" || Array.isArray(values)) {
    const remedy = "set one value by: pulumi config set --path llmeval:overrides.load.ratePerSecond 5";
    problems.push({
      file,
      path: "llmeval:overrides",
      text: `is ${JSON.stringify(text)}, allowed: a map; ${remedy}`,
    });
    return [];
  }
  return [{ file: `${file} llmeval:overrides`, values: withNumbers(values) as Record<string, unknown> }];
}

/** `pulumi config set --path` stores whole numbers as numbers but fractions as text. */
function withNumbers(value: unknown): unknown {
  if (typeof value === "string") return /^-?\d*\.\d+$/.test(value) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(withNumbers);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withNumbers(inner)]));
}
