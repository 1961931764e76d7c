// The entry point: which program a stack runs, and how mistakes are shown.

import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import main from "../index.ts";
import { record } from "./support/record.ts";

test.each([
  [
    {},
    "llmeval:kind is not set in Pulumi.dev.yaml; run `pulumi config set llmeval:kind <kind>` (allowed: cluster, experiment)",
  ],
  [
    { "llmeval:kind": "experimnt" },
    'Pulumi.dev.yaml: llmeval:kind is "experimnt"; did you mean "experiment"? allowed: cluster, experiment',
  ],
  [
    { "llmeval:kind": "toString" },
    'Pulumi.dev.yaml: llmeval:kind is "toString"; allowed: cluster, experiment',
  ],
])("%o is refused without a stack trace", async (config, message) => {
  const error = await record(main, { config, stack: "dev" }).catch((reason: unknown) => reason);
  expect(pulumi.RunError.isInstance(error)).toBe(true);
  expect((error as Error).message).toBe(message);
});

test("a cluster stack runs the cluster program", async () => {
  const { resources } = await record(main, {
    config: { "llmeval:kind": "cluster", "llmeval:cluster": "lab" },
    stack: "dev",
  });
  expect(resources.map(({ type }) => type)).toContain("llmeval:cluster:K3s");
});
