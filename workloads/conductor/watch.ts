// Looks at a fault and puts what it sees into the record, each instant between the stamps of two looks.
import { describe } from "../shared/errors.ts";
import type { Bracket } from "../shared/faults.ts";
import { HttpStatusError } from "../shared/http.ts";
import { nowUnixNs } from "../shared/time.ts";
import type { Injector, Observation } from "./injector.ts";
import type { FaultFile } from "./record.ts";

export class Watch {
  readonly #file: FaultFile;
  readonly #injector: Injector;
  /** When the last look began that did not show what is waited for. */
  #lastLookUnixNs: bigint | undefined;
  /** The rights are gone: with them goes the namespace, and its objects with it. */
  denied = false;

  constructor(file: FaultFile, injector: Injector) {
    this.#file = file;
    this.#injector = injector;
  }

  /** Something else is waited for from now on. */
  beginsAnew(): void {
    this.#lastLookUnixNs = undefined;
  }

  /** One look, put into the record: null where nothing exists (any more), undefined where nobody answered. */
  async look(): Promise<Observation | null | undefined> {
    const { record } = this.#file;
    const asked = nowUnixNs();
    let seen: Observation | undefined;
    try {
      seen = await this.#injector.look();
    } catch (error) {
      const status = error instanceof HttpStatusError ? error.status : 0;
      this.denied = status === 401 || status === 403;
      this.#file.error(describe(error));
      return undefined;
    }
    const answered = nowUnixNs();
    if (seen === undefined) {
      const { recovery } = record;
      const recovered =
        recovery.recovered ??
        (record.injected.first === null || record.oneShot
          ? null
          : this.#bracket(recovery.requestedUnixNs, answered, []));
      record.recovery = { ...recovery, recovered, goneUnixNs: recovery.goneUnixNs ?? String(answered) };
      await this.#file.save();
      return null;
    }
    this.#note(seen, answered);
    this.#lastLookUnixNs = asked;
    await this.#file.save();
    return seen;
  }

  #note(seen: Observation, answered: bigint): void {
    const { record } = this.#file;
    record.finalStatus = seen.status;
    record.objects = seen.objects;
    record.actualTargets = seen.targets.map(({ injectedStamp: _a, recoveredStamp: _b, ...target }) => target);
    for (const failure of seen.failures) {
      if (!record.errors.some(({ text }) => text === failure)) this.#file.error(failure);
    }
    const created = record.created?.requestedUnixNs ?? null;
    const injected = seen.targets.map(({ injectedStamp }) => injectedStamp);
    if (record.injected.first === null && seen.targets.some((target) => target.injected)) {
      record.injected = { ...record.injected, first: this.#bracket(created, answered, injected) };
    }
    if (record.injected.all === null && seen.allInjected) {
      record.injected = { ...record.injected, all: this.#bracket(created, answered, injected) };
    }
    if (record.recovery.recovered === null && seen.allRecovered) {
      const stamps = seen.targets.map(({ recoveredStamp }) => recoveredStamp);
      record.recovery = {
        ...record.recovery,
        recovered: this.#bracket(record.recovery.requestedUnixNs, answered, stamps),
      };
    }
  }

  /** What is seen now happened after the last look that did not show it, and not before it was asked for. */
  #bracket(requestedUnixNs: string | null, answered: bigint, stamps: readonly (string | null)[]): Bracket {
    const asked = BigInt(requestedUnixNs ?? answered);
    const last = this.#lastLookUnixNs ?? asked;
    const known = stamps.filter((stamp) => stamp !== null).sort();
    const latest = last > asked ? last : asked;
    // While no conductor looked it can have happened long ago; stamps are cut to the second.
    const stamped = known[0] === undefined ? latest : BigInt(Date.parse(known[0])) * 1_000_000n;
    return {
      notBeforeUnixNs: String(stamped + 1_000_000_000n < latest ? stamped : latest),
      notAfterUnixNs: String(answered),
      stampFirst: known[0] ?? null,
      stampLast: known.at(-1) ?? null,
    };
  }

  /** What came of it, from everything that was seen. */
  decide(planned: number): void {
    const { record } = this.#file;
    const meant = record.actualTargets.filter(({ isTarget }) => isTarget);
    const hit = meant.filter(({ injected }) => injected).length;
    if (record.injected.all !== null && hit >= planned) {
      record.delivery = "delivered";
      return;
    }
    record.delivery = record.injected.first === null ? "not-delivered" : "partly";
    const silence =
      meant.length === 0
        ? "the controller selected no target"
        : `${hit} of ${planned} targets were injected within the window`;
    record.reason ??= this.#file.lastError ?? record.recovery.early ?? silence;
  }
}
