// `llmeval schema`: the JSON Schema of a kind of configuration file, for completion and checks in editors.
import * as z from "zod";
import { clusterConfigSchema } from "../components/cluster/config.ts";
import { UserError } from "../components/errors.ts";
import { experimentSchema } from "../experiments/schema.ts";
import { suiteSchema } from "../experiments/suite.ts";

const schemas: Readonly<Record<string, () => unknown>> = {
  // A definition sets only what differs from its base, model and profile.
  experiment: () => withoutRequired(z.toJSONSchema(experimentSchema, { io: "input" })),
  suite: () => z.toJSONSchema(suiteSchema, { io: "input" }),
  cluster: () => z.toJSONSchema(clusterConfigSchema, { io: "input" }),
};

/** Prints the schema of `experiment` (experiments/*.yaml), `suite` (experiments/suites/*.yaml) or `cluster` (configs/clusters/*.yaml). */
export function printSchema(kind: string): void {
  process.stdout.write(toSchemaText(kind));
}

/** The schema as it stands in the repository: two blanks of indentation and a line feed at the end. */
export function toSchemaText(kind: string): string {
  const known = Object.keys(schemas);
  const schema = Object.hasOwn(schemas, kind) ? schemas[kind] : undefined;
  if (schema === undefined) {
    throw new UserError(`llmeval schema: unknown kind "${kind}", known: ${known.join(", ")}`);
  }
  return `${JSON.stringify(schema(), null, 2)}\n`;
}

function withoutRequired(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutRequired);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      // A property of that name would be a map, the keyword is a list.
      .filter(([key, inner]) => key !== "required" || !Array.isArray(inner))
      .map(([key, inner]) => [key, withoutRequired(inner)]),
  );
}
