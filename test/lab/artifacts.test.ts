// What the lab serves: images under the references that stacks ask for, charts as a repository, and the refusals of lab/up.sh.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { images } from "../../components/versions.ts";
import { temporaryProject } from "../stacks/project.ts";

const repository = path.resolve(import.meta.dirname, "../..");

function run(
  file: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(path.join(repository, file), args, {
    cwd: repository,
    encoding: "utf8",
    env: { ...process.env, ...environment },
  });
  return { status, output: stdout + stderr };
}

test("the lab's images have the references of components/versions.ts", () => {
  const text = fs.readFileSync(path.join(repository, "lab/images/build.sh"), "utf8");
  const built = Object.fromEntries(
    [...text.matchAll(/^ {2}(\w+)\)\n {4}reference=(\S+)$/gm)]
      .map(([, key = "", reference]) => [key, reference] as const)
      .filter(([key]) => key in images),
  );
  expect(Object.keys(built).length).toBeGreaterThan(8);
  expect({ ...images, ...built }).toEqual({
    ...images,
    // The newest that can be had as a module.
    kuberayOperator: "quay.io/kuberay/operator:v1.6.2",
    // One image serves k3s, which asks for it by this name, and faults.
    pause: "docker.io/rancher/mirrored-pause:3.6",
  });
});

test("the chart repository holds every chart of lab/charts, with its CRDs and its digest", () => {
  const project = temporaryProject({ "crds/one.yaml": "kind: CustomResourceDefinition\n", "out/.keep": "" });
  const out = path.join(project, "out");
  const built = run("lab/charts/build.sh", [`kuberay-operator=${path.join(project, "crds")}`], { OUT: out });
  expect(built).toEqual({ status: 0, output: "" });

  const { entries } = parse(fs.readFileSync(path.join(out, "index.yaml"), "utf8")) as {
    entries: Record<string, { name: string; version: string; digest: string; urls: string[] }[]>;
  };
  const charts = fs
    .readdirSync(path.join(repository, "lab/charts"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  expect(Object.keys(entries).sort()).toEqual(charts.sort());
  for (const [name, versions] of Object.entries(entries)) {
    const [{ version, digest, urls } = { version: "", digest: "", urls: [] }] = versions;
    expect(urls).toEqual([`${name}-${version}.tgz`]);
    const archive = fs.readFileSync(path.join(out, `${name}-${version}.tgz`));
    expect(createHash("sha256").update(archive).digest("hex")).toBe(digest);
  }
  const version = entries["kuberay-operator"]?.[0]?.version;
  const listed = spawnSync("tar", ["-tzf", path.join(out, `kuberay-operator-${version}.tgz`)], {
    encoding: "utf8",
  });
  expect(listed.stdout.split("\n")).toContain("kuberay-operator/crds/one.yaml");
});

test("lab/up.sh refuses numbers of hosts that it has no addresses for, before it makes anything", () => {
  const lab = path.join(temporaryProject({}), "lab");
  const refused = (...args: string[]): string => run("lab/up.sh", args, { LLMEVAL_LAB: lab }).output;
  expect(refused("10")).toBe("  ✗ AGENTS=10: the number of agent hosts is a digit, 0 to 9\n");
  expect(refused("1", "0")).toBe("  ✗ SERVERS=0: the number of server hosts is a digit, 1 to 9\n");
  expect(fs.existsSync(lab)).toBe(false);
});
