// The output of `pulumi up`: what it is at, why it has failed, and the log that keeps it.

import { createWriteStream, mkdirSync } from "node:fs";
import { dirname } from "node:path";

const reasonLines = 6;

/** What a line says of the progress, or undefined where it says nothing of it. */
export function progressOf(line: string): string | undefined {
  // Our own commands write the seconds since their start in front.
  const own = /\[ *\d+ s\] (.+)$/.exec(line)?.[1];
  if (own !== undefined) return own.trim();
  const step = /^ *[+~-]+ +(\S+) (\S+) (creating|updating|deleting)\b/.exec(line);
  if (step === null) return undefined;
  const [, type = "", name, verb] = step;
  // Stacks and components last as long as what they hold.
  if (/^(pulumi|llmeval):/.test(type)) return undefined;
  return `${verb} ${type.split(":").at(-1)} ${name}`;
}

/** The last lines that say why an operation has failed. */
export function reasonOf(lines: readonly string[]): string {
  const start = lines.findLastIndex((line) => /^\s*Diagnostics:/.test(line));
  const diagnostics = lines.slice(start + 1);
  const found: string[] = [];
  let indent: number | undefined;
  for (const line of diagnostics) {
    const depth = line.length - line.trimStart().length;
    const error = /\berror: (.*)$/.exec(line)?.[1];
    if (error !== undefined) {
      indent = depth;
      if (!/^(update|destroy) failed$/.test(error.trim())) found.push(error.trim());
    } else if (indent !== undefined && line.trim() !== "" && depth > indent && start >= 0) {
      found.push(`  ${line.trim()}`);
    } else {
      indent = undefined;
    }
  }
  const unique = [...new Set(found)];
  const text = unique.length > 0 ? unique : lines.filter((line) => line.trim() !== "");
  return text.slice(-reasonLines).join("\n");
}

/** Cuts chunks of text into whole lines. */
export class Lines {
  #rest = "";
  readonly #onLine: (line: string) => void;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  readonly push = (text: string): void => {
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#onLine(line);
  };

  end(): void {
    if (this.#rest !== "") this.#onLine(this.#rest);
    this.#rest = "";
  }
}

/** Appends to a file. */
export function openLog(path: string): (text: string) => void {
  mkdirSync(dirname(path), { recursive: true });
  const stream = createWriteStream(path, { flags: "a" });
  // A disk that is full must not end the suite.
  stream.on("error", () => {});
  return (text) => void stream.write(text);
}
