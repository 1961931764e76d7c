// A headless Chromium driven by its DevTools protocol, and one exchange with the chat page.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const startSeconds = 30;

type Reply = { readonly result?: Record<string, unknown>; readonly error?: { readonly message: string } };

/** A browser with a profile of its own; `close` ends it and removes the profile. */
export class Browser {
  readonly #child: ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #pages = new Map<string, Page>();
  #last = 0;

  private constructor(child: ChildProcess, profile: string, socket: WebSocket) {
    this.#child = child;
    this.#profile = profile;
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#receive(String(data)));
  }

  static async start(): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), "browser-"));
    // No sandbox: as root it does not start with one. All that it opens are pages of the test.
    const child = spawn(
      process.env["CHROMIUM"] ?? "chromium",
      [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
      ].concat([
        "--no-first-run",
        "--window-size=1280,900",
        "--remote-debugging-port=0",
        `--user-data-dir=${profile}`,
        "about:blank",
      ]),
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    const address = await new Promise<string>((done, fail) => {
      let text = "";
      child.once("error", (error) => fail(new Error(`chromium cannot be started: ${error.message}`)));
      child.once("exit", (code) => fail(new Error(`chromium ended with ${code}\n${text}`)));
      setTimeout(
        () => fail(new Error(`chromium did not start in ${startSeconds} s\n${text}`)),
        startSeconds * 1000,
      ).unref();
      child.stderr?.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        const found = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
        if (found !== undefined) done(found);
      });
    });
    const socket = new WebSocket(address);
    await new Promise((done, fail) => {
      socket.addEventListener("open", done);
      socket.addEventListener("error", () => fail(new Error(`chromium does not answer at ${address}`)));
    });
    return new Browser(child, profile, socket);
  }

  /** Opens an address in a page of its own. User and password may stand in the address. */
  async open(url: string): Promise<Page> {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId as string);
    this.#pages.set(sessionId as string, page);
    for (const domain of ["Page", "Runtime", "Log"]) await page.send(`${domain}.enable`);
    const { errorText } = await page.send("Page.navigate", { url });
    if (errorText !== undefined) throw new Error(`${new URL(url).origin} cannot be opened: ${errorText}`);
    await page.until("document.readyState === 'complete'");
    return page;
  }

  send(method: string, params: object = {}, sessionId?: string): Promise<Record<string, unknown>> {
    this.#last += 1;
    const id = this.#last;
    return new Promise((done, fail) => {
      this.#waiting.set(id, ({ result, error }) =>
        error === undefined ? done(result ?? {}) : fail(new Error(`${method}: ${error.message}`)),
      );
      this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  #receive(data: string): void {
    const message = JSON.parse(data) as Reply & {
      id?: number;
      method?: string;
      sessionId?: string;
      params?: unknown;
    };
    if (message.id === undefined) {
      this.#pages.get(message.sessionId ?? "")?.notice(message.method ?? "", message.params);
    } else {
      this.#waiting.get(message.id)?.(message);
      this.#waiting.delete(message.id);
    }
  }

  async close(): Promise<void> {
    const ended = new Promise((done) => this.#child.once("exit", done));
    this.#child.kill("SIGKILL");
    await ended;
    // Its helpers end a moment later, and may write until then.
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** One page of the browser. */
export class Page {
  readonly #browser: Browser;
  readonly #session: string;
  /** What the page's console shows as errors: exceptions, failed requests, broken policies. */
  readonly errors: string[] = [];

  constructor(browser: Browser, session: string) {
    this.#browser = browser;
    this.#session = session;
  }

  send(method: string, params: object = {}): Promise<Record<string, unknown>> {
    return this.#browser.send(method, params, this.#session);
  }

  notice(method: string, params: unknown): void {
    const { entry, exceptionDetails } = params as {
      readonly entry?: { readonly level: string; readonly text: string };
      readonly exceptionDetails?: {
        readonly exception?: { readonly description?: string };
        readonly text: string;
      };
    };
    if (method === "Log.entryAdded" && entry?.level === "error") this.errors.push(entry.text);
    if (method === "Runtime.exceptionThrown") {
      this.errors.push(exceptionDetails?.exception?.description ?? exceptionDetails?.text ?? "exception");
    }
  }

  /** The value of an expression in the page. */
  async value<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as { result: { value: T; description?: string }; exceptionDetails?: unknown };
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${result.description}`);
    return result.value;
  }

  /** Waits until an expression is true. */
  async until(expression: string, timeoutSeconds = 20): Promise<void> {
    const deadline = performance.now() + timeoutSeconds * 1000;
    while (!(await this.value<boolean>(`Boolean(${expression})`))) {
      if (performance.now() > deadline) {
        const text = await this.value<string>("document.body.innerText");
        throw new Error(
          `waited ${timeoutSeconds} s for ${expression}; errors: ${this.errors.join("; ")}\n${text}`,
        );
      }
      await sleep(50);
    }
  }

  /** Text of the first element that a selector finds, as a reader sees it; empty where there is none. */
  text(selector: string): Promise<string> {
    return this.value(`document.querySelector(${JSON.stringify(selector)})?.innerText.trim() ?? ""`);
  }

  /** Types at the place of the keyboard's focus. */
  async type(text: string): Promise<void> {
    await this.send("Input.insertText", { text });
  }

  async press(key: "Enter" | "Escape" | "Tab", modifiers = 0): Promise<void> {
    const code = { Enter: 13, Escape: 27, Tab: 9 }[key];
    const text = key === "Enter" ? { text: "\r" } : {};
    await this.send("Input.dispatchKeyEvent", {
      type: "keyDown",
      key,
      code: key,
      windowsVirtualKeyCode: code,
      modifiers,
      ...text,
    });
    await this.send("Input.dispatchKeyEvent", {
      type: "keyUp",
      key,
      code: key,
      windowsVirtualKeyCode: code,
      modifiers,
    });
  }

  async click(selector: string): Promise<void> {
    await this.value(`document.querySelector(${JSON.stringify(selector)}).click()`);
  }

  async screenshot(file: string, width: number, height: number, scheme: "light" | "dark"): Promise<void> {
    await this.send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: false,
    });
    await this.send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }],
    });
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(file, Buffer.from(data as string, "base64"));
  }
}

/**
 * Opens a chat page, sends one message as a person does, and returns the whole answer. Throws, with what the page
 * shows, where no answer comes.
 */
export async function chatOnce(url: string, message: string, timeoutSeconds = 60): Promise<string> {
  const browser = await Browser.start();
  try {
    const page = await browser.open(url);
    await page.until(
      "!document.querySelector('#send').disabled || !document.querySelector('#trouble').hidden",
      timeoutSeconds,
    );
    const trouble = await page.text("#trouble:not([hidden])");
    if (trouble !== "") throw new Error(`the chat page says: ${trouble}`);
    await page.type(message);
    await page.press("Enter");
    await page.until("document.querySelector('article.assistant:not([aria-busy])')", timeoutSeconds);
    const answer = await page.text("article.assistant .body");
    if (answer === "" || page.errors.length > 0) {
      throw new Error(
        `no answer: ${await page.value<string>("document.body.innerText")}\n${page.errors.join("\n")}`,
      );
    }
    return answer;
  } finally {
    await browser.close();
  }
}
