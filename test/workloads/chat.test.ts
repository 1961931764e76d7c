// The chat page in a real browser, against a fake engine with known delays.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { readPages } from "../../components/cluster/network/entry.ts";
import { toNginxConfig } from "../../components/cluster/network/entry-nginx.ts";
import { entryConfig } from "../components/cluster/network/entry-config.ts";
import { Browser, chatOnce, type Page } from "../e2e/support-browser.ts";
import { projectDir } from "../experiments/project.ts";

const firstTokenMs = 300;
const tokenMs = 50;
/** The page's policy as the entry sends it. */
const policy = /Content-Security-Policy "([^"]+)"/.exec(
  toNginxConfig({ config: entryConfig(), clusterDns: "10.43.0.10" }),
)?.[1] as string;
const pages = readPages(join(projectDir, "workloads"), false);
const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

interface Asked {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly [key: string]: unknown;
}

const asked: Asked[] = [];
let gone = 0;
let engineUp = true;
/** Basic authorization that is asked for; undefined asks for none. */
let wanted: string | undefined;
const server = createServer((request, response) => void answer(request, response));
let origin: string;
let browser: Browser;

beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  browser = await Browser.start();
});

afterAll(async () => {
  await browser?.close();
  server.closeAllConnections();
  server.close();
});

beforeEach(() => {
  asked.length = 0;
  gone = 0;
  engineUp = true;
  wanted = undefined;
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? "";
  if (wanted !== undefined && request.headers.authorization !== wanted) {
    response.writeHead(401, { "www-authenticate": 'Basic realm="test"' }).end();
  } else if (path === "/models/exp-test/v1/models") {
    const models = { object: "list", data: [{ id: "test/model-7b" }, { id: "test/model-70b" }] };
    if (engineUp) sendJson(response, 200, models);
    else sendJson(response, 502, { error: { message: "no model answers in namespace exp-test" } });
  } else if (path === "/models/exp-test/v1/chat/completions") {
    let body = "";
    for await (const piece of request) body += piece;
    const question = JSON.parse(body) as Asked;
    asked.push(question);
    await complete(question.messages.at(-1)?.content ?? "", response);
  } else {
    const file = path === "/chat/exp-test/" ? "chat.html" : path.slice(1);
    const text = pages[file];
    const headers = { "content-type": types[extname(file)] ?? "", "content-security-policy": policy };
    response.writeHead(text === undefined ? 404 : 200, headers).end(text);
  }
}

/** The message decides what comes: a stream of so many tokens, an error, a stream that breaks off, code. */
async function complete(message: string, response: ServerResponse): Promise<void> {
  if (message === "refuse") {
    const error = { message: "This model's maximum context length is 32 tokens.", type: "BadRequestError" };
    return sendJson(response, 400, { error });
  }
  response.on("close", () => {
    if (!response.writableFinished) gone += 1;
  });
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.flushHeaders();
  const send = (chunk: object): boolean => response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  const say = (content: string): boolean => send({ choices: [{ index: 0, delta: { content } }] });
  send({ choices: [{ index: 0, delta: { role: "assistant", content: "" } }] });
  await sleep(firstTokenMs);
  if (message === "break off") {
    say("half an ");
    await sleep(tokenMs);
    return void response.destroy();
  }
  if (message === "fail late") {
    say("half an ");
    send({ error: { message: "the engine died", code: 500 } });
    return void response.end();
  }
  const words =
    message === "code"
      ? ["Use `x`, **not** <b>y</b>:\n", "```js\n", "let x = 1;\n", "```\n", "Done."]
      : Array.from({ length: Number(message) || 5 }, (_, index) => `word${index + 1} `);
  for (const [index, word] of words.entries()) {
    if (index > 0) await sleep(tokenMs);
    if (response.destroyed) return;
    say(word);
  }
  send({ choices: [{ index: 0, delta: {}, finish_reason: message === "5" ? "stop" : "length" }] });
  send({ choices: [], usage: { prompt_tokens: 9, completion_tokens: words.length } });
  response.end("data: [DONE]\n\n");
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

async function openChat(): Promise<Page> {
  const page = await browser.open(`${origin}/chat/exp-test/`);
  await page.until("!document.querySelector('#send').disabled");
  return page;
}

async function say(page: Page, message: string): Promise<void> {
  await page.type(message);
  await page.press("Enter");
}

const done = (count: number): string =>
  `document.querySelectorAll('article.assistant:not([aria-busy])').length === ${count}`;
/** Texts of all elements that a selector finds. */
const texts = (page: Page, selector: string): Promise<string[]> =>
  page.value(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((node) => node.innerText)`);

test("a message is answered as a stream, with the times of the answer", async () => {
  const page = await openChat();
  expect(await page.text("#namespace")).toBe("exp-test");
  expect(await texts(page, "#model option")).toEqual(["test/model-7b", "test/model-70b"]);
  await say(page, "20");
  await page.until("document.querySelector('article.assistant .body').innerText.includes('word3')");
  // Half-way: the answer is there in part, the button stops it.
  expect(await page.value("document.querySelector('article.assistant').getAttribute('aria-busy')")).toBe(
    "true",
  );
  expect(await page.text("#stop")).toBe("Stop");
  expect(await page.text("article.assistant .body")).not.toContain("word20");
  await page.until(done(1));
  expect(await page.text("article.assistant .body")).toBe(
    Array.from({ length: 20 }, (_, index) => `word${index + 1}`).join(" "),
  );
  const [ttft = "", rate = "", tokens, total = "", cut] = await texts(
    page,
    "article.assistant .figures span",
  );
  const ttftMs = Number(/^TTFT (\d+) ms$/.exec(ttft)?.[1]);
  expect(ttftMs).toBeGreaterThanOrEqual(firstTokenMs - 5);
  expect(ttftMs).toBeLessThan(firstTokenMs * 3);
  const perSecond = Number(/^(\d+\.\d) tokens\/s$/.exec(rate)?.[1]);
  // 20 per second, less what the machine's timers are late.
  expect(perSecond).toBeGreaterThan(8);
  expect(perSecond).toBeLessThan(21);
  expect([tokens, cut]).toEqual(["20 tokens", "cut off at the limit"]);
  expect(Number(/^(\d+\.\d) s$/.exec(total)?.[1])).toBeGreaterThanOrEqual(1.2);
  expect(page.errors).toEqual([]);
});

test("the request holds the settings and what was said so far", async () => {
  const page = await openChat();
  await page.value(`(() => {
    const set = (id, value) => {
      const field = document.getElementById(id);
      field.value = value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    };
    set("system", "Be brief.");
    set("temperature", "1.3");
    set("max-tokens", "64");
    set("model", "test/model-70b");
  })()`);
  expect(await page.text("#temperature-value")).toBe("1.3");
  await say(page, "5");
  await page.until(done(1));
  await page.value("document.getElementById('max-tokens').value = ''");
  await say(page, "2");
  await page.until(done(2));
  const common = {
    model: "test/model-70b",
    temperature: 1.3,
    stream: true,
    stream_options: { include_usage: true },
  };
  const system = { role: "system", content: "Be brief." };
  const first = { role: "user", content: "5" };
  expect(asked).toEqual([
    { ...common, max_tokens: 64, messages: [system, first] },
    {
      ...common,
      messages: [
        system,
        first,
        { role: "assistant", content: "word1 word2 word3 word4 word5 " },
        { role: "user", content: "2" },
      ],
    },
  ]);
});

test("the stop button and Escape end an answer, at the engine too, and keep what came", async () => {
  const page = await openChat();
  for (const [index, stop] of [() => page.click("#stop"), () => page.press("Escape")].entries()) {
    await say(page, "200");
    await page.until(
      `[...document.querySelectorAll('article.assistant')][${index}]?.innerText.includes('word4')`,
    );
    await stop();
    await page.until(done(index + 1));
    await expect.poll(() => gone).toBe(index + 1);
  }
  expect(await texts(page, "article.assistant .figures")).toEqual(["stopped", "stopped"]);
  expect(await page.value("document.querySelector('#send').hidden")).toBe(false);
  await say(page, "5");
  await page.until(done(3));
  const kept = asked.at(-1)?.messages.map(({ role }) => role);
  expect(kept).toEqual(["user", "assistant", "user", "assistant", "user"]);
  expect(asked.at(-1)?.messages[1]?.content).toMatch(/^word1 word2 word3 word4 (word\d+ )*$/);
});

test("a refusal is shown as the engine worded it, and leaves no trace in the conversation", async () => {
  const page = await openChat();
  await say(page, "refuse");
  await page.until(done(1));
  expect(await page.text("article .trouble p")).toBe(
    "This model's maximum context length is 32 tokens. (HTTP 400)",
  );
  await say(page, "5");
  await page.until(done(2));
  expect(asked.at(-1)?.messages).toEqual([{ role: "user", content: "5" }]);
  await page.click("article .trouble button");
  await page.until(`${done(2)} && document.querySelectorAll('article').length === 4`);
  await expect.poll(() => asked.length).toBe(3);
  expect(asked.at(-1)?.messages.at(-1)).toEqual({ role: "user", content: "refuse" });
});

test.each([
  ["break off", /broke off|network error/],
  ["fail late", /^the engine died$/],
])("an answer that ends early (%s) says so and keeps what came", async (message, reason) => {
  const page = await openChat();
  await say(page, message);
  await page.until(done(1));
  expect(await page.text("article.assistant .body")).toBe("half an");
  expect(await page.text("article .trouble p")).toMatch(reason);
});

test("code is set apart, and HTML of a model stays text", async () => {
  const page = await openChat();
  await say(page, "code");
  await page.until(done(1));
  expect(await page.text("article.assistant pre")).toBe("let x = 1;");
  expect(await texts(page, "article.assistant p code, article.assistant strong")).toEqual(["x", "not"]);
  expect(await page.text("article.assistant p")).toBe("Use x, not <b>y</b>:");
  expect(await page.value("document.querySelector('article b')")).toBe(null);
});

test("without an engine the page says so, and looks again when asked", async () => {
  engineUp = false;
  const page = await browser.open(`${origin}/chat/exp-test/`);
  await page.until("!document.querySelector('#trouble').hidden");
  expect(await page.text("#trouble p")).toBe("No model: no model answers in namespace exp-test (HTTP 502)");
  expect(await page.value("document.querySelector('#send').disabled")).toBe(true);
  engineUp = true;
  await page.click("#trouble button");
  await page.until("!document.querySelector('#send').disabled && document.querySelector('#trouble').hidden");
});

test("a new chat during an answer stops it and begins empty", async () => {
  const page = await openChat();
  await say(page, "200");
  await page.until("document.querySelector('article.assistant .body')?.innerText.includes('word2')");
  await page.click("#clear");
  await expect.poll(() => gone).toBe(1);
  await page.until("!document.querySelector('#send').hidden");
  await say(page, "5");
  await page.until(done(1));
  expect(asked.at(-1)?.messages).toEqual([{ role: "user", content: "5" }]);
});

test("a new chat forgets, Shift+Enter starts a line, every field has a name", async () => {
  const page = await openChat();
  await say(page, "5");
  await page.until(done(1));
  await page.click("#clear");
  expect(await texts(page, "article")).toEqual([]);
  await page.type("5");
  await page.press("Enter", 8);
  expect(asked.length).toBe(1);
  await page.press("Enter");
  await page.until(done(1));
  expect(asked.at(-1)?.messages).toEqual([{ role: "user", content: "5" }]);
  const { nodes } = (await page.send("Accessibility.getFullAXTree")) as {
    nodes: { role?: { value: string }; name?: { value: string } }[];
  };
  const named = (role: string): (string | undefined)[] =>
    nodes.filter((node) => node.role?.value === role).map((node) => node.name?.value);
  expect(named("textbox").sort()).toEqual(["System prompt", "Your message"]);
  expect(named("combobox")).toEqual(["Model"]);
  expect(named("slider")).toEqual([expect.stringMatching(/^Temperature/)]);
  expect(named("spinbutton")).toEqual(["Most tokens per answer"]);
  expect(named("button")).toEqual(expect.arrayContaining(["New chat", "Send"]));
  expect(named("log")).toEqual(["Conversation"]);
});

test("chatOnce returns the answer, through a password too, and fails with what the page shows", async () => {
  wanted = `Basic ${Buffer.from("me:secret").toString("base64")}`;
  const { host } = new URL(origin);
  expect(await chatOnce(`http://me:secret@${host}/chat/exp-test/`, "3")).toBe("word1 word2 word3");
  await expect(chatOnce(`http://me:secret@${host}/chat/exp-test/`, "refuse")).rejects.toThrow(
    /maximum context length is 32 tokens/,
  );
});
