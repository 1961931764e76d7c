// Error texts of configuration files: every problem at once, with hints.

import { expect, test } from "vitest";
import * as z from "zod";
import { formatPath, parseConfig, parseYaml } from "../../components/config-problems.ts";

const schema = z
  .strictObject({
    name: z.string(),
    hosts: z.array(z.strictObject({ address: z.ipv4(), port: z.int().min(1).max(65535).default(22) })).min(1),
    kind: z.enum(["alpha", "beta"]).optional(),
    store: z
      .discriminatedUnion("type", [
        z.strictObject({ type: z.literal("disk"), sizeBytes: z.int() }),
        z.strictObject({ type: z.literal("memory") }),
      ])
      .optional(),
    labels: z.record(z.string().regex(/^[a-z]+$/, "expected lower-case letters"), z.string()).optional(),
    limit: z.union([z.number(), z.literal("none")]).optional(),
  })
  .superRefine(
    (_, context) =>
      void context.addIssue({ code: "custom", path: ["hosts"], message: "two hosts are one too many" }),
    { when: () => true },
  );

test("all problems are reported in one error, with paths, values, allowed values and hints", () => {
  const value = {
    name: 7,
    hosts: [{ adress: "10.0.0.1", port: 70000 }, { address: "10.0.0" }],
    kind: "alpa",
    store: { type: "disk", sizeByte: 1 },
    labels: { Ab: "x", c: 3 },
    limit: [],
    nonsense: true,
  };
  expect(() => parseConfig(schema, value, { file: "configs/x.yaml" })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/x.yaml: 11 problems
      - hosts[0].adress: unknown key; did you mean "address"? (allowed: address, port)
      - store.sizeByte: unknown key; did you mean "sizeBytes"? (allowed: sizeBytes, type)
      - nonsense: unknown key (allowed: hosts, kind, labels, limit, name, store)
      - name: expected a string, got 7
      - hosts[0].port: must be at most 65535, got 70000
      - hosts[1].address: expected an IPv4 address, got "10.0.0"
      - kind: "alpa" is not allowed; did you mean "alpha"? allowed: alpha, beta
      - labels.Ab: bad key: expected lower-case letters
      - labels.c: expected a string, got 3
      - limit: expected a number or "none"
      - hosts: two hosts are one too many]
  `);
});

test("an empty file names what is missing", () => {
  expect(() => parseConfig(schema, null, { file: "configs/x.yaml" })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/x.yaml: 3 problems
      - name: missing; expected a string
      - hosts: missing; expected a list
      - hosts: two hosts are one too many]
  `);
});

test("an unknown discriminator names the allowed ones", () => {
  const value = { name: "a", hosts: [{ address: "10.0.0.1" }], store: { type: "disc" } };
  expect(() => parseConfig(schema, value, { file: "configs/x.yaml" })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/x.yaml: 2 problems
      - store.type: "disc" is not allowed; did you mean "disk"? allowed: disk, memory
      - hosts: two hosts are one too many]
  `);
});

test("a valid value comes back with its defaults", () => {
  const plain = z.strictObject({ a: z.number(), b: z.string().default("b") });
  expect(parseConfig(plain, { a: 1 }, { file: "x" })).toEqual({ a: 1, b: "b" });
  expect(parseConfig(plain, { a: 1, b: "" }, { file: "x" })).toEqual({ a: 1, b: "" });
});

test("YAML errors name file, line and column", () => {
  expect(() => parseYaml("a: 1\na: 2\nb: [", "configs/x.yaml")).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/x.yaml: not valid YAML
      - Map keys must be unique at line 2, column 1
      - Flow sequence in block collection must be sufficiently indented and end with a ] at line 3, column 5]
  `);
});

test("paths read like code", () => {
  expect(formatPath(["a", 0, "b", "10.0.0.1:5000"])).toBe('a[0].b["10.0.0.1:5000"]');
  expect(formatPath([])).toBe("(top level)");
});
