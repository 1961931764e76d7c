// Reads the `llmeval:` keys of an experiment's stack from the stack's configuration map.

import { didYouMean } from "../components/config-problems.ts";
import type { Problem } from "./problems.ts";
import type { Layer } from "./resolve.ts";

/** What a stack's configuration says about its experiment. */
export interface ExperimentSettings {
  /** The experiment's name: the stack's without `exp-`. */
  readonly name: string;
  /** The stack that describes the cluster. */
  readonly cluster: string;
  /** Counts up to run the same definition again. */
  readonly run: number;
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
  const definition = values.get("experiment");
  const modelId = values.get("modelId");
  return {
    name,
    cluster: cluster ?? "",
    run,
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
