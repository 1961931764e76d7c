// Prints a line for each failed test, or file, of a JSON report of vitest:  failures.ts REPORT
import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

const file = process.argv[2] ?? "";
const { testResults }: Report = existsSync(file)
  ? JSON.parse(readFileSync(file, "utf8"))
  : { testResults: [] };
for (const { name, status, message, assertionResults } of testResults) {
  const failed = assertionResults.filter((test) => test.status === "failed");
  const path = relative(process.cwd(), name);
  for (const { fullName, failureMessages } of failed) {
    console.log(`${path}: ${fullName}: ${firstLine(failureMessages[0] ?? "")}`);
  }
  // What fails outside of a test, e.g. an import or a hook.
  if (status === "failed" && failed.length === 0) console.log(`${path}: ${firstLine(message)}`);
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
