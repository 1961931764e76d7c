// README.md and docs/: links lead somewhere, and what can be copied from a page works: targets, commands, keys, YAML.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { clusterConfigSchema } from "../../components/cluster/config.ts";
import { parseConfig, parseYaml } from "../../components/config-problems.ts";
import { testedKubernetes, versions } from "../../components/versions.ts";
import { run } from "../workloads/support.ts";
import {
  configPathsIn,
  inlineCode,
  isConfigPath,
  knownStackKeys,
  pages,
  read,
  repository,
  stackKeysIn,
} from "./support.ts";

/** Anchors of a page's headings, as they are made from them in rendered Markdown. */
function anchors(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    (heading as string)
      .toLowerCase()
      .replaceAll(/[^a-z0-9 _-]/g, "")
      .replaceAll(" ", "-"),
  );
}

/** Targets of relative links, e.g. `experiments.md#faults`. */
function linksOf(page: string): string[] {
  return [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target as string)
    .filter((target) => !/^[a-z]+:/.test(target));
}

function isBroken(page: string, link: string): boolean {
  const [file = "", anchor] = link.split("#", 2);
  const target = file === "" ? page : join(dirname(page), file);
  if (!existsSync(join(repository, target))) return true;
  return anchor !== undefined && !anchors(target).includes(anchor);
}

/** Texts that stand as code: between backticks, in fences, and in indented lines. */
function codeOf(page: string): string {
  const text = read(page);
  const fenced = [...text.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map(([, code]) => code as string);
  const indented = text.split("\n").filter((line) => line.startsWith("    "));
  return [...inlineCode(text), ...fenced, ...indented].join("\n");
}

const matches = (text: string, pattern: RegExp): string[] => [
  ...new Set([...text.matchAll(pattern)].map(([, found]) => found as string)),
];

test.each(pages)("%s: every relative link leads to a file and a heading", (page) => {
  expect(linksOf(page).filter((link) => isBroken(page, link))).toEqual([]);
});

test("the pages have links, and the check knows a broken one", () => {
  expect(pages.flatMap(linksOf).length).toBeGreaterThan(10);
  const broken = ["nowhere.md", "experiments.md#nowhere", "#nowhere"];
  expect(broken.filter((link) => isBroken("docs/cluster.md", link))).toEqual(broken);
});

test("every target of make exists", () => {
  const makefile = readFileSync(join(repository, "Makefile"), "utf8");
  const exists = (target: string): boolean =>
    target.startsWith(".tools/image-")
      ? makefile.includes(` ${target.slice(".tools/image-".length)} `)
      : new RegExp(`^${target.replaceAll(".", "\\.")}:`, "m").test(makefile);
  const commands = pages.flatMap((page) => matches(codeOf(page), /\bmake ((?:[a-z.][\w./-]* ?)+)/g));
  const targets = [...new Set(commands.flatMap((words) => words.trim().split(" ")))];
  expect(targets).toEqual(expect.arrayContaining(["demo", "test", "preview"]));
  expect(targets.filter((target) => !exists(target))).toEqual([]);
  expect(exists("nowhere")).toBe(false);
});

test("every command of llmeval exists", async () => {
  const { stdout } = await run("cli/llmeval.ts", { args: ["--help"] });
  const known = matches(stdout, /^ {2}([a-z0-9]+) {2}/gm);
  expect(known).toEqual(expect.arrayContaining(["capacity", "charts"]));
  const named = pages.flatMap((page) => matches(codeOf(page), /npx llmeval ([a-z0-9]+)/g));
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !known.includes(name))).toEqual([]);
});

test("every key of a stack and every configuration path exists", async () => {
  const known = await knownStackKeys();
  expect(pages.flatMap((page) => stackKeysIn(read(page)).filter((key) => !known.includes(key)))).toEqual([]);
  const paths = pages.flatMap((page) => configPathsIn(read(page)).map((path) => ({ page, path })));
  expect(paths.length).toBeGreaterThan(40);
  expect(paths.filter(({ path }) => !isConfigPath(path))).toEqual([]);
});

/** YAML whose first line is a comment with the name that the file would have. */
function clusterConfigs(page: string): { file: string; text: string }[] {
  return [...read(page).matchAll(/^```yaml\n# (configs\/clusters\/[\w-]+\.yaml)\n([\s\S]*?)^```$/gm)].map(
    ([, file, text]) => ({ file: file as string, text: text as string }),
  );
}

test("cluster configurations are valid", () => {
  const configs = pages.flatMap(clusterConfigs);
  expect(configs.map(({ file }) => file)).toEqual(
    ["small", "large", "sealed", "shared"].map((name) => `configs/clusters/${name}.yaml`),
  );
  for (const { file, text } of configs) parseConfig(clusterConfigSchema, parseYaml(text, file), { file });
});

/** Cells of the rows of the table below a heading, without backticks. */
function tableBelow(page: string, heading: string): string[][] {
  const section = read(page).split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| "));
  return rows.slice(2).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("`", "")),
  );
}

test("the table of parts names every part with its default and its version", () => {
  const config = parseConfig(clusterConfigSchema, {}, { file: "(defaults)" });
  const expected = Object.entries(config).flatMap(([key, section]) =>
    typeof section === "object" && "mode" in section ? [[key, section.mode]] : [],
  );
  const rows = tableBelow("docs/cluster.md", "Parts");
  expect(rows.filter(([, mode]) => mode !== "-").map(([key, mode]) => [key, mode])).toEqual(expected);
  const stated = rows.map(([, , , , version]) => version).join(" ");
  const { k6, node, ray, raySimulator, otelCollector, ...others } = versions;
  expect(Object.values({ ...others, otelCollector }).filter((version) => !stated.includes(version))).toEqual(
    [],
  );
});

test("the table of versions that fit is that of the code", () => {
  expect(tableBelow("docs/cluster.md", "Versions that fit")).toEqual(
    testedKubernetes.map(({ part, series, from, to }) => [part, series, `1.${from} to 1.${to}`]),
  );
});
