// The id of one run of an experiment: readable, stable, and another one exactly when the definition or the run changes.

import { createHash } from "node:crypto";
import type { ResolvedExperiment } from "./schema.ts";

/** E.g. `smoke-r1-3f9ac2`. */
export function experimentId(experiment: ResolvedExperiment, run: number): string {
  const hash = createHash("sha256").update(canonicalJson(experiment)).digest("hex");
  return `${experiment.name}-r${run}-${hash.slice(0, 6)}`;
}

/** JSON with sorted keys, so that the order of keys in a file changes nothing. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([left], [right]) => (left < right ? -1 : 1)))
      : inner,
  );
}
