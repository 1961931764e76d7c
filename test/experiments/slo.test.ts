// The section `slo` of a definition: no limit unless one is set, and limits that can be met.
import { expect, test } from "vitest";
import { experimentSchema } from "../../experiments/schema.ts";

const slo = experimentSchema.shape.slo;
const limits = {
  ttftMilliseconds: 500,
  tpotMilliseconds: null,
  itlMilliseconds: 50.5,
  e2eMilliseconds: null,
};

test("limits are milliseconds or null", () => {
  expect(slo.parse({ ...limits, attainmentShare: 0.9 })).toEqual({ ...limits, attainmentShare: 0.9 });
});

test.each([
  ["a limit of nothing", { ...limits, ttftMilliseconds: 0, attainmentShare: 0.9 }, ["ttftMilliseconds"]],
  ["a percentage", { ...limits, attainmentShare: 90 }, ["attainmentShare"]],
  ["another quantity", { ...limits, attainmentShare: 1, ntpotMilliseconds: 5 }, []],
])("%s is refused", (_, given, path) => {
  expect(slo.safeParse(given).error?.issues.map((issue) => issue.path)).toEqual([path]);
});
