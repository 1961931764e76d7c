// An experiment one step at a time by llmeval's verbs: a closed loop of one's own prompts on an engine that is there
// already, then a run that fails in debug mode, then its removal.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { stringify } from "yaml";
import type { Summary } from "../../workloads/collector/summary.ts";
import type { Manifest, RequestRow } from "../../workloads/shared/rows.ts";
import { type Project, type Result, readJson, readRows } from "./support.ts";

const stack = "exp-theirs";

const theirs = {
  description: "A closed loop of own prompts on the engine of another stack",
  modelId: "falcon-h1-7b-instruct",
  engine: "existing",
  existing: { url: "http://llm-serve-svc.exp-smoke.svc:8000/v1" },
  load: {
    concurrency: 2,
    prompts: { kind: "file", file: "prompts.jsonl" },
    outputTokens: 16,
    workers: 2,
    spawnRatePerSecond: 100,
    requestTimeoutSeconds: 10,
  },
  slo: { ttftMilliseconds: 2000, attainmentShare: 0.5 },
  timeline: { profile: "smoke", warmUpSeconds: 2, beforeSeconds: 6 },
  timeouts: { gateSeconds: 60, collectSeconds: 120 },
};

const prompts = [
  { prompt: "Where does the falcon nest?" },
  { prompt: "Name three falcons.", outputTokens: 4 },
];

/** Nobody answers at this address. */
const nobody = { existing: { url: "http://nobody.exp-smoke.svc:8000" }, timeouts: { gateSeconds: 10 } };

export async function playStepByStep(project: Project): Promise<void> {
  writeFileSync(project.file("experiments/theirs.yaml"), stringify(theirs));
  writeFileSync(project.file("prompts.jsonl"), prompts.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const step = (verb: string, args: readonly string[] = [], expectedCode = 0): Promise<Result> =>
    project.run("node", ["cli/llmeval.ts", verb, "theirs", "--yes", ...args], {
      timeoutMs: 180_000,
      expectedCode,
    });
  const jobs = async (): Promise<string[]> => {
    const { items } = await project.kubectl<{
      readonly items: readonly { readonly metadata: { readonly name: string } }[];
    }>("get", "jobs", "-n", stack);
    return items.map(({ metadata }) => metadata.name.replace(/-theirs-.*/, "")).sort();
  };

  await step("deploy", ["--cluster", "dev"]);
  expect(await project.outputs(stack)).toEqual({
    namespace: stack,
    steps: "deploy",
    next: "http://llm-serve-svc.exp-smoke.svc:8000/v1 serves inside the cluster; play the load by: npx llmeval benchmark theirs",
  });
  expect(await jobs()).toEqual([]);
  const engines = await project.kubectl<{ readonly items: readonly unknown[] }>(
    "get",
    "rayservices",
    "-n",
    stack,
  );
  expect(engines.items).toEqual([]);

  await step("benchmark");
  const { experimentId, ...played } = (await project.outputs(stack)) as { readonly experimentId: string };
  expect(played).toMatchObject({ steps: "benchmark", load: { aborted: false } });
  expect(await jobs()).toEqual(["gate", "load"]);
  const folder = project.file(join("fetched", experimentId));
  expect(existsSync(folder)).toBe(false);

  await step("collect");
  expect(readJson<Manifest>(join(folder, "manifest.json"))).toMatchObject({ experimentId, complete: true });
  const rows = readRows<RequestRow>(join(folder, "load/requests.jsonl"));
  // Two at a time for 8 s, each of 100 ms and of 3 or 15 times 20 ms.
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter(({ status }) => status !== "ok")).toEqual([]);
  expect(new Set(rows.map(({ outputTokens }) => outputTokens))).toEqual(new Set([4, 16]));
  const { overall } = readJson<Summary>(join(folder, "summary.json"));
  expect(overall.goodput).toMatchObject({ share: 1 });

  const config = `llmeval:overrides=${JSON.stringify(nobody)}`;
  const { output } = await step("benchmark", ["--debug", "--config", config], 1);
  expect(output).toMatch(/look in \(kubeconfig: .*\n +kubectl -n exp-theirs get pods -o wide\n/);
  expect(output).toMatch(/last lines of gate:\n.*nobody\.exp-smoke/s);

  await step("delete", ["--remove"]);
  const { stdout } = await project.run("pulumi", ["stack", "ls", "--json"]);
  expect(stdout).not.toContain(stack);
  expect(existsSync(join(folder, "manifest.json"))).toBe(true);
}
