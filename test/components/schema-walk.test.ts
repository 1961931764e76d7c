import { expect, test } from "vitest";
import * as z from "zod";
import { keysAt, show, valueAt } from "../../components/schema-walk.ts";

const cat = z.strictObject({ kind: z.literal("cat"), lives: z.int() });
const dog = z.strictObject({ kind: z.literal("dog"), walks: z.int() });
const schema = z.strictObject({
  pets: z.array(z.discriminatedUnion("kind", [cat, dog])).default([]),
  rooms: z.record(z.string(), z.strictObject({ areaSquareMetres: z.number() }).optional()),
});

test("the keys at a path are those of the branch that the value's discriminator chooses, else of all", () => {
  const value = { pets: [{ kind: "dog" }, { kind: "fish" }], rooms: { hall: {} } };
  expect(keysAt(schema, value, [])).toEqual(["pets", "rooms"]);
  expect(keysAt(schema, value, ["pets", 0])).toEqual(["kind", "walks"]);
  expect(keysAt(schema, value, ["pets", 1])).toEqual(["kind", "lives", "walks"]);
  expect(keysAt(schema, value, ["rooms", "hall"])).toEqual(["areaSquareMetres"]);
  expect(keysAt(schema, value, ["rooms", "hall", "areaSquareMetres"])).toEqual([]);
});

test("the value at a path, and how it is shown", () => {
  expect(valueAt({ a: [{ b: 1 }] }, ["a", 0, "b"])).toBe(1);
  expect(valueAt({ a: [{ b: 1 }] }, ["a", 7, "b"])).toBeUndefined();
  expect(show({ a: "b" })).toBe('{"a":"b"}');
  expect(show("x".repeat(100))).toBe(`"${"x".repeat(76)}...`);
});
