// Finds its way in a zod schema and in the value that it is held against.

import type * as z from "zod";

/** A value as JSON, cut where it is long. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The value at a path, or undefined where there is none. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (current, part) =>
      current !== null && typeof current === "object"
        ? (current as Record<PropertyKey, unknown>)[part]
        : undefined,
    value,
  );
}

/** The keys that the schema allows at a path; for a union those of the branches that fit the discriminator. */
export function keysAt(schema: z.core.$ZodType, value: unknown, path: readonly PropertyKey[]): string[] {
  let current: { schema: z.core.$ZodType; value: unknown }[] = branches(schema, value);
  for (const part of path) {
    current = current.flatMap((node) => {
      const child = childOf(node.schema, part);
      return child === undefined ? [] : branches(child, valueAt(node.value, [part]));
    });
  }
  return [
    ...new Set(
      current.flatMap((node) => {
        const def = definition(node.schema);
        return def.type === "object" ? Object.keys(def.shape) : [];
      }),
    ),
  ];
}

type Definition = z.core.$ZodTypes["_zod"]["def"];

export function definition(schema: z.core.$ZodType): Definition {
  return (schema as z.core.$ZodTypes)._zod.def;
}

/** Looks through wrappers (optional, default, pipe, lazy) and unions. */
function branches(schema: z.core.$ZodType, value: unknown): { schema: z.core.$ZodType; value: unknown }[] {
  const def = definition(schema);
  switch (def.type) {
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "nonoptional":
    case "readonly":
    case "catch":
      return branches(def.innerType, value);
    case "pipe":
      return branches(def.in, value);
    case "lazy":
      return branches(def.getter(), value);
    case "intersection":
      return [...branches(def.left, value), ...branches(def.right, value)];
    case "union": {
      const all = def.options.flatMap((option) => branches(option, value));
      const discriminator = (def as { discriminator?: string }).discriminator;
      const fitting = all.filter((node) => {
        const inner = definition(node.schema);
        const literal =
          discriminator === undefined || inner.type !== "object" ? undefined : inner.shape[discriminator];
        const tag = discriminator === undefined ? undefined : valueAt(value, [discriminator]);
        return literal?._zod.values?.has(tag as z.core.util.Primitive);
      });
      return fitting.length > 0 ? fitting : all;
    }
    default:
      return [{ schema, value }];
  }
}

function childOf(schema: z.core.$ZodType, part: PropertyKey): z.core.$ZodType | undefined {
  const def = definition(schema);
  switch (def.type) {
    case "object":
      return def.shape[String(part)];
    case "array":
      return def.element;
    case "record":
      return def.valueType;
    case "tuple":
      return def.items[Number(part)];
    default:
      return undefined;
  }
}
