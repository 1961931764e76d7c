// Lab stand-in for pulumi-resource-random 4.21.2 (the official plug-in cannot be had without internet access).
// RandomPassword, RandomString, RandomId and RandomBytes with the official inputs, defaults, outputs and ids.
// Not there: bcryptHash of RandomPassword (absent from the outputs) and the other resources (refused by name).
import { randomBytes, randomInt } from "node:crypto";
import type { CheckFailure, Provider } from "@pulumi/pulumi/provider/index.js";
import { parseUrn, serve } from "./host.ts";
import {
  changedKeys,
  checkTypes,
  hasUnknown,
  type PropertyBag,
  type PropertyType,
  plainBag,
  secret,
} from "./values.ts";

/** One resource type. Every input counts for the value, so any change replaces the resource. */
interface ResourceType {
  readonly inputs: Readonly<Record<string, PropertyType>>;
  /** The input that must be given, and be at least `minimum`. */
  readonly size: "length" | "byteLength";
  readonly minimum: number;
  defaults(inputs: PropertyBag): PropertyBag;
  check(inputs: PropertyBag): CheckFailure[];
  generate(inputs: PropertyBag): { id: string; outputs: PropertyBag };
}

/** Inputs of RandomString and RandomPassword with every default explicit. */
interface StringInputs {
  readonly length: number;
  readonly lower: boolean;
  readonly upper: boolean;
  readonly numeric: boolean;
  readonly special: boolean;
  readonly minLower: number;
  readonly minUpper: number;
  readonly minNumeric: number;
  readonly minSpecial: number;
  readonly overrideSpecial?: string;
}

const lowerCharacters = "abcdefghijklmnopqrstuvwxyz";
const upperCharacters = lowerCharacters.toUpperCase();
const numericCharacters = "0123456789";
const specialCharacters = "!@#$%&*()-_=+[]{}<>:?";

const stringInputs = {
  keepers: "string map",
  length: "integer",
  lower: "boolean",
  upper: "boolean",
  number: "boolean",
  numeric: "boolean",
  special: "boolean",
  minLower: "integer",
  minUpper: "integer",
  minNumeric: "integer",
  minSpecial: "integer",
  overrideSpecial: "string",
} as const;

function stringDefaults(inputs: PropertyBag): PropertyBag {
  // `number` is the old name of `numeric`; both are always set and equal.
  const numeric = inputs.numeric ?? inputs.number ?? true;
  return {
    lower: true,
    upper: true,
    special: true,
    minLower: 0,
    minUpper: 0,
    minNumeric: 0,
    minSpecial: 0,
    ...inputs,
    numeric,
    number: numeric,
  };
}

/** The character classes of a string, each with how many of it the string must have at least. */
function characterClasses(inputs: StringInputs): { characters: string; minimum: number; on: boolean }[] {
  return [
    { characters: lowerCharacters, minimum: inputs.minLower, on: inputs.lower },
    { characters: upperCharacters, minimum: inputs.minUpper, on: inputs.upper },
    { characters: numericCharacters, minimum: inputs.minNumeric, on: inputs.numeric },
    {
      characters: inputs.overrideSpecial || specialCharacters,
      minimum: inputs.minSpecial,
      on: inputs.special,
    },
  ];
}

function checkString(bag: PropertyBag): CheckFailure[] {
  const inputs = bag as unknown as StringInputs;
  const classes = characterClasses(inputs);
  const minimum = classes.reduce((sum, entry) => sum + entry.minimum, 0);
  const failures: CheckFailure[] = [];
  if (inputs.length < minimum) {
    failures.push({
      property: "length",
      reason: `must be at least ${minimum} (minUpper + minLower + minNumeric + minSpecial), is ${inputs.length}`,
    });
  }
  if (!classes.some((entry) => entry.on)) {
    failures.push({ property: "special", reason: "one of special, upper, lower and numeric must be true" });
  }
  return failures;
}

function randomString(bag: PropertyBag): string {
  const inputs = bag as unknown as StringInputs;
  const classes = characterClasses(inputs);
  const any = classes.map((entry) => (entry.on ? entry.characters : "")).join("");
  const pick = (characters: string) => characters.charAt(randomInt(characters.length));
  const result = classes.flatMap((entry) =>
    Array.from({ length: entry.minimum }, () => pick(entry.characters)),
  );
  while (result.length < inputs.length) {
    result.push(pick(any));
  }
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = randomInt(last + 1);
    [result[last], result[other]] = [result[other] as string, result[last] as string];
  }
  return result.join("");
}

const stringType = {
  inputs: stringInputs,
  size: "length",
  minimum: 1,
  defaults: stringDefaults,
  check: checkString,
} as const;

const resourceTypes: Readonly<Record<string, ResourceType>> = {
  "random:index/randomString:RandomString": {
    ...stringType,
    generate: (inputs) => {
      const result = randomString(inputs);
      return { id: result, outputs: { result } };
    },
  },
  "random:index/randomPassword:RandomPassword": {
    ...stringType,
    generate: (inputs) => ({ id: "none", outputs: { result: secret(randomString(inputs)) } }),
  },
  "random:index/randomBytes:RandomBytes": {
    inputs: { keepers: "string map", length: "integer" },
    size: "length",
    minimum: 1,
    defaults: (inputs) => inputs,
    check: () => [],
    generate: (inputs) => {
      const bytes = randomBytes(inputs.length as number);
      const base64 = bytes.toString("base64");
      // The official id is the value itself, in plain text: use RandomPassword for what must not be seen in a state.
      return { id: base64, outputs: { base64: secret(base64), hex: secret(bytes.toString("hex")) } };
    },
  },
  "random:index/randomId:RandomId": {
    inputs: { keepers: "string map", byteLength: "integer", prefix: "string" },
    size: "byteLength",
    minimum: 1,
    defaults: (inputs) => inputs,
    check: () => [],
    generate: (inputs) => {
      const bytes = randomBytes(inputs.byteLength as number);
      const hex = bytes.toString("hex");
      const id = bytes.toString("base64url");
      const prefix = (inputs.prefix as string | undefined) ?? "";
      return {
        id,
        outputs: {
          hex: `${prefix}${hex}`,
          dec: `${prefix}${BigInt(`0x${hex}`)}`,
          b64Url: `${prefix}${id}`,
          b64Std: `${prefix}${bytes.toString("base64")}`,
        },
      };
    },
  },
};

function typeOf(urn: string): ResourceType {
  const { type } = parseUrn(urn);
  const found = resourceTypes[type];
  if (found === undefined) {
    throw new Error(
      `the lab's stand-in for the random plug-in has no ${type}; it has ${Object.keys(resourceTypes).join(", ")}`,
    );
  }
  return found;
}

const provider: Provider = {
  async check(urn, _olds, news: PropertyBag) {
    const type = typeOf(urn);
    const inputs = plainBag(news);
    const failures = checkTypes(type.inputs, inputs);
    const size = inputs[type.size];
    if (size === undefined || (typeof size === "number" && size < type.minimum)) {
      failures.push({
        property: type.size,
        reason: `must be at least ${type.minimum}, is ${size ?? "not given"}`,
      });
    }
    if (failures.length === 0 && !hasUnknown(inputs)) {
      failures.push(...type.check(type.defaults(inputs)));
    }
    return { inputs: news, failures };
  },
  async diff(_id, urn, olds: PropertyBag, news: PropertyBag) {
    const type = typeOf(urn);
    const replaces = changedKeys(
      Object.keys(type.inputs),
      type.defaults(plainBag(olds)),
      type.defaults(plainBag(news)),
    );
    return { changes: replaces.length > 0, replaces };
  },
  async create(urn, inputs: PropertyBag) {
    const type = typeOf(urn);
    const { id, outputs } = type.generate(type.defaults(plainBag(inputs)));
    // The inputs as they came: a secret keeper stays secret.
    return { id, outs: { ...type.defaults(inputs), ...outputs } };
  },
};

await serve("random", "4.21.2", provider);
