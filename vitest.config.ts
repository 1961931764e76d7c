// Three projects: `unit` needs no lab. There is one lab on a machine: `lab` measures and so has it for itself;
// `lab-shared` breaks things on hosts of its own, one file beside the other, and mostly waits.
import { defineConfig } from "vitest/config";

const endToEnd = { testTimeout: 600_000, hookTimeout: 900_000, bail: 1 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/e2e/**"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      { test: { ...endToEnd, name: "lab", include: ["test/e2e/lab.test.ts"] } },
      {
        test: {
          ...endToEnd,
          name: "lab-shared",
          include: ["test/e2e/{cluster,reliability}.test.ts"],
          globalSetup: "test/e2e/lab-for-all.ts",
          maxWorkers: 2,
        },
      },
    ],
  },
});
