// Reads a program's environment variables and reports everything that is wrong with them at once.
import { StopError } from "./errors.ts";

interface NumberOptions {
  readonly minimum?: number;
  readonly maximum?: number;
  readonly integer?: boolean;
  /** Used where the variable is unset or empty; without it the variable is required. */
  readonly fallback?: number;
}

/** Collects problems while values are read; call `check()` before any value is used. */
export class Env {
  readonly #source: Readonly<Record<string, string | undefined>>;
  readonly #problems: string[] = [];

  constructor(source: Readonly<Record<string, string | undefined>> = process.env) {
    this.#source = source;
  }

  text(key: string, fallback?: string): string {
    const value = this.#source[key];
    if (value !== undefined && value !== "") return value;
    if (fallback === undefined) this.#problems.push(`${key} is not set`);
    return fallback ?? "";
  }

  oneOf<T extends string>(key: string, allowed: readonly T[], fallback?: T): T {
    const value = this.text(key, fallback);
    const found = allowed.find((candidate) => candidate === value);
    if (found === undefined && value !== "") {
      this.#problems.push(`${key} is "${value}", allowed: ${allowed.join(", ")}`);
    }
    return found ?? (allowed[0] as T);
  }

  number(key: string, options: NumberOptions = {}): number {
    const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER, integer = false, fallback } = options;
    const text = this.text(key, fallback === undefined ? undefined : String(fallback));
    if (text === "") return 0;
    const value = Number(text);
    if (
      !Number.isFinite(value) ||
      value < minimum ||
      value > maximum ||
      (integer && !Number.isInteger(value))
    ) {
      const range = maximum === Number.MAX_SAFE_INTEGER ? `>= ${minimum}` : `${minimum} to ${maximum}`;
      this.#problems.push(`${key} is "${text}", allowed: ${integer ? "an integer" : "a number"}, ${range}`);
    }
    return value;
  }

  url(key: string, fallback?: string): string {
    const value = this.text(key, fallback);
    if (value === "") return value;
    if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
      this.#problems.push(`${key} is "${value}", allowed: an http or https URL`);
    }
    return value.replace(/\/+$/, "");
  }

  /** Throws one error that lists every problem. */
  check(): void {
    if (this.#problems.length === 0) return;
    throw new StopError(`environment is wrong: ${this.#problems.join("; ")}`);
  }
}
