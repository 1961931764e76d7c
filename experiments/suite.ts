// A suite: many experiments from one file. Its shape, and how a matrix and a list become cases with names and overrides.

import * as z from "zod";
import { formatPath } from "../components/config-problems.ts";
import { contentHash } from "../components/naming.ts";
import { didYouMean } from "../components/spelling.ts";

type Tree = Readonly<Record<string, unknown>>;

const maxNameLength = 39;
const dnsLabel = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "must hold a-z, 0-9 and - only")
  .max(maxNameLength);
const overrides = z
  .record(z.string(), z.json())
  .describe("values that win over the definition's, as a tree or with keys such as load.ratePerSecond");
const definitionName = z.string().min(1).describe("the name of a file in experiments/, without .yaml");

const namedValue = z.strictObject({ name: dnsLabel, overrides: overrides.default({}) });
const plainValue = z.union([z.string(), z.number(), z.boolean()]);

/** experiments/suites/*.yaml. */
export const suiteSchema = z.strictObject({
  description: z.string().describe("one sentence on what the suite is for"),
  experiment: definitionName.optional().describe("the definition that all cases start from"),
  cluster: z.string().min(1).optional().describe("the cluster's stack; --cluster wins over it"),
  overrides: overrides.default({}).describe("values of all cases"),
  matrix: z
    .record(z.string(), z.array(z.union([plainValue, namedValue])).min(1))
    .default({})
    .describe(
      "axes whose values are all combined; an axis of plain values is named after the key that they set",
    ),
  exclude: z
    .array(z.record(z.string(), plainValue))
    .default([])
    .describe("combinations that are left out, by the values (or their names) of some axes"),
  cases: z
    .array(
      z.strictObject({
        name: dnsLabel,
        experiment: definitionName.optional(),
        overrides: overrides.default({}),
      }),
    )
    .default([])
    .describe("cases beside those of the matrix"),
  concurrency: z
    .union([z.int().min(1), z.literal("accelerators")])
    .default(1)
    .describe("how many cases run at once: a whole number from 1, or as many as the accelerators allow"),
  onFailure: z.enum(["continue", "stop"]).default("continue"),
  keepStacks: z.boolean().default(false).describe("true leaves each stack when its case has ended"),
});

export type SuiteDefinition = z.output<typeof suiteSchema>;

/** One experiment of a suite, before its definition is looked at. */
export interface SuiteCase {
  /** Unique in the suite, e.g. `cpu-dp2`. */
  readonly name: string;
  /** The name before it was shortened. @default it was not */
  readonly shortenedFrom?: string;
  readonly experiment: string;
  readonly overrides: Tree;
}

/** Something that is wrong, by its key in the suite's file. */
interface SuiteProblem {
  readonly path: string;
  readonly text: string;
}

interface Choice {
  readonly axis: string;
  readonly label: string;
  readonly value: unknown;
  readonly overrides: Tree;
}

/** All cases in the order in which they are played: the matrix with its last axis fastest, then the list. */
export function casesOf(
  suite: string,
  definition: SuiteDefinition,
): { readonly cases: readonly SuiteCase[]; readonly problems: readonly SuiteProblem[] } {
  const problems: SuiteProblem[] = [];
  const axes = Object.entries(definition.matrix).map(([axis, values]) =>
    values.map((value) => choiceOf(axis, value)),
  );
  problems.push(...excludeProblems(definition, axes));
  const combinations = axes.length === 0 ? [] : product(axes);
  const kept = combinations.filter(
    (choices) => !definition.exclude.some((exclusion) => matches(choices, exclusion)),
  );
  const common = treeOf(definition.overrides);
  const raw = [
    ...kept.map((choices) => ({
      name: choices.map(({ label }) => label).join("-"),
      experiment: definition.experiment,
      overrides: choices.reduce((below, choice) => merge(below, choice.overrides), common),
    })),
    ...definition.cases.map(({ name, experiment, overrides: own }) => ({
      name,
      experiment: experiment ?? definition.experiment,
      overrides: merge(common, treeOf(own)),
    })),
  ];
  if (raw.length === 0) problems.push({ path: "", text: "has no cases; give matrix, or cases" });
  const room = maxNameLength - suite.length - 1;
  if (room < 12) {
    problems.push({
      path: "",
      text: `its name has ${suite.length} characters, allowed: at most ${maxNameLength - 13}, so that those of its cases fit; rename the file`,
    });
  }
  const cases: SuiteCase[] = [];
  for (const { name: long, experiment, overrides } of raw) {
    const name = shorten(long, room);
    if (experiment === undefined) {
      const text = `case ${long} has no definition; give experiment, for all cases or for this one`;
      problems.push({ path: "experiment", text });
    } else if (cases.some((other) => other.name === name)) {
      problems.push({
        path: "",
        text: `two cases are named ${name}; give the values of the axes other names`,
      });
    } else {
      cases.push({ name, ...(name === long ? {} : { shortenedFrom: long }), experiment, overrides });
    }
  }
  return { cases, problems };
}

function choiceOf(axis: string, value: z.output<typeof plainValue | typeof namedValue>): Choice {
  if (typeof value === "object") {
    return { axis, label: value.name, value: value.name, overrides: treeOf(value.overrides) };
  }
  return { axis, label: labelOf(axis, value), value, overrides: treeOf({ [axis]: value }) };
}

/** A text speaks for itself; a number gets the initials of its key in front: `dp2`, `rps2-5`. */
function labelOf(axis: string, value: string | number | boolean): string {
  const key = axis.split(".").at(-1) ?? axis;
  const initials = key.replaceAll(/(?<=[A-Za-z])[a-z]+/g, "");
  const text = typeof value === "string" ? value : `${initials}${value}`;
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
}

function product(axes: readonly (readonly Choice[])[]): Choice[][] {
  return axes.reduce<Choice[][]>(
    (left, axis) => left.flatMap((choices) => axis.map((choice) => [...choices, choice])),
    [[]],
  );
}

function matches(choices: readonly Choice[], exclusion: Tree): boolean {
  return Object.entries(exclusion).every(([axis, value]) =>
    choices.some((choice) => choice.axis === axis && (choice.value === value || choice.label === value)),
  );
}

function excludeProblems(definition: SuiteDefinition, axes: readonly (readonly Choice[])[]): SuiteProblem[] {
  const known = Object.keys(definition.matrix);
  return definition.exclude.flatMap((exclusion, index) =>
    Object.entries(exclusion).flatMap(([axis, value]) => {
      const path = formatPath(["exclude", index, axis]);
      const choices = axes[known.indexOf(axis)];
      if (choices === undefined) {
        return [
          { path, text: `is no axis of the matrix; ${didYouMean(axis, known)}allowed: ${known.join(", ")}` },
        ];
      }
      if (choices.some((choice) => matches([choice], { [axis]: value }))) return [];
      const allowed = choices.map((choice) => String(choice.value)).join(", ");
      return [{ path, text: `is ${JSON.stringify(value)}, allowed: ${allowed}` }];
    }),
  );
}

/** As much of the name as fits, and four digits that tell it from others with the same beginning. */
function shorten(name: string, room: number): string {
  if (name.length <= room) return name;
  return `${name.slice(0, Math.max(0, room - 5)).replace(/-+$/, "")}-${contentHash(name).slice(0, 4)}`;
}

/** `{ "load.ratePerSecond": 5 }` as `{ load: { ratePerSecond: 5 } }`. */
function treeOf(values: Tree): Tree {
  return Object.entries(values).reduce<Tree>((tree, [path, value]) => {
    const nested = path.split(".").reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
    return merge(tree, nested as Tree);
  }, {});
}

/** As definitions are merged: maps by key, anything else as a whole. */
function merge(below: Tree, above: Tree): Tree {
  const merged: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const under = merged[key];
    merged[key] = isTree(under) && isTree(value) ? merge(under, value) : value;
  }
  return merged;
}

function isTree(value: unknown): value is Tree {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
