// docs/experiment-*.md: what the pages quote of definitions and of `llmeval explain` is what there is.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { run } from "../workloads/support.ts";
import { pages, read, repository } from "./support.ts";

const typePages = pages.filter((page) => page.startsWith("docs/experiment-"));

interface Quote {
  readonly name: string;
  readonly lines: readonly string[];
}

function quotes(page: string, pattern: RegExp): Quote[] {
  return [...read(page).matchAll(pattern)].map(([, name, text]) => ({
    name: name as string,
    lines: (text as string).trimEnd().split("\n"),
  }));
}

/** YAML whose first line is a comment with the definition that it is taken from. */
const definitions = (page: string) =>
  quotes(page, /^```yaml\n# experiments\/([\w-]+)\.yaml\n([\s\S]*?)^```$/gm);
const explanations = (page: string) =>
  quotes(page, /^`npx llmeval explain ([\w-]+)`[^\n]*\n\n```text\n([\s\S]*?)^```$/gm);

/** Columns are as wide as the widest of all rows, also of those that a page leaves out. */
const squeezed = (line: string): string => line.trim().replaceAll(/ {2,}/g, "  ");

const fileOf = (name: string): string =>
  readFileSync(join(repository, "experiments", `${name}.yaml`), "utf8");

test("there is a page for each type", () => {
  expect(typePages).toEqual(
    ["baseline", "custom", "network", "resource-exhaustion", "stress"].map(
      (type) => `docs/experiment-${type}.md`,
    ),
  );
});

test.each(typePages)("%s: its definitions are in the files as they are quoted", (page) => {
  const quoted = definitions(page);
  expect(quoted.length).toBeGreaterThan(0);
  for (const { name, lines } of quoted) expect(fileOf(name)).toContain(`\n${lines.join("\n")}\n`);
});

test.each(typePages)("%s: explain says what is quoted", async (page) => {
  const quoted = explanations(page);
  expect(quoted.length).toBeGreaterThan(0);
  for (const { name, lines } of quoted) {
    const { stdout, status } = await run("cli/llmeval.ts", { args: ["explain", name] });
    expect(status).toBe(0);
    const said = stdout.split("\n").map(squeezed);
    expect(lines.map(squeezed).filter((line) => !said.includes(line))).toEqual([]);
  }
});

/** Names of definitions, between backticks, of the two families that the pages are about. */
const named = (page: string): string[] =>
  [...read(page).matchAll(/`((?:smoke|falcon)(?:-[a-z]+)*)`/g)].map(([, name]) => name as string);

test("every definition that the pages name exists, and each has its place in the table of types", () => {
  const definitionFiles = readdirSync(join(repository, "experiments"))
    .filter((file) => /^(smoke|falcon)[a-z-]*\.yaml$/.test(file))
    .map((file) => file.slice(0, -".yaml".length))
    .sort();
  expect(typePages.flatMap(named).filter((name) => !definitionFiles.includes(name))).toEqual([]);
  expect([...new Set(named("docs/experiments.md"))].sort()).toEqual(definitionFiles);
});
