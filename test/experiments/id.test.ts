// The id of a run.

import { expect, test } from "vitest";
import { canonicalJson, experimentId } from "../../experiments/id.ts";
import { resolveExperiment } from "../../experiments/resolve.ts";
import { projectDir } from "./project.ts";

const smoke = resolveExperiment({ projectDir, name: "smoke" });

test("is readable: name, run, and six digits of the definition's hash", () => {
  expect(experimentId(smoke, 1)).toMatch(/^smoke-r1-[0-9a-f]{6}$/);
});

test("changes exactly with the definition and the run", () => {
  const [name, run, hash] = experimentId(smoke, 1).split("-");
  expect(experimentId(smoke, 2)).toBe(`${name}-r2-${hash}`);
  expect(experimentId({ ...smoke, load: { ...smoke.load, seed: 2 } }, 1)).not.toBe(`${name}-${run}-${hash}`);
  const reordered = Object.fromEntries(Object.entries(smoke).toReversed()) as typeof smoke;
  expect(experimentId(reordered, 1)).toBe(`${name}-${run}-${hash}`);
});

test("canonical JSON sorts the keys of maps and keeps the order of lists", () => {
  expect(canonicalJson({ b: [{ d: 1, c: null }, 2], a: "x" })).toBe('{"a":"x","b":[{"c":null,"d":1},2]}');
});
