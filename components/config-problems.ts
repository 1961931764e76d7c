// Checks a configuration value against a strict zod schema and reports every problem at once as one UserError.

import * as fs from "node:fs";
import * as yaml from "yaml";
import type * as z from "zod";
import { UserError } from "./errors.ts";
import { keysAt, show, valueAt } from "./schema-walk.ts";
import { didYouMean, nearest } from "./spelling.ts";

/** Where a value comes from; named in the error. */
export interface ConfigSource {
  /** File (relative to the project) or other origin, e.g. `configs/clusters/lab.yaml`. */
  readonly file: string;
}

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

/** One problem: where it is and what to do about it. */
interface Problem {
  readonly path: Path;
  readonly text: string;
}

/** Returns the parsed value, with defaults filled in, or throws a UserError that lists all problems. */
export function parseConfig<S extends z.ZodType>(
  schema: S,
  value: unknown,
  source: ConfigSource,
): z.output<S> {
  // An absent file section reads as null in YAML; an empty object gives the better message (which keys are missing).
  const given = value ?? {};
  const result = schema.safeParse(given);
  if (result.success) {
    return result.data;
  }
  throw new UserError(formatProblems(source.file, toProblems(schema, given, result.error.issues)));
}

/** Reads a YAML file and checks it; a missing or malformed file is a UserError too. */
export function parseConfigFile<S extends z.ZodType>(
  schema: S,
  absolutePath: string,
  file: string,
): z.output<S> {
  let text: string;
  try {
    text = fs.readFileSync(absolutePath, "utf8");
  } catch (error) {
    throw new UserError(
      `${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`,
    );
  }
  return parseConfig(schema, parseYaml(text, file), { file });
}

/** Parses YAML text; syntax errors and duplicate keys name file, line and column. */
export function parseYaml(text: string, file: string): unknown {
  const document = yaml.parseDocument(text);
  if (document.errors.length > 0) {
    const lines = document.errors.map((error) => `  - ${error.message.split("\n")[0]?.replace(/:$/, "")}`);
    throw new UserError(`${file}: not valid YAML\n${lines.join("\n")}`);
  }
  return document.toJS();
}

/** `servers[0].address`; the value itself is `(top level)`. */
export function formatPath(path: Path): string {
  const text = path.reduce<string>((left, part) => {
    if (typeof part === "number") {
      return `${left}[${part}]`;
    }
    const key = String(part);
    return /^[\w-]+$/.test(key)
      ? `${left}${left === "" ? "" : "."}${key}`
      : `${left}[${JSON.stringify(key)}]`;
  }, "");
  return text === "" ? "(top level)" : text;
}

function formatProblems(file: string, problems: readonly Problem[]): string {
  const lines = problems.map((problem) => `  - ${formatPath(problem.path)}: ${problem.text}`);
  return `${file}: ${problems.length} problem${problems.length === 1 ? "" : "s"}\n${[...new Set(lines)].join("\n")}`;
}

function toProblems(schema: z.ZodType, value: unknown, issues: readonly Issue[]): Problem[] {
  const flat = issues.flatMap((issue) => flatten(issue, []));
  const problems: Problem[] = [];
  // A misspelt required key would be reported twice, as unknown and as missing; the hint says it all.
  const explained = new Set<string>();
  for (const issue of flat) {
    if (issue.code === "unrecognized_keys") {
      const known = keysAt(schema, value, issue.path);
      const present = Object.keys((valueAt(value, issue.path) ?? {}) as object);
      for (const key of issue.keys) {
        const hint = nearest(
          key,
          known.filter((name) => !present.includes(name)),
        );
        if (hint !== undefined) {
          explained.add(formatPath([...issue.path, hint]));
        }
        const question = hint === undefined ? "" : `; did you mean "${hint}"?`;
        const allowed = known.length === 0 ? "" : ` (allowed: ${[...known].sort().join(", ")})`;
        problems.push({ path: [...issue.path, key], text: `unknown key${question}${allowed}` });
      }
    }
  }
  for (const issue of flat) {
    if (issue.code === "unrecognized_keys") {
      continue;
    }
    const given = valueAt(value, issue.path);
    if (given === undefined && issue.code === "invalid_type" && explained.has(formatPath(issue.path))) {
      continue;
    }
    problems.push({ path: issue.path, text: describe(issue, given) });
  }
  return problems;
}

/** Replaces a failed union by the problems of its most likely branch, with full paths. */
function flatten(issue: Issue, prefix: Path): Issue[] {
  const path = [...prefix, ...issue.path];
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    // A branch that fails at its own root is another type of value, not this one with a mistake in it.
    const isOtherType = (one: Issue): boolean =>
      one.path.length === 0 && (one.code === "invalid_type" || one.code === "invalid_value");
    const likely = issue.errors
      .filter((branch) => !branch.some(isOtherType))
      .toSorted((left, right) => left.length - right.length)[0];
    if (likely !== undefined) {
      return likely.flatMap((one) => flatten(one, path));
    }
    const types = issue.errors.flatMap((branch) =>
      branch.flatMap((one) =>
        one.code === "invalid_type"
          ? [withArticle(one.expected)]
          : one.code === "invalid_value"
            ? one.values.map((value) => JSON.stringify(value))
            : [],
      ),
    );
    return [{ code: "custom", path, message: `expected ${[...new Set(types)].join(" or ")}` } as Issue];
  }
  return [{ ...issue, path } as Issue];
}

function describe(issue: Issue, given: unknown): string {
  const got = given === undefined ? "" : `, got ${show(given)}`;
  switch (issue.code) {
    case "invalid_type":
      return given === undefined
        ? `missing; expected ${withArticle(issue.expected)}`
        : `expected ${withArticle(issue.expected)}${got}`;
    case "invalid_value": {
      const values = issue.values.map(String);
      const question = typeof given === "string" ? didYouMean(given, values) : "";
      const what = given === undefined ? "missing; " : `${show(given)} is not allowed; ${question}`;
      return `${what}${values.length === 1 ? "must be" : "allowed:"} ${values.join(", ")}`;
    }
    case "invalid_union": {
      const options = ((issue as { options?: readonly unknown[] }).options ?? []).map(String);
      const question = typeof given === "string" ? didYouMean(given, options) : "";
      return `${given === undefined ? "missing" : `${show(given)} is not allowed`}; ${question}allowed: ${options.join(", ")}`;
    }
    case "too_small":
      return `must ${bound(issue.origin, issue.inclusive === false ? ">" : "at least", issue.minimum)}${got}`;
    case "too_big":
      return `must ${bound(issue.origin, issue.inclusive === false ? "<" : "at most", issue.maximum)}${got}`;
    case "invalid_key":
      return `bad key: ${issue.issues.map((one) => lowerFirst(one.message)).join(", ")}`;
    case "invalid_format":
      // A schema's own message says what is wanted; zod's default only names the pattern.
      return issue.message.startsWith("Invalid ")
        ? `expected ${formatName(issue.format, issue.pattern)}${got}`
        : `${issue.message}${got}`;
    case "custom":
      return issue.message;
    default:
      return `${lowerFirst(issue.message)}${got}`;
  }
}

/** `be at least 1`, `have at least 1 entry`. */
function bound(origin: string, relation: string, limit: number | bigint): string {
  const unit = { string: "character", array: "entry", set: "entry", map: "entry" }[origin];
  if (unit === undefined) {
    return `be ${relation} ${limit}`;
  }
  return `have ${relation} ${limit} ${limit === 1 ? unit : unit.replace(/y$/, "ie").concat("s")}`;
}

function withArticle(type: string): string {
  const name = { int: "whole number", record: "map", object: "map", array: "list" }[type] ?? type;
  return `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;
}

function formatName(format: string, pattern: string | undefined): string {
  if (format === "regex") {
    return `a match of ${pattern}`;
  }
  return (
    { ipv4: "an IPv4 address", cidrv4: "an IPv4 network such as 10.0.0.0/16", url: "an address (URL)" }[
      format
    ] ?? format
  );
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
