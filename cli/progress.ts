// Progress lines on stderr: stdout is for what other programs read.

/** Prints progress on stderr with the seconds since the start, no more often than asked. */
export class Progress {
  readonly #start = performance.now();
  readonly #gapMs: number;
  #last = Number.NEGATIVE_INFINITY;

  constructor(gapSeconds: number) {
    this.#gapMs = gapSeconds * 1000;
  }

  say(text: string): void {
    const now = performance.now();
    if (now - this.#last < this.#gapMs) return;
    this.#last = now;
    this.always(text);
  }

  always(text: string): void {
    const seconds = Math.round((performance.now() - this.#start) / 1000);
    process.stderr.write(`[${String(seconds).padStart(4)} s] ${text}\n`);
  }
}
