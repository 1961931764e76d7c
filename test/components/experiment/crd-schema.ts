// The definitions of Chaos Mesh from its Go module, and as much of a validator as the API server's as their kinds need.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
}

const go = "go";
const module = "github.com/chaos-mesh/chaos-mesh";

/**
 * Versions of the module, by the release whose definitions they hold. It is not committed, so it is fetched as any
 * module is. Releases have no version there that Go could name: the newer one is of September 2026, and its definitions
 * of the kinds that faults are made of are those of the release to the byte.
 */
const chaosModules = {
  "2022-08": "v0.9.1-0.20220812140450-4bc7ef589c13",
  "2.8.3": "v0.9.1-0.20260902003049-47411975a8cb",
} as const;

export function chaosDefinitions(release: keyof typeof chaosModules): (kind: string) => Schema {
  const answer = execFileSync(go, ["mod", "download", "-json", `${module}@${chaosModules[release]}`], {
    cwd: tmpdir(),
    env: { ...process.env, GOFLAGS: "-mod=mod", GONOSUMDB: "*", GOTOOLCHAIN: "local", GOWORK: "off" },
    encoding: "utf8",
    timeout: 120_000,
  });
  const { Dir: folder } = JSON.parse(answer) as { Dir: string };
  return (kind) => {
    const file = join(folder, "config/crd/bases", `chaos-mesh.org_${kind.toLowerCase()}.yaml`);
    const definition = parse(readFileSync(file, "utf8")) as {
      spec: { versions: { schema: { openAPIV3Schema: Schema } }[] };
    };
    return definition.spec.versions[0]?.schema.openAPIV3Schema as Schema;
  };
}

/** Everything in the value that the schema does not allow; a key that it does not know would be dropped. */
export function violations(schema: Schema, value: unknown, path = ""): string[] {
  const wrong = (text: string): string[] => [`${path}: ${text}`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) return wrong(`is not in ${schema.enum}`);
  switch (schema.type) {
    case "object": {
      if (value === null || typeof value !== "object" || Array.isArray(value)) return wrong("is no object");
      const given = value as Record<string, unknown>;
      const { properties = {}, additionalProperties } = schema;
      const missing = (schema.required ?? []).filter((key) => given[key] === undefined);
      return [
        ...missing.map((key) => `${path}.${key}: missing`),
        ...Object.entries(given).flatMap(([key, inner]) => {
          const known = properties[key] ?? additionalProperties;
          // The API server knows these itself.
          if (path === "" && ["apiVersion", "kind", "metadata"].includes(key)) return [];
          if (known === undefined || known === false) return [`${path}.${key}: unknown`];
          return known === true ? [] : violations(known, inner, `${path}.${key}`);
        }),
      ];
    }
    case "array":
      if (!Array.isArray(value)) return wrong("is no list");
      return value.flatMap((inner, index) => violations(schema.items ?? {}, inner, `${path}[${index}]`));
    case "integer":
    case "number": {
      if (typeof value !== "number" || (schema.type === "integer" && !Number.isInteger(value))) {
        return wrong(`is no ${schema.type}`);
      }
      const outside = value < (schema.minimum ?? -Infinity) || value > (schema.maximum ?? Infinity);
      return outside ? wrong("is out of range") : [];
    }
    case "string":
      if (typeof value !== "string") return wrong("is no string");
      return schema.pattern === undefined || new RegExp(schema.pattern).test(value)
        ? []
        : wrong(`does not match ${schema.pattern}`);
    case "boolean":
      return typeof value === "boolean" ? [] : wrong("is no boolean");
    default:
      return [];
  }
}
