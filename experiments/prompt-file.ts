// A user's own prompts: JSON lines that travel to the load generator in the run's ConfigMap.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import * as z from "zod";

/** A ConfigMap holds 1 MiB; the other files of the run need their part of it. */
const maxPromptFileKibibytes = 512;
/** More problems than these help nobody. */
const maxReportedLines = 5;

const line = z
  .strictObject({
    prompt: z.string().min(1).optional(),
    messages: z
      .array(z.strictObject({ role: z.enum(["system", "user", "assistant"]), content: z.string() }))
      .min(1)
      .optional(),
    outputTokens: z.int().min(1).optional(),
  })
  .refine(({ prompt, messages }) => (prompt === undefined) !== (messages === undefined));

const form =
  'one JSON object per line with either "prompt": "text" or "messages": [{"role": "user", "content": "text"}], and "outputTokens": 1 or more if wanted';

/** What is known of a prompt file; nothing of it where there are problems. */
interface PromptFile {
  readonly sha256: string;
  readonly lines: number;
  /** The largest outputTokens of a line; null where no line has its own. */
  readonly maxOutputTokens: number | null;
  readonly problems: readonly string[];
}

/** Reads and checks a prompt file. `file` is relative to the project. */
export function readPromptFile(projectDir: string, file: string, api: "chat" | "completions"): PromptFile {
  const fail = (problem: string): PromptFile => ({
    sha256: "",
    lines: 0,
    maxOutputTokens: null,
    problems: [problem],
  });
  const path = join(projectDir, file);
  if (file.startsWith("/") || relative(projectDir, path).startsWith("..")) {
    return fail(`is ${JSON.stringify(file)}, allowed: a path inside the project; copy the file there`);
  }
  if (!existsSync(path))
    return fail(`is ${JSON.stringify(file)}, which does not exist; give a file of JSON lines`);
  const status = statSync(path);
  if (!status.isFile())
    return fail(`is ${JSON.stringify(file)}, which is no file; give a file of JSON lines`);
  if (status.size > maxPromptFileKibibytes * 1024) {
    const kibibytes = Math.ceil(status.size / 1024);
    return fail(
      `is ${JSON.stringify(file)} of ${kibibytes} KiB, allowed: at most ${maxPromptFileKibibytes} KiB; keep fewer lines`,
    );
  }
  const text = readFileSync(path, "utf8");
  const problems: string[] = [];
  const lengths: number[] = [];
  let lines = 0;
  for (const [index, raw] of text.split("\n").entries()) {
    if (raw.trim() === "") continue;
    lines += 1;
    const parsed = line.safeParse(parseJson(raw));
    const at = `${file} line ${index + 1}`;
    if (!parsed.success) problems.push(`${at} is ${excerpt(raw)}, allowed: ${form}`);
    else if (parsed.data.messages !== undefined && api !== "chat")
      problems.push(`${at} has messages, which need load.api chat, but it is ${api}; change one of them`);
    else if (parsed.data.outputTokens !== undefined) lengths.push(parsed.data.outputTokens);
  }
  if (lines === 0) problems.push(`${file} has no line; give ${form}`);
  return {
    sha256: createHash("sha256").update(text).digest("hex"),
    lines,
    maxOutputTokens: lengths.length === 0 ? null : Math.max(...lengths),
    problems: problems.slice(0, maxReportedLines),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function excerpt(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
