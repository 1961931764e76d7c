// A user's own prompts: which lines are good, and what is told of those that are not.

import { expect, test } from "vitest";
import { readPromptFile } from "../../experiments/prompt-file.ts";
import { makeProject } from "./project.ts";

function read(text: string, api: "chat" | "completions" = "chat", file = "p.jsonl") {
  return readPromptFile(makeProject({ "p.jsonl": text }), file, api);
}

test("prompts and messages, some with a length of their own", () => {
  const messages = '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Why?"}]}';
  expect(read(`{"prompt":"Why?","outputTokens":7}\n\n${messages}\n`)).toEqual({
    sha256: "bc8e0b2df28281c7805bba26f18069bdadcb0420d07c1f2958260c8a357717fa",
    lines: 2,
    maxOutputTokens: 7,
    problems: [],
  });
  expect(read('{"prompt":"Why?"}').maxOutputTokens).toBeNull();
  expect(read(messages, "completions").problems).toMatchInlineSnapshot(`
    [
      "p.jsonl line 1 has messages, which need load.api chat, but it is completions; change one of them",
    ]
  `);
});

test("lines that cannot be asked, the first five of them", () => {
  const lines = [
    "Why?",
    '{"prompt":""}',
    '{"prompt":"Why?","messages":[{"role":"user","content":"Why?"}]}',
    '{"messages":[{"role":"robot","content":"Why?"}]}',
    '{"prompt":"Why?","maxTokens":5}',
    "[]",
  ];
  expect(read(lines.join("\n")).problems).toMatchInlineSnapshot(`
    [
      "p.jsonl line 1 is Why?, allowed: one JSON object per line with either "prompt": "text" or "messages": [{"role": "user", "content": "text"}], and "outputTokens": 1 or more if wanted",
      "p.jsonl line 2 is {"prompt":""}, allowed: one JSON object per line with either "prompt": "text" or "messages": [{"role": "user", "content": "text"}], and "outputTokens": 1 or more if wanted",
      "p.jsonl line 3 is {"prompt":"Why?","messages":[{"role":"user","content":"Why?"}]}, allowed: one JSON object per line with either "prompt": "text" or "messages": [{"role": "user", "content": "text"}], and "outputTokens": 1 or more if wanted",
      "p.jsonl line 4 is {"messages":[{"role":"robot","content":"Why?"}]}, allowed: one JSON object per line with either "prompt": "text" or "messages": [{"role": "user", "content": "text"}], and "outputTokens": 1 or more if wanted",
      "p.jsonl line 5 is {"prompt":"Why?","maxTokens":5}, allowed: one JSON object per line with either "prompt": "text" or "messages": [{"role": "user", "content": "text"}], and "outputTokens": 1 or more if wanted",
    ]
  `);
});

test("a file that is empty, too large, elsewhere or not there", () => {
  const problem = (text: string, file?: string) => read(text, "chat", file).problems;
  expect(problem("\n")).toMatchInlineSnapshot(`
    [
      "p.jsonl has no line; give one JSON object per line with either "prompt": "text" or "messages": [{"role": "user", "content": "text"}], and "outputTokens": 1 or more if wanted",
    ]
  `);
  expect(problem("x".repeat(512 * 1024 + 1))).toMatchInlineSnapshot(`
    [
      "is "p.jsonl" of 513 KiB, allowed: at most 512 KiB; keep fewer lines",
    ]
  `);
  expect(problem("", "../p.jsonl")).toMatchInlineSnapshot(`
    [
      "is "../p.jsonl", allowed: a path inside the project; copy the file there",
    ]
  `);
  expect(problem("", "/etc/hosts")).toMatchInlineSnapshot(`
    [
      "is "/etc/hosts", allowed: a path inside the project; copy the file there",
    ]
  `);
  expect(problem("", "configs")).toMatchInlineSnapshot(`
    [
      "is "configs", which is no file; give a file of JSON lines",
    ]
  `);
  expect(problem("", "q.jsonl")).toMatchInlineSnapshot(`
    [
      "is "q.jsonl", which does not exist; give a file of JSON lines",
    ]
  `);
});
