// What components/startup.ts puts off is not loaded with the SDK, and works once it is used.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

const project = join(import.meta.dirname, "../..");
const sdk = join(project, "node_modules/@pulumi/pulumi/index.js");
const folder = mkdtempSync(join(tmpdir(), "startup-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a program in a Node of its own, in the folder, and returns the JSON that it prints. */
function run(program: string, withStartup = true): unknown {
  const load = (file: string) => `await import(${JSON.stringify(file)});`;
  const script = [
    'import { createRequire } from "node:module";',
    // As the SDK does before it runs a program.
    `createRequire(${JSON.stringify(sdk)})("source-map-support/register");`,
    withStartup ? load(join(project, "components/startup.ts")) : "",
    `const pulumi = ${load(sdk)}`,
    "const print = (value) => console.log(JSON.stringify(value));",
    program,
  ].join("\n");
  const text = execFileSync(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: folder,
    encoding: "utf8",
  });
  return JSON.parse(text);
}

const countLoaded = `print(Object.keys(createRequire(${JSON.stringify(sdk)}).cache).length);`;

test("more than half of the SDK's files are not loaded", () => {
  const all = run(countLoaded, false) as number;
  expect(run(countLoaded) as number).toBeLessThan(all / 2);
});

test("the SDK still packs up packages, with npm's code", () => {
  const manifest = (name: string, more: object) => JSON.stringify({ name, version: "1.0.0", ...more });
  mkdirSync(join(folder, "node_modules/used"), { recursive: true });
  writeFileSync(join(folder, "package.json"), manifest("user", { dependencies: { used: "1.0.0" } }));
  writeFileSync(join(folder, "node_modules/used/package.json"), manifest("used", {}));
  expect(run("print([...(await pulumi.runtime.computeCodePaths({})).keys()]);")).toEqual([
    "node_modules/used",
  ]);
});

test("the Automation API and the base of providers are there", () => {
  const program = `
    const { LocalWorkspace, CommandError } = pulumi.automation;
    const error = new CommandError({ stdout: "", stderr: "", code: 1 });
    print([typeof LocalWorkspace.createOrSelectStack, error instanceof Error, typeof pulumi.provider.main]);`;
  expect(run(program)).toEqual(["function", true, "function"]);
});

test("stack traces name the lines of our TypeScript, and the SDK's own files", () => {
  const lines = ["interface Key {", "  readonly name: string;", "}"];
  const fails = 'export const fails = (get: (name: Key["name"]) => string): string => get("absent");';
  writeFileSync(join(folder, "fails.mts"), [...lines, fails, ""].join("\n"));
  const frames = run(`
    const { fails } = await import(${JSON.stringify(join(folder, "fails.mts"))});
    try {
      fails((name) => new pulumi.Config("any").require(name));
    } catch (error) {
      print(error.stack.split("\\n").filter((line) => line.startsWith("    at ")));
    }`) as string[];
  expect(frames.some((frame) => frame.includes("/@pulumi/pulumi/config.js:"))).toBe(true);
  expect(frames.some((frame) => frame.includes(`/fails.mts:4:${fails.indexOf('get("absent') + 1}`))).toBe(
    true,
  );
});
