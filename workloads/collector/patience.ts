// Retries over short absences (a restart of the API server, of Prometheus) within one budget of waiting per server.
import { setTimeout as sleep } from "node:timers/promises";
import { isTransient } from "../shared/http.ts";

/** Waits for a server at most so long in all: once it is spent, a server that is away costs no more time. */
export class Patience {
  #leftMs: number;

  constructor(seconds: number) {
    this.#leftMs = seconds * 1000;
  }

  async run<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!isTransient(error) || this.#leftMs <= 0) throw error;
        const waitMs = Math.min(1000, this.#leftMs);
        this.#leftMs -= waitMs;
        await sleep(waitMs);
      }
    }
  }
}
