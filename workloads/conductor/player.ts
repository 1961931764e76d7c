// Plays one fault: selects its targets, makes it on time, watches it, takes it back, and writes down what was seen when.
import { setTimeout as sleep } from "node:timers/promises";
import { describe } from "../shared/errors.ts";
import type { IntendedTarget, PlanEntry } from "../shared/faults.ts";
import { isTransient } from "../shared/http.ts";
import type { KubeClient, Pod } from "../shared/kube.ts";
import { nowUnixNs, secondsBetween } from "../shared/time.ts";
import type { Injector, Observation } from "./injector.ts";
import type { FaultFile } from "./record.ts";
import { Watch } from "./watch.ts";

export interface PlayerOptions {
  readonly kube: KubeClient;
  readonly namespace: string;
  readonly entry: PlanEntry;
  readonly file: FaultFile;
  readonly injector: Injector;
  /** Why there is no load that the fault could meet. */
  readonly whyNoLoad: () => string | undefined;
  /** Aborted when the conductor is told to stop. */
  readonly stopping: AbortSignal;
  readonly pollSeconds: number;
  /** How long a recovery, and after it a removal, may take. */
  readonly recoverySeconds: number;
  readonly say: (text: string) => void;
}

/** Targets are selected so long before the injection. */
const selectSeconds = 2;
/** How often a fault that acts is looked at. */
const holdSeconds = 1;
/** A fault that has never acted is not waited for as long as one that must be reverted. */
const freeSeconds = 5;

export class Player {
  readonly #options: PlayerOptions;
  readonly #file: FaultFile;
  readonly #watch: Watch;

  constructor(options: PlayerOptions) {
    this.#options = options;
    this.#file = options.file;
    this.#watch = new Watch(options.file, options.injector);
  }

  /** Returns when the fault is done, or when the conductor is stopped before it has begun. */
  async play(): Promise<void> {
    const { record } = this.#file;
    if (record.state === "done") return;
    if (record.state === "planned" && !(await this.#prepare())) return;
    if (record.state === "creating" && !(await this.#create())) return;
    if (record.state === "created") await this.#awaitInjection();
    if (record.state === "injected") await this.#hold();
    await this.#recover();
  }

  get #name(): string {
    return `${this.#options.entry.fault} of ${this.#options.entry.cell}`;
  }

  get #stopped(): boolean {
    return this.#options.stopping.aborted;
  }

  get #over(): boolean {
    return nowUnixNs() >= this.#file.endUnixNs;
  }

  /** Selects the targets and waits for the start; false where the fault is not to be made. */
  async #prepare(): Promise<boolean> {
    const { record, startUnixNs } = this.#file;
    if (this.#over) {
      await this.#notDelivered("its window had passed when the conductor came to it");
      return false;
    }
    await this.#waitUntil(startUnixNs - BigInt(selectSeconds * 1e9));
    const selecting = (): boolean => !this.#over && !this.#stopped && this.#options.whyNoLoad() === undefined;
    while (record.intendedTargets.length === 0 && selecting()) {
      record.intendedTargets = (await this.#try(() => this.#selectTargets())) ?? [];
      if (record.intendedTargets.length === 0) await this.#pause();
    }
    await this.#waitUntil(startUnixNs);
    if (this.#stopped) return false;
    const idle = this.#options.whyNoLoad();
    if (idle !== undefined) {
      await this.#notDelivered(idle);
      return false;
    }
    if (record.intendedTargets.length === 0) {
      await this.#notDelivered(this.#file.lastError ?? `no pod matches ${this.#options.entry.selector}`);
      return false;
    }
    const { expectedTargets } = this.#options.entry;
    if (record.intendedTargets.length !== expectedTargets) {
      this.#file.error(`${record.intendedTargets.length} pods match, ${expectedTargets} were planned`);
    }
    // Written before the request: whoever comes after a cut looks for the object.
    record.state = "creating";
    await this.#file.save();
    return true;
  }

  async #selectTargets(): Promise<readonly IntendedTarget[]> {
    const { kube, namespace, entry } = this.#options;
    const query = new URLSearchParams({ labelSelector: entry.selector });
    const elsewhere = entry.targetNamespace;
    const pods = await kube.list<Pod>(`/api/v1/namespaces/${elsewhere ?? namespace}/pods?${query}`);
    return pods
      .filter((pod) => pod.status?.phase === "Running" || pod.status?.phase === undefined)
      .map((pod) => {
        const status = pod.status?.containerStatuses?.find(({ name }) => name === entry.container);
        return {
          ...(elsewhere === undefined ? {} : { namespace: elsewhere }),
          pod: pod.metadata.name,
          uid: pod.metadata.uid ?? "",
          node: pod.spec.nodeName ?? null,
          container: entry.container,
          containerId: status?.containerID ?? null,
          restartCount: status?.restartCount ?? 0,
          replica: pod.metadata.labels?.["llmeval/replica"] ?? null,
        };
      });
  }

  /** Makes the fault, again and again while its window is open; false where there is none in the end. */
  async #create(): Promise<boolean> {
    const { injector, say } = this.#options;
    const { record } = this.#file;
    let requested: bigint | undefined;
    let refused: string | undefined;
    while (refused === undefined && !this.#over && !this.#stopped) {
      const now = nowUnixNs();
      requested ??= now;
      try {
        record.adopted = await injector.create(record.intendedTargets);
        const late = secondsBetween(this.#file.startUnixNs, requested);
        record.created = { requestedUnixNs: String(requested), answeredUnixNs: String(nowUnixNs()) };
        record.state = "created";
        await this.#file.save();
        say(
          `${this.#name}: ${record.adopted ? "is there already" : "created"}, ${late.toFixed(1)} s after its start`,
        );
        return true;
      } catch (error) {
        this.#file.error(describe(error));
        if (!isTransient(error)) refused = describe(error);
        else await this.#pause();
      }
    }
    // A request whose answer got lost may have been taken.
    if ((await this.#lookPatiently()) !== undefined) {
      record.created ??= {
        requestedUnixNs: String(requested ?? nowUnixNs()),
        answeredUnixNs: String(nowUnixNs()),
      };
      record.adopted = true;
      record.state = "created";
      await this.#file.save();
      return true;
    }
    if (this.#stopped && !this.#over) record.state = "planned";
    else
      await this.#notDelivered(
        refused ?? this.#file.lastError ?? "its window had passed before it could be made",
      );
    await this.#file.save();
    return false;
  }

  async #awaitInjection(): Promise<void> {
    const { record } = this.#file;
    while (!this.#over && !this.#stopped) {
      const seen = await this.#watch.look();
      if (seen === null) return this.#removedByOthers();
      if (seen?.dead === true) return;
      if (record.injected.all !== null) {
        record.state = "injected";
        await this.#file.save();
        this.#options.say(
          `${this.#name}: injected into ${record.actualTargets.filter(({ isTarget }) => isTarget).length} targets`,
        );
        return;
      }
      await this.#pause();
    }
  }

  async #hold(): Promise<void> {
    while (!this.#over && !this.#stopped) {
      if ((await this.#watch.look()) === null) return this.#removedByOthers();
      const left = secondsBetween(nowUnixNs(), this.#file.endUnixNs);
      await this.#pause(Math.max(0, Math.min(holdSeconds, left)));
    }
  }

  /** It is not made again: whoever removed it wants it to end. */
  #removedByOthers(): void {
    const { record } = this.#file;
    const early = "the object was removed by somebody else";
    record.recovery = { ...record.recovery, early };
    if (record.injected.all === null) record.reason = early;
  }

  async #recover(): Promise<void> {
    const { injector, recoverySeconds, say } = this.#options;
    const { record } = this.#file;
    if (record.state !== "recovering") {
      record.state = "recovering";
      const early = this.#stopped && !this.#over ? "the conductor was stopped" : record.recovery.early;
      record.recovery = { ...record.recovery, requestedUnixNs: String(nowUnixNs()), early };
      await this.#file.save();
    }
    this.#watch.beginsAnew();
    const acted = (): boolean => record.injected.first !== null;
    // Told to stop there is no time for a full record: the removal reverts as well.
    const paused =
      acted() && !this.#stopped && (await this.#tryFor(recoverySeconds, () => injector.stop())) === true;
    if (paused) {
      await this.#watchFor(recoverySeconds, () => record.recovery.recovered !== null || this.#stopped);
    }
    await this.#tryFor(recoverySeconds, () => injector.remove().then(() => true));
    await this.#watchFor(acted() ? recoverySeconds : Math.min(freeSeconds, recoverySeconds), () => false);
    // What acts is never freed: the controller goes on trying to take it back.
    if (record.recovery.goneUnixNs === null && (!acted() || record.recovery.recovered !== null)) {
      record.recovery = { ...record.recovery, forced: true };
      await this.#tryFor(recoverySeconds, () => injector.free(record.intendedTargets).then(() => true));
      await this.#watchFor(recoverySeconds, () => false);
    }
    this.#watch.decide(this.#options.entry.expectedTargets);
    // Stopped half-way it is not done: the next conductor goes on here.
    if (record.recovery.goneUnixNs !== null || !this.#stopped) record.state = "done";
    await this.#file.save();
    say(
      `${this.#name}: ${record.delivery}${record.reason === null ? "" : ` (${record.reason})`}, ${this.#ending()}`,
    );
  }

  #ending(): string {
    const { recovery, oneShot } = this.#file.record;
    if (recovery.goneUnixNs === null) return "its object is still there";
    if (recovery.forced) return "its object was freed";
    return oneShot || recovery.recovered === null ? "removed" : "recovered and removed";
  }

  /** Looks until the object is gone, something else is reached, or the time is up. */
  async #watchFor(seconds: number, reached: () => boolean): Promise<void> {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
      if (
        (await this.#watch.look()) === null ||
        reached() ||
        (this.#stopped && this.#watch.denied) ||
        performance.now() >= deadline
      )
        return;
      await sleep(this.#options.pollSeconds * 1000);
    }
  }

  async #notDelivered(reason: string): Promise<void> {
    this.#file.record.state = "done";
    this.#file.record.delivery = "not-delivered";
    this.#file.record.reason = reason;
    await this.#file.save();
    this.#options.say(`${this.#name}: not delivered: ${reason}`);
  }

  async #lookPatiently(): Promise<Observation | undefined> {
    const seconds = this.#stopped ? freeSeconds : this.#options.recoverySeconds;
    return this.#tryFor(seconds, () => this.#options.injector.look());
  }

  /** The value, or undefined where the API does not answer; the error is in the record. */
  async #try<T>(call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      this.#file.error(describe(error));
      return undefined;
    }
  }

  /** Repeats a call while the API is away. */
  async #tryFor<T>(seconds: number, call: () => Promise<T>): Promise<T | undefined> {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
      try {
        return await call();
      } catch (error) {
        this.#file.error(describe(error));
        if (!isTransient(error) || performance.now() >= deadline) return undefined;
        await sleep(this.#options.pollSeconds * 1000);
      }
    }
  }

  /** Returns early when the conductor is told to stop, and when there is no load. */
  async #waitUntil(unixNs: bigint): Promise<void> {
    while (!this.#stopped && this.#options.whyNoLoad() === undefined && nowUnixNs() < unixNs) {
      await this.#pause(Math.min(holdSeconds, secondsBetween(nowUnixNs(), unixNs)));
    }
  }

  async #pause(seconds: number = this.#options.pollSeconds): Promise<void> {
    await sleep(seconds * 1000, undefined, { signal: this.#options.stopping }).catch(() => undefined);
  }
}
