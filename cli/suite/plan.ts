// What a suite comes to: each case resolved as its stack will resolve it, with cells, time and accelerators.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { parseConfigFile } from "../../components/config-problems.ts";
import { UserError } from "../../components/errors.ts";
import { canonicalJson, experimentId } from "../../experiments/id.ts";
import { type Problem, unknownName } from "../../experiments/problems.ts";
import { namesIn, tryResolve } from "../../experiments/resolve.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { readExperimentSettings } from "../../experiments/settings.ts";
import { casesOf, type SuiteCase, type SuiteDefinition, suiteSchema } from "../../experiments/suite.ts";
import { timelineOf } from "../../experiments/timeline.ts";
import { costOf } from "../explain.ts";

export const suitesFolder = "experiments/suites";

export interface PlanArgs {
  /** Folder that holds experiments/ and configs/. */
  readonly projectDir: string;
  /** Name of a file in experiments/suites/. */
  readonly suite: string;
  /** Name of the cluster's stack. @default the suite's own */
  readonly cluster?: string;
}

/** One case, ready to be played. */
export interface PlannedCase {
  readonly name: string;
  readonly shortenedFrom?: string;
  readonly stack: string;
  /** Configuration of the stack, without the run. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly experiment: ResolvedExperiment;
  /** Ids of the cells in the order of play. */
  readonly cells: readonly string[];
  readonly requests: number;
  readonly accelerators: number;
  readonly playedSeconds: number;
  readonly longestSeconds: number;
  /** Changes when what is played, or where, changes. */
  readonly digest: string;
  /** Where it is written, for errors. */
  readonly origin: string;
}

export interface SuitePlan {
  readonly suite: string;
  readonly description: string;
  readonly cluster: string;
  readonly concurrency: SuiteDefinition["concurrency"];
  readonly onFailure: SuiteDefinition["onFailure"];
  readonly keepStacks: boolean;
  readonly cases: readonly PlannedCase[];
}

/** The plan, and everything that is wrong with the suite and its cases; a suite that cannot be read is a UserError. */
export function planSuite(args: PlanArgs): {
  readonly plan: SuitePlan;
  readonly problems: readonly Problem[];
} {
  const { projectDir, suite } = args;
  const file = `${suitesFolder}/${suite}.yaml`;
  const known = namesIn(projectDir, suitesFolder);
  if (!known.includes(suite)) {
    throw new UserError(`suite ${unknownName(suite, known, `or add ${file}`)}`);
  }
  const definition = parseConfigFile(suiteSchema, join(projectDir, file), file);
  const cluster = args.cluster ?? definition.cluster;
  const { cases, problems: ofSuite } = casesOf(suite, definition);
  const problems: Problem[] = ofSuite.map(({ path, text }) => ({ file, path, text }));
  if (cluster === undefined) {
    problems.push({
      file,
      path: "cluster",
      text: "missing; name the cluster's stack here, or by --cluster NAME",
    });
  }
  const planned = cases.map((one) => planCase(args, one, cluster ?? "(none)"));
  return {
    plan: {
      suite,
      description: definition.description,
      cluster: cluster ?? "",
      concurrency: definition.concurrency,
      onFailure: definition.onFailure,
      keepStacks: definition.keepStacks,
      cases: planned.flatMap((one) => one.planned ?? []),
    },
    problems: [...problems, ...together(file, cases, planned)],
  };
}

/** A problem that several cases share is told once, with their names. */
function together(
  file: string,
  cases: readonly SuiteCase[],
  planned: readonly { readonly problems: readonly Problem[] }[],
): Problem[] {
  const groups = new Map<string, { readonly problem: Problem; readonly names: string[] }>();
  for (const [index, { problems }] of planned.entries()) {
    const { name } = cases[index] as SuiteCase;
    for (const problem of problems) {
      const own = problem.file === originOf(file, name);
      const key = JSON.stringify([own ? file : problem.file, problem.path, problem.text]);
      const group = groups.get(key) ?? { problem, names: [] };
      groups.set(key, group);
      if (own) group.names.push(name);
    }
  }
  return [...groups.values()].map(({ problem, names }) => {
    if (names.length < 2) return problem;
    const which = names.length === cases.length ? "all cases" : `cases ${names.join(", ")}`;
    return { ...problem, file: `${file} (${which})` };
  });
}

function originOf(file: string, name: string): string {
  return `${file} (case ${name})`;
}

/** What the stack of a case holds in its configuration. */
export function stackConfig(
  planned: Pick<PlannedCase, "config">,
  run: number,
  cells: readonly number[] | null,
): Readonly<Record<string, unknown>> {
  return {
    ...planned.config,
    "llmeval:run": run,
    ...(cells === null ? {} : { "llmeval:cells": cells.join(",") }),
  };
}

function planCase(
  { projectDir, suite }: PlanArgs,
  { name, shortenedFrom, experiment: definition, overrides }: SuiteCase,
  cluster: string,
): { readonly planned?: PlannedCase; readonly problems: readonly Problem[] } {
  const here = originOf(`${suitesFolder}/${suite}.yaml`, name);
  const definitions = namesIn(projectDir, "experiments");
  if (!definitions.includes(definition)) {
    const text = unknownName(definition, definitions, `or add experiments/${definition}.yaml`);
    return { problems: [{ file: here, path: "experiment", text }] };
  }
  const stack = `exp-${suite}-${name}`;
  const config = {
    "llmeval:kind": "experiment",
    "llmeval:cluster": cluster,
    "llmeval:experiment": definition,
    ...(Object.keys(overrides).length === 0 ? {} : { "llmeval:overrides": overrides }),
    "pulumi:disable-default-providers": ["kubernetes"],
  };
  // As the stack's own program will read them, so that what is checked here is what is played there.
  const settings = readExperimentSettings(
    stack,
    Object.fromEntries(
      Object.entries(config).map(([key, value]) => [
        key,
        typeof value === "string" ? value : JSON.stringify(value),
      ]),
    ),
  );
  const resolution = tryResolve({
    projectDir,
    name: settings.name,
    definition,
    overrides: settings.overrides.map((layer) => ({ ...layer, file: here })),
  });
  const problems = [
    ...settings.problems.map((problem) => ({ ...problem, file: here })),
    ...resolution.problems,
  ];
  const { experiment } = resolution;
  if (experiment === undefined || problems.length > 0) return { problems };
  const timeline = timelineOf(experiment);
  const { requests, accelerators, playedSeconds, longestSeconds } = costOf(experiment, timeline);
  const planned: PlannedCase = {
    name,
    ...(shortenedFrom === undefined ? {} : { shortenedFrom }),
    stack,
    config,
    experiment,
    cells: timeline.cells.map(({ id }) => id),
    requests,
    accelerators,
    playedSeconds,
    longestSeconds,
    digest: createHash("sha256").update(canonicalJson({ experiment, cluster })).digest("hex").slice(0, 12),
    origin: here,
  };
  return { planned, problems };
}

/** The six digits at the end of the ids of all complete runs of a case. */
export function idDigits(planned: Pick<PlannedCase, "experiment">): string {
  return experimentId(planned.experiment, 1).slice(-6);
}
