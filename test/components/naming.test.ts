// Names and labels of Kubernetes objects.

import { expect, test } from "vitest";
import { contentHash, labelsOf, physicalName } from "../../components/naming.ts";

test("joins parts and replaces what a DNS label cannot hold", () => {
  expect(physicalName(["gate", "smoke-r1-3f9ac2"])).toBe("gate-smoke-r1-3f9ac2");
  expect(physicalName(["Rate_2.5", "x/"])).toBe("rate-2-5-x");
});

test("a name that is too long is cut and ends in a hash of the whole", () => {
  const name = physicalName(["a".repeat(70)]);
  expect(name).toBe(`${"a".repeat(54)}-${contentHash("a".repeat(70))}`);
  expect(name).toHaveLength(63);
  expect(physicalName(["a".repeat(69), "b"])).not.toBe(name);
  expect(physicalName(["abcdefgh", "ijkl"], 12)).toHaveLength(12);
});

test("labels name the part, the experiment and the run", () => {
  expect(labelsOf({ name: "gate", experiment: "smoke", experimentId: "smoke-r1-3f9ac2" })).toEqual({
    "app.kubernetes.io/name": "gate",
    "app.kubernetes.io/part-of": "llm-serving-eval",
    "llmeval/experiment": "smoke",
    "llmeval/experiment-id": "smoke-r1-3f9ac2",
  });
  expect(labelsOf({ name: "ray-service", experiment: "smoke" })).not.toHaveProperty("llmeval/experiment-id");
});
