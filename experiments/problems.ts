// Turns everything that is wrong with an experiment's definition into one UserError: file, key, value, allowed values, remedy.

import type * as z from "zod";
import { formatPath } from "../components/config-problems.ts";
import { UserError } from "../components/errors.ts";
import { definition, keysAt, show, valueAt } from "../components/schema-walk.ts";
import { didYouMean, nearest } from "../components/spelling.ts";

/** One thing that is wrong. */
export interface Problem {
  /** File (relative to the project) or stack configuration key that the value comes from. */
  readonly file: string;
  /** Key path inside the file, or "" where the file itself is meant. */
  readonly path: string;
  readonly text: string;
}

/** Tells which file a key path of the merged definition comes from. */
export type OriginOf = (path: readonly PropertyKey[]) => string;

type Issue = z.core.$ZodIssue;

/** Throws one UserError that lists all problems, or returns when there is none. */
export function throwProblems(subject: string, problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const lines = problems.map(
    ({ file, path, text }) => `  - ${file}: ${path === "" ? "" : `${path}: `}${text}`,
  );
  const unique = [...new Set(lines)];
  const count = `${unique.length} problem${unique.length === 1 ? "" : "s"}`;
  throw new UserError(`${subject} cannot be used, ${count}:\n${unique.join("\n")}`);
}

/** The problems that a strict zod schema found in a merged definition, each with the file that holds the value. */
export function schemaProblems(
  schema: z.ZodType,
  value: unknown,
  issues: readonly Issue[],
  originOf: OriginOf,
): Problem[] {
  return issues.flatMap((issue) => {
    if (issue.code !== "unrecognized_keys") {
      const given = valueAt(value, issue.path);
      const path = formatPath(issue.path);
      return [
        {
          file: originOf(issue.path),
          path,
          text: describe(issue, given, schemaAt(schema, issue.path, value)),
        },
      ];
    }
    const known = keysAt(schema, value, issue.path);
    return issue.keys.map((key) => {
      const hint = nearest(key, known);
      const remedy = hint === undefined ? "remove it" : `did you mean "${hint}"?`;
      const path = [...issue.path, key];
      return {
        file: originOf(path),
        path: formatPath(path),
        text: `unknown key; ${remedy} (allowed: ${[...known].sort().join(", ")})`,
      };
    });
  });
}

/** `"phi4" is not known; did you mean "phi-4"? allowed: a, b`. */
export function unknownName(given: string, allowed: readonly string[], remedy: string): string {
  // A name that was cut short is nearer to the whole than to another of its length.
  const longer = allowed.find((name) => given !== "" && name.startsWith(given));
  const hint = longer === undefined ? didYouMean(given, allowed) : `did you mean "${longer}"? `;
  return `"${given}" is not known; ${hint}allowed: ${allowed.join(", ")}; ${remedy}`;
}

function describe(issue: Issue, given: unknown, at: z.core.$ZodType | undefined): string {
  const meaning = describedAs(at);
  const remedy = meaning === undefined ? "" : `; give ${meaning}`;
  const alternatives = (issue as { readonly options?: readonly unknown[] }).options?.map(String) ?? [];
  const kinds = alternatives.length === 0 ? "" : `allowed: ${alternatives.join(", ")}`;
  if (given === undefined) return `missing${kinds === "" ? remedy : `; ${kinds}`}`;
  const got = `is ${show(given)}`;
  if (kinds !== "")
    return `${got}; ${typeof given === "string" ? didYouMean(given, alternatives) : ""}${kinds}`;
  switch (issue.code) {
    case "invalid_value": {
      const values = issue.values.map(String);
      const hint = typeof given === "string" ? didYouMean(given, values) : "";
      return `${got}; ${hint}allowed: ${values.join(", ")}`;
    }
    case "too_small":
      return `${got}, allowed: ${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}${entries(issue.origin)}${remedy}`;
    case "too_big":
      return `${got}, allowed: ${issue.inclusive === false ? "less than" : "at most"} ${issue.maximum}${entries(issue.origin)}${remedy}`;
    case "invalid_type":
      return `${got}, allowed: ${typeName(issue.expected)}${remedy}`;
    case "invalid_union":
      return `${got}${meaning === undefined ? ", no allowed form" : `, allowed: ${meaning}`}`;
    default:
      return `${got}${meaning === undefined ? `: ${issue.message}` : `, allowed: ${meaning}`}`;
  }
}

function entries(origin: string): string {
  return origin === "array" ? " entries" : origin === "string" ? " characters" : "";
}

function typeName(type: string): string {
  return (
    { int: "a whole number", number: "a number", string: "text", boolean: "true or false", object: "a map" }[
      type
    ] ?? type
  );
}

/** Without what only says that a value may be absent. */
function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  const def = definition(schema);
  return def.type === "default" || def.type === "nullable" ? unwrapped(def.innerType) : schema;
}

function describedAs(schema: z.core.$ZodType | undefined): string | undefined {
  if (schema === undefined) return undefined;
  const own = (schema as { description?: string }).description;
  const inner = unwrapped(schema);
  return own ?? (inner === schema ? undefined : describedAs(inner));
}

function schemaAt(
  schema: z.core.$ZodType,
  path: readonly PropertyKey[],
  value: unknown,
): z.core.$ZodType | undefined {
  let current: z.core.$ZodType | undefined = schema;
  for (const [depth, key] of path.entries()) {
    if (current === undefined) return undefined;
    const def = definition(current);
    if (def.type === "object") {
      current = branchAt(def.shape[String(key)], valueAt(value, path.slice(0, depth + 1)));
    } else if (def.type === "array" && discriminatorOf(def.element) !== undefined) {
      current = branchAt(def.element, valueAt(value, path.slice(0, depth + 1)));
    } else {
      // Inside another list or an alternative its own description says more than the element's.
      return current;
    }
  }
  return current;
}

function discriminatorOf(schema: z.core.$ZodType): string | undefined {
  return (definition(schema) as { readonly discriminator?: string }).discriminator;
}

/** The alternative that a value's discriminator chooses; anything else stays as it is. */
function branchAt(schema: z.core.$ZodType | undefined, value: unknown): z.core.$ZodType | undefined {
  const def = schema === undefined ? undefined : definition(schema);
  const discriminator = schema === undefined ? undefined : discriminatorOf(schema);
  if (def?.type !== "union" || discriminator === undefined) return schema;
  const tag = valueAt(value, [discriminator]) as z.core.util.Primitive;
  return def.options.find((option) => {
    const inner = definition(option);
    return inner.type === "object" && inner.shape[discriminator]?._zod.values?.has(tag) === true;
  });
}
