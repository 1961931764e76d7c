// @ts-check
// The parts of a conversation: what was said by whom, and the times of an answer.

/** @typedef {import("./completion.js").Figures} Figures */

/**
 * One thing that was said; its body is still empty.
 * @param {"user" | "assistant"} role
 * @param {string} speaker
 */
export function entry(role, speaker) {
  const root = element("article", role);
  root.setAttribute("aria-label", role === "user" ? "You" : `Answer of ${speaker}`);
  const heading = element("h3", role === "user" ? "hidden" : "quiet", speaker);
  const reasoning = element("div", "reasoning");
  const body = element("div", "body");
  const figures = element("p", "figures");
  root.append(heading, reasoning, body, figures);
  return { root, reasoning, body, figures };
}

/** @param {Figures} figures */
export function figuresOf({ ttftMs, totalMs, tokens, tokensPerSecond, finishReason }) {
  const parts = [
    ...(ttftMs === null
      ? []
      : [figure(`TTFT ${Math.round(ttftMs)} ms`, "Time from sending to the first token")]),
    ...(tokensPerSecond === null
      ? []
      : [figure(`${tokensPerSecond.toFixed(1)} tokens/s`, "Tokens per second after the first one")]),
    figure(`${tokens} tokens`, "Length of the answer"),
    figure(`${(totalMs / 1000).toFixed(1)} s`, "Time from sending to the end"),
  ];
  return finishReason === "length" ? [...parts, figure("cut off at the limit")] : parts;
}

/**
 * @param {string} text
 * @param {string} [meaning]
 */
export function figure(text, meaning) {
  const node = element("span", "", text);
  if (meaning !== undefined) node.title = meaning;
  return node;
}

/**
 * @param {string} name
 * @param {string} className
 * @param {string} [text]
 */
export function element(name, className, text) {
  const node = document.createElement(name);
  if (className !== "") node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
