// Previews of cluster stacks by the real engine, with no cluster and no network.

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "cluster-preview-"));
const project = join(folder, "project");
const env = {
  ...process.env,
  PULUMI_BACKEND_URL: `file://${folder}/state`,
  PULUMI_CONFIG_PASSPHRASE: "preview",
  // A proxy that is not there: whoever asks the network for anything fails at once.
  HTTPS_PROXY: "http://127.0.0.1:9",
  HTTP_PROXY: "http://127.0.0.1:9",
};

interface Step {
  readonly op: string;
  readonly urn: string;
  readonly newState?: {
    readonly type: string;
    readonly parent?: string;
    readonly dependencies?: readonly string[];
    readonly protect?: boolean;
  };
}

beforeAll(async () => {
  mkdirSync(join(folder, "state"));
  await run("bash", ["-c", `. test/support/project-copy.sh && project_copy ${project}`], { cwd: root });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function preview(stack: string): Promise<readonly Step[]> {
  await run("pulumi", ["-C", project, "stack", "init", stack], { env }).catch(() => undefined);
  const { stdout } = await run(
    "pulumi",
    ["-C", project, "preview", "--json", "-s", stack, "--non-interactive"],
    {
      env,
      maxBuffer: 64 * 2 ** 20,
    },
  );
  return (JSON.parse(stdout) as { readonly steps: readonly Step[] }).steps;
}

const nameOf = (urn: string): string => urn.split("::").at(-1) ?? "";

test("cluster-prod: every resource with its parent and what it waits for", async () => {
  const steps = await preview("cluster-prod");
  expect(new Set(steps.map(({ op }) => op))).toEqual(new Set(["create"]));
  const lines = steps.map(({ urn, newState }) => {
    const waits = (newState?.dependencies ?? []).map(nameOf).sort();
    const parent = newState?.parent === undefined ? "-" : nameOf(newState.parent);
    return `${newState?.type} ${nameOf(urn)} < ${parent}${waits.length === 0 ? "" : ` after ${waits.join(", ")}`}`;
  });
  expect(lines.sort().join("\n")).toMatchSnapshot();
});

test("what holds data is protected, unless the stack says otherwise", async () => {
  const protectedNames = async (): Promise<string[]> =>
    (await preview("cluster-prod"))
      .filter(({ newState }) => newState?.protect)
      .map(({ urn }) => nameOf(urn))
      .sort();
  expect(await protectedNames()).toEqual([
    "deepflow-release",
    "loki-data",
    "opentelemetry-traces",
    "prometheus-data",
  ]);
  const file = join(project, "Pulumi.cluster-prod.yaml");
  const settings = parse(readFileSync(file, "utf8")) as { config: Record<string, unknown> };
  rmSync(file);
  writeFileSync(
    file,
    stringify({ ...settings, config: { ...settings.config, "llmeval:protectData": "false" } }),
  );
  expect(await protectedNames()).toEqual([]);
});
