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
}

const go = "go";
/** The version that the lab can build; it is not committed, so it is fetched as any module is. */
const moduleVersion = "github.com/chaos-mesh/chaos-mesh@v0.9.1-0.20220812140450-4bc7ef589c13";

export function chaosDefinitions(): (kind: string) => Schema {
  const answer = execFileSync(go, ["mod", "download", "-json", moduleVersion], {
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
    case "boolean":
      return typeof value === schema.type ? [] : wrong(`is no ${schema.type}`);
    default:
      return [];
  }
}
