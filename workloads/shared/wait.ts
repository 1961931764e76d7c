// Bounded waits that say what they wait for.
import { setTimeout as sleep } from "node:timers/promises";
import { StopError } from "./errors.ts";

/** What one look has found: the value, or why it is not there yet. */
export type Look<T> =
  | { readonly done: true; readonly value: T }
  | { readonly done: false; readonly missing: string };

export interface WaitOptions<T> {
  /** Completes the sentence "timed out after N s waiting for ...". */
  readonly what: string;
  readonly timeoutSeconds: number;
  /** @default 1 */
  readonly intervalSeconds?: number;
  readonly look: () => Promise<Look<T>>;
  /** Called with what is missing, whenever that changes and at least every 15 s. */
  readonly progress?: (missing: string) => void;
}

export function found<T>(value: T): Look<T> {
  return { done: true, value };
}

export function missing(text: string): Look<never> {
  return { done: false, missing: text };
}

export async function waitFor<T>(options: WaitOptions<T>): Promise<T> {
  const { what, timeoutSeconds, intervalSeconds = 1, look, progress } = options;
  const deadline = performance.now() + timeoutSeconds * 1000;
  let said = "";
  let saidAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    const result = await look();
    if (result.done) return result.value;
    const now = performance.now();
    if (result.missing !== said || now - saidAt > 15_000) {
      progress?.(result.missing);
      said = result.missing;
      saidAt = now;
    }
    if (now + intervalSeconds * 1000 > deadline) {
      throw new StopError(`timed out after ${timeoutSeconds} s waiting for ${what}: ${result.missing}`);
    }
    await sleep(intervalSeconds * 1000);
  }
}
