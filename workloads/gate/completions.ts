// Small real completions, as the gate sends them to find out whether an engine answers.
import { describe, say } from "../shared/errors.ts";
import { type HttpResponse, request } from "../shared/http.ts";

export interface CompletionArgs {
  readonly experimentId: string;
  /** The server, with or without /v1, or the whole path of completions. */
  readonly serveUrl: string;
  readonly model: string;
  readonly api: "chat" | "completions";
  readonly requestTimeoutSeconds: number;
  /** Tells every completion. */
  readonly debug: boolean;
}

export class Completions {
  readonly #args: CompletionArgs;
  readonly #url: string;
  /** How many were sent. */
  attempts = 0;

  constructor(args: CompletionArgs) {
    this.#args = args;
    this.#url = completionUrl(args);
  }

  /** The answer, or why there is none. */
  async send(): Promise<HttpResponse | string> {
    this.attempts += 1;
    const attempt = this.attempts;
    const started = performance.now();
    const result = await this.#send(attempt);
    if (this.#args.debug) {
      const milliseconds = (performance.now() - started).toFixed(0);
      say(
        "gate",
        `completion ${attempt}: ${typeof result === "string" ? result : result.status}, ${milliseconds} ms`,
      );
    }
    return result;
  }

  async #send(attempt: number): Promise<HttpResponse | string> {
    const { model, api, experimentId, requestTimeoutSeconds } = this.#args;
    const prompt = `Say hello (${experimentId} gate ${attempt}).`;
    const input = api === "chat" ? { messages: [{ role: "user", content: prompt }] } : { prompt };
    const url = this.#url;
    try {
      const response = await request({
        url,
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model, ...input, max_tokens: 4, temperature: 0 }),
        timeoutSeconds: requestTimeoutSeconds,
      });
      const text = response.body.toString("utf8");
      if (response.status !== 200) return `${url} answered ${response.status}: ${text.slice(0, 200)}`;
      const choices = (JSON.parse(text) as { choices?: unknown[] }).choices;
      return Array.isArray(choices) && choices.length > 0 ? response : `${url} answered 200 without choices`;
    } catch (error) {
      return describe(error);
    }
  }
}

function completionUrl({ serveUrl, api }: CompletionArgs): string {
  if (/\/completions$/.test(serveUrl)) return serveUrl;
  const base = serveUrl.replace(/\/v1$/, "");
  return `${base}/v1/${api === "chat" ? "chat/completions" : "completions"}`;
}
