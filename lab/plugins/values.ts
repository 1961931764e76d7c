// Property bags as the engine sends them to a plug-in: secrets, unknown values, assets, comparison, type checks.
import { isDeepStrictEqual } from "node:util";
import type { CheckFailure } from "@pulumi/pulumi/provider/index.js";
import {
  specialArchiveSig,
  specialAssetSig,
  specialSecretSig,
  specialSigKey,
  unknownValue,
} from "@pulumi/pulumi/runtime/rpc.js";

/** A resource's inputs or outputs, with the engine's markers for secrets, assets and unknown values. */
export type PropertyBag = Record<string, unknown>;

/** What a property must be, for `checkTypes`. */
export type PropertyType = "string" | "boolean" | "integer" | "string list" | "string map" | "list" | "any";

/** Whether a value is a map (not a list, not null). */
export function isBag(value: unknown): value is PropertyBag {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Marks a value as secret, so that the engine encrypts it in the state; a marked or absent one stays as it is. */
export function secret(value: unknown): unknown {
  if (value === undefined || value === null || (isBag(value) && value[specialSigKey] === specialSecretSig)) {
    return value;
  }
  return { [specialSigKey]: specialSecretSig, value };
}

/** The value without secret markers and without nulls, which mean "not given". */
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (!isBag(value)) {
    return value ?? undefined;
  }
  if (value[specialSigKey] === specialSecretSig) {
    return plain(value.value);
  }
  const entries = Object.entries(value).map(([key, entry]) => [key, plain(entry)] as const);
  return Object.fromEntries(entries.filter(([, entry]) => entry !== undefined));
}

/** `plain` for a whole bag. */
export function plainBag(bag: PropertyBag): PropertyBag {
  return plain(bag) as PropertyBag;
}

/** Whether a value that is not known yet (in a preview) is anywhere inside. */
export function hasUnknown(value: unknown): boolean {
  if (value === unknownValue) {
    return true;
  }
  return typeof value === "object" && value !== null && Object.values(value).some(hasUnknown);
}

/** Whether a plain value is an asset or an archive. */
export function isAsset(
  value: unknown,
): value is PropertyBag & { hash: string; path?: string; text?: string } {
  return (
    isBag(value) && (value[specialSigKey] === specialAssetSig || value[specialSigKey] === specialArchiveSig)
  );
}

/** Whether a plain value is an archive. */
export function isArchive(value: unknown): boolean {
  return isBag(value) && value[specialSigKey] === specialArchiveSig;
}

/** Assets count by their content only: for a diff the engine sends just the hash. */
function comparable(value: unknown): unknown {
  if (isAsset(value)) {
    return { [specialSigKey]: value[specialSigKey], hash: value.hash };
  }
  if (Array.isArray(value)) {
    return value.map(comparable);
  }
  return isBag(value)
    ? Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, comparable(entry)]))
    : value;
}

/** The keys whose values differ; whether a value is marked as secret makes no difference. */
export function changedKeys(keys: readonly string[], olds: PropertyBag, news: PropertyBag): string[] {
  return keys.filter((key) => !isDeepStrictEqual(comparable(plain(olds[key])), comparable(plain(news[key]))));
}

/** One failure for each property whose (known) value has the wrong type. */
export function checkTypes(types: Readonly<Record<string, PropertyType>>, bag: PropertyBag): CheckFailure[] {
  const failures: CheckFailure[] = [];
  for (const [property, type] of Object.entries(types)) {
    const value = plain(bag[property]);
    if (value !== undefined && !hasUnknown(value) && !hasType(value, type)) {
      failures.push({
        property,
        reason: `must be a ${type}, is ${Array.isArray(value) ? "a list" : typeof value}`,
      });
    }
  }
  return failures;
}

function hasType(value: unknown, type: PropertyType): boolean {
  switch (type) {
    case "string":
    case "boolean":
      return typeof value === type;
    case "integer":
      return Number.isInteger(value);
    case "list":
      return Array.isArray(value);
    case "string list":
      return Array.isArray(value) && value.every((entry) => typeof entry === "string");
    case "string map":
      return isBag(value) && Object.values(value).every((entry) => typeof entry === "string");
    case "any":
      return true;
  }
}
