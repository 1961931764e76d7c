// Shows how a suite goes: the page, drawn anew in its place, in a terminal; elsewhere a line for each change.

import { changeLine, headline, renderPage } from "./page.ts";
import type { SuiteState } from "./state.ts";

interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

const redrawMilliseconds = 250;
const tickMilliseconds = 1000;

export class Show {
  readonly #screen: Screen;
  readonly #gapMilliseconds: number;
  readonly #lines = new Map<
    string,
    { readonly status: string; readonly text: string; readonly at: number }
  >();
  #height = 0;
  #drawn = Number.NEGATIVE_INFINITY;
  #state: SuiteState | undefined;
  #tick: NodeJS.Timeout | undefined;

  /** `progressSeconds`: shortest time between two lines on the progress of one case. */
  constructor(screen: Screen, progressSeconds: number) {
    this.#screen = screen;
    this.#gapMilliseconds = progressSeconds * 1000;
  }

  readonly update = (state: SuiteState): void => {
    this.#state = state;
    const terminal = this.#screen.isTTY === true;
    // A line that comes too soon after another is shown later.
    this.#tick ??= setInterval(() => (terminal ? this.#draw() : this.#log(this.#state)), tickMilliseconds);
    if (!terminal) this.#log(state);
    else if (performance.now() - this.#drawn >= redrawMilliseconds) this.#draw();
  };

  #log(state: SuiteState | undefined): void {
    for (const one of state?.cases ?? []) {
      const last = this.#lines.get(one.name);
      const text = changeLine(one);
      const now = performance.now();
      if (last === undefined && one.status === "pending") continue;
      if (last?.text === text || (last?.status === one.status && now - last.at < this.#gapMilliseconds))
        continue;
      this.#lines.set(one.name, { status: one.status, text, at: now });
      this.#screen.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
    }
  }

  /** The last page; nothing is drawn after it. */
  end(state: SuiteState): void {
    clearInterval(this.#tick);
    this.#tick = undefined;
    this.#state = state;
    if (this.#screen.isTTY === true) this.#draw();
    else this.#screen.write(`${headline(state, new Date(), false)}\n`);
  }

  #draw(): void {
    if (this.#state === undefined) return;
    this.#drawn = performance.now();
    const page = renderPage({
      state: this.#state,
      now: new Date(),
      isPlayed: this.#tick !== undefined,
      ...(this.#screen.columns === undefined ? {} : { columns: this.#screen.columns }),
    });
    // What has left the screen at its top cannot be drawn anew.
    const lines = page.split("\n").slice(0, (this.#screen.rows ?? Number.POSITIVE_INFINITY) - 1);
    const back = this.#height === 0 ? "" : `\u001b[${this.#height}A\u001b[J`;
    this.#screen.write(`${back}${lines.join("\n")}\n`);
    this.#height = lines.length;
  }
}
