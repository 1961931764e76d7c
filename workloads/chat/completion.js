// @ts-check
// Talks to an OpenAI-compatible server: the list of its models, and one streamed answer with its times.

/** @typedef {{ role: "system" | "user" | "assistant", content: string }} Message */
/** @typedef {{ model: string, messages: Message[], temperature?: number, max_tokens?: number }} ChatRequest */
/** @typedef {{ onText: (text: string) => void, onReasoning: (text: string) => void, signal: AbortSignal }} Listener */

/**
 * Times of one answer as the browser saw them; null where there was nothing to time.
 * `tokensPerSecond` is the rate after the first token. `tokens` is the engine's count, or else the number of chunks.
 * @typedef {{
 *   ttftMs: number | null, totalMs: number, tokens: number, tokensPerSecond: number | null, finishReason: string | null
 * }} Figures
 */

/**
 * Ids of the models that the server offers.
 * @param {string} base address that ends in /v1
 * @returns {Promise<string[]>}
 */
export async function listModels(base) {
  const response = await answerOf(`${base}/models`, {});
  const { data } = await response.json();
  return data.map((/** @type {{ id: string }} */ model) => model.id);
}

/**
 * Streams one answer. Throws an Error with a message for people when the server refuses or the stream breaks off, and
 * an AbortError when the listener's signal stops it.
 * @param {string} base address that ends in /v1
 * @param {ChatRequest} request
 * @param {Listener} listener
 * @returns {Promise<Figures>}
 */
export async function streamAnswer(base, request, listener) {
  const clock = new Clock();
  const response = await answerOf(`${base}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal: listener.signal,
  });
  /** @type {string | null} */
  let finishReason = null;
  for await (const data of eventsOf(response)) {
    if (data === "[DONE]") return clock.figures(finishReason);
    const chunk = JSON.parse(data);
    if (chunk.error !== undefined) throw new Error(messageOf(chunk) ?? "the engine reported an error");
    if (chunk.usage) clock.tokens = chunk.usage.completion_tokens;
    const [choice] = chunk.choices ?? [];
    if (choice === undefined) continue;
    finishReason = choice.finish_reason ?? finishReason;
    const reasoning = choice.delta?.reasoning_content ?? choice.delta?.reasoning;
    const text = choice.delta?.content;
    if (reasoning || text) clock.tick();
    if (reasoning) listener.onReasoning(reasoning);
    if (text) listener.onText(text);
  }
  // Some servers leave the last event out; an answer that has ended is whole all the same.
  if (finishReason !== null) return clock.figures(finishReason);
  throw new Error("the answer broke off: the connection ended before the engine was done");
}

class Clock {
  #start = performance.now();
  #first = 0;
  #last = 0;
  #chunks = 0;
  /** The engine's own count, where it sends one. @type {number | undefined} */
  tokens;

  tick() {
    this.#last = performance.now();
    if (this.#chunks === 0) this.#first = this.#last;
    this.#chunks += 1;
  }

  /**
   * @param {string | null} finishReason
   * @returns {Figures}
   */
  figures(finishReason) {
    const tokens = this.tokens ?? this.#chunks;
    const seconds = (this.#last - this.#first) / 1000;
    return {
      ttftMs: this.#chunks === 0 ? null : this.#first - this.#start,
      totalMs: performance.now() - this.#start,
      tokens,
      tokensPerSecond: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null,
      finishReason,
    };
  }
}

/**
 * The response, or an Error that says what the server or the proxy said.
 * @param {string} url
 * @param {RequestInit} options
 */
async function answerOf(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("the server cannot be reached: is the entry proxy up, and this machine online?");
  }
  if (response.ok) return response;
  const text = await response.text();
  let said;
  try {
    said = messageOf(JSON.parse(text));
  } catch {
    said = text.startsWith("<") ? undefined : text.trim().slice(0, 500);
  }
  throw new Error(`${said || response.statusText || "no reason given"} (HTTP ${response.status})`);
}

/**
 * The message in an error of OpenAI's shape, of vLLM's older one, or of a plain web framework.
 * @param {any} body
 * @returns {string | undefined}
 */
function messageOf(body) {
  const said = body?.error?.message ?? body?.error ?? body?.message ?? body?.detail;
  return said === undefined || typeof said === "string" ? said : JSON.stringify(said);
}

/**
 * The data of each server-sent event.
 * @param {Response} response
 * @returns {AsyncGenerator<string>}
 */
async function* eventsOf(response) {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split(/\r?\n\r?\n/);
    rest = events.pop() ?? "";
    for (const event of events) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length > 0) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}
