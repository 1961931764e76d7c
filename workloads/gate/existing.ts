// The gate in front of an engine of others: nobody here sees its replicas, so it only has to answer often enough.
import type { Replica } from "../shared/rows.ts";
import { found, type Look, missing } from "../shared/wait.ts";
import type { Completions } from "./completions.ts";

export class ExistingEngine {
  readonly #completions: Completions;
  readonly #expectedAnswers: number;
  #answered = 0;

  constructor(completions: Completions, expectedAnswers: number) {
    this.#completions = completions;
    this.#expectedAnswers = expectedAnswers;
  }

  /** Passes after so many answers in a row, one after the other; a failure begins anew. */
  async look(): Promise<Look<readonly Replica[]>> {
    while (this.#answered < this.#expectedAnswers) {
      const result = await this.#completions.send();
      if (typeof result === "string") {
        const before = this.#answered;
        this.#answered = 0;
        return missing(
          `the service has answered ${before} of ${this.#expectedAnswers} completions in a row; last problem: ${result}`,
        );
      }
      this.#answered += 1;
    }
    return found([]);
  }
}
