// What the tests of the documentation share: the pages, what is marked in them as code, and the keys that exist.

import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as z from "zod";
import { clusterConfigSchema } from "../../components/cluster/config.ts";
import { experimentSchema } from "../../experiments/schema.ts";
import { experimentKeys } from "../../experiments/settings.ts";
import { clusterStack } from "../../stacks/cluster.ts";
import { record } from "../support/record.ts";

export const repository = resolve(import.meta.dirname, "../..");

/** README.md and every page of docs/, relative to the repository. */
export const pages = [
  "README.md",
  ...readdirSync(join(repository, "docs"))
    .filter((file) => file.endsWith(".md"))
    .sort()
    .map((file) => `docs/${file}`),
];

export function read(page: string): string {
  return readFileSync(join(repository, page), "utf8");
}

/** Texts between backticks on one line. */
export function inlineCode(text: string): string[] {
  return [...text.replaceAll(/^```[\s\S]*?^```$/gm, "").matchAll(/`([^`\n]+)`/g)].map(
    ([, code]) => code as string,
  );
}

/** Names of the `llmeval:` keys in a text. */
export function stackKeysIn(text: string): string[] {
  return [...new Set([...text.matchAll(/llmeval:([a-z][A-Za-z]*)/g)].map(([, key]) => key as string))];
}

/** The keys that stacks know: of experiments by their table, of clusters by what the error on an unknown key lists. */
export async function knownStackKeys(): Promise<string[]> {
  const config = { "llmeval:kind": "cluster", "llmeval:nonsense": "1" };
  const error = await record(() => clusterStack(repository), { config }).then(
    () => "",
    (reason: unknown) => String(reason),
  );
  const allowed = stackKeysIn(error.slice(error.indexOf("allowed:")));
  return [...new Set([...Object.keys(experimentKeys), ...allowed])];
}

type JsonSchema = Readonly<Record<string, unknown>>;
const toJsonSchema = (schema: z.ZodType): JsonSchema => z.toJSONSchema(schema, { io: "input" }) as JsonSchema;
const schemas = [toJsonSchema(experimentSchema), toJsonSchema(clusterConfigSchema)];

/** Whether a path such as `faults[].kind` is one of a definition or of a cluster's configuration. */
export function isConfigPath(path: string): boolean {
  const parts = path.replaceAll("[]", ".[]").split(".");
  return schemas.some((schema) => leads(schema, parts));
}

function leads(schema: JsonSchema, [part, ...rest]: readonly string[]): boolean {
  if (part === undefined) return true;
  const branches = ["anyOf", "oneOf", "allOf"].flatMap((key) => (schema[key] ?? []) as JsonSchema[]);
  if (branches.some((branch) => leads(branch, [part, ...rest]))) return true;
  const next = part === "[]" ? schema["items"] : (schema["properties"] as JsonSchema | undefined)?.[part];
  if (next !== undefined) return leads(next as JsonSchema, rest);
  // A map with keys of the user's choice.
  const { additionalProperties } = schema;
  return typeof additionalProperties === "object" && leads(additionalProperties as JsonSchema, rest);
}

/** Code that reads like a path of a configuration: words joined by dots that begin with a key of a schema. */
export function configPathsIn(text: string): string[] {
  const heads = schemas.flatMap((schema) => Object.keys(schema["properties"] as JsonSchema));
  return inlineCode(text)
    .map((code) => code.split(": ", 1)[0] as string)
    .filter((code) => /^[a-z]\w*(\[\])?(\.\w+(\[\])?)+$/.test(code))
    .filter((code) => !/\.(json|yaml|csv|md|ts|service|sh|jsonl)$/.test(code))
    .filter((code) => heads.includes((code.split(/[.[]/, 1) as [string])[0]));
}
