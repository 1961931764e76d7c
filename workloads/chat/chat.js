// @ts-check
// The chat page of one experiment's model: /chat/<namespace>/ talks to /models/<namespace>/v1. The conversation is
// kept in memory only.

import { listModels, streamAnswer } from "./completion.js";
import { toNodes } from "./markup.js";
import { element, entry, figure, figuresOf } from "./view.js";

/** @typedef {import("./completion.js").Message} Message */

const namespace = location.pathname.split("/")[2] ?? "";
// From the origin: an address with a user and password in it is none that fetch takes.
const base = new URL(`/models/${namespace}/v1`, location.origin).href;

const page = {
  model: /** @type {HTMLSelectElement} */ (byId("model")),
  system: /** @type {HTMLTextAreaElement} */ (byId("system")),
  temperature: /** @type {HTMLInputElement} */ (byId("temperature")),
  temperatureValue: byId("temperature-value"),
  maxTokens: /** @type {HTMLInputElement} */ (byId("max-tokens")),
  log: byId("log"),
  welcome: byId("welcome"),
  trouble: byId("trouble"),
  message: /** @type {HTMLTextAreaElement} */ (byId("message")),
  send: /** @type {HTMLButtonElement} */ (byId("send")),
  stop: byId("stop"),
  status: byId("status"),
};

/** What has been said, without exchanges that failed: templates want user and assistant in turn. @type {Message[]} */
let conversation = [];
/** Set while an answer comes in. @type {AbortController | undefined} */
let running;

byId("namespace").textContent = namespace;
document.title = `Chat · ${namespace}`;
if (matchMedia("(max-width: 60rem)").matches)
  document.querySelector("aside details")?.removeAttribute("open");
showTemperature();
page.temperature.addEventListener("input", showTemperature);
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  sendMessage();
});
byId("settings").addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", clear);
page.stop.addEventListener("click", () => running?.abort());
page.trouble.querySelector("button")?.addEventListener("click", loadModels);
page.message.addEventListener("input", fitMessage);
page.message.addEventListener("keydown", (event) => {
  // Enter also ends the choice of a word in an input method; that is not yet the message's end.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendMessage();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
await loadModels();
page.message.focus();

async function loadModels() {
  page.trouble.hidden = true;
  try {
    const models = await listModels(base);
    if (models.length === 0) throw new Error("the engine offers no model");
    page.model.replaceChildren(...models.map((id) => new Option(id)));
    page.model.disabled = models.length === 1;
    byId("welcome").querySelector("h2")?.replaceChildren(`Ask ${models[0]} something`);
    page.send.disabled = false;
  } catch (error) {
    page.model.replaceChildren(new Option("none"));
    page.trouble.querySelector("p")?.replaceChildren(`No model: ${textOf(error)}`);
    page.trouble.hidden = false;
  }
}

function sendMessage() {
  const text = page.message.value.trim();
  if (text === "" || running !== undefined || page.send.disabled) return;
  page.message.value = "";
  fitMessage();
  void exchange(text);
}

/** One question and its answer. @param {string} question */
async function exchange(question) {
  const asked = entry("user", "You");
  const answer = entry("assistant", page.model.value);
  page.log.append(asked.root, answer.root);
  asked.body.textContent = question;
  const text = new Growing(answer.body);
  const reasoning = new Growing(answer.reasoning);
  const controller = new AbortController();
  begin(controller, answer.root);
  // A new chat may begin before this answer has stopped; what still comes belongs to the old one.
  const own = conversation;
  own.push({ role: "user", content: question });
  try {
    const figures = await streamAnswer(base, requestOf(), {
      signal: controller.signal,
      onText: (piece) => text.add(piece),
      onReasoning: (piece) => reasoning.add(piece),
    });
    answer.figures.append(...figuresOf(figures));
    page.status.textContent = "The answer is complete.";
  } catch (error) {
    if (controller.signal.aborted) {
      answer.figures.append(figure("stopped"));
      page.status.textContent = "Stopped.";
    } else {
      answer.root.append(failure(textOf(error), question, [asked.root, answer.root]));
    }
  } finally {
    text.flush();
    reasoning.flush();
    if (text.whole === "") own.pop();
    else own.push({ role: "assistant", content: text.whole });
    end(answer.root);
  }
}

function requestOf() {
  const system = page.system.value.trim();
  const most = page.maxTokens.valueAsNumber;
  return {
    model: page.model.value,
    messages: [
      ...(system === "" ? [] : [/** @type {Message} */ ({ role: "system", content: system })]),
      ...conversation,
    ],
    temperature: page.temperature.valueAsNumber,
    // Empty leaves the length to the engine.
    ...(most >= 1 ? { max_tokens: Math.floor(most) } : {}),
  };
}

/**
 * @param {AbortController} controller
 * @param {HTMLElement} answer
 */
function begin(controller, answer) {
  running = controller;
  page.welcome.hidden = true;
  page.send.hidden = true;
  page.stop.hidden = false;
  page.status.textContent = "Waiting for the answer.";
  // Read out once, when it is whole, and not token by token.
  answer.setAttribute("aria-busy", "true");
  follow(true);
}

/** @param {HTMLElement} answer */
function end(answer) {
  running = undefined;
  page.send.hidden = false;
  page.stop.hidden = true;
  answer.removeAttribute("aria-busy");
  follow(false);
  page.message.focus();
}

function clear() {
  running?.abort();
  conversation = [];
  page.log.replaceChildren(page.welcome);
  page.welcome.hidden = false;
  page.status.textContent = "A new chat.";
  page.message.focus();
}

/** Text that comes in pieces: drawn at most once per frame, however fast the engine is. */
class Growing {
  #body;
  #frame = 0;
  whole = "";

  /** @param {HTMLElement} body */
  constructor(body) {
    this.#body = body;
  }

  /** @param {string} piece */
  add(piece) {
    this.whole += piece;
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#body.replaceChildren(...toNodes(this.whole));
    follow(false);
  }
}

/** Keeps the end in sight, unless the reader has scrolled up. @param {boolean} always */
function follow(always) {
  const { scrollHeight, scrollTop, clientHeight } = page.log;
  if (always || scrollHeight - scrollTop - clientHeight < 120) page.log.scrollTop = scrollHeight;
}

/**
 * @param {string} reason
 * @param {string} question
 * @param {HTMLElement[]} failed what the next try takes the place of
 */
function failure(reason, question, failed) {
  const box = element("div", "trouble");
  box.setAttribute("role", "alert");
  const again = element("button", "", "Try again");
  again.addEventListener("click", () => {
    if (running !== undefined) return;
    for (const node of failed) node.remove();
    void exchange(question);
  });
  box.append(element("p", "", reason), again);
  return box;
}

function showTemperature() {
  page.temperatureValue.textContent = page.temperature.valueAsNumber.toFixed(1);
}

function fitMessage() {
  page.message.style.height = "auto";
  page.message.style.height = `${page.message.scrollHeight}px`;
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @param {unknown} error */
function textOf(error) {
  return error instanceof Error ? error.message : String(error);
}
