// What makes a fault and takes it back: a chaos object, or a pair of Jobs for each GPU node.
import type { IntendedTarget } from "../shared/faults.ts";

/** One target as its injector reports it. */
export interface TargetState {
  readonly id: string;
  readonly pod: string;
  /** False for the other side of a partition. */
  readonly isTarget: boolean;
  /** The fault acts, or has acted. */
  readonly injected: boolean;
  readonly recovered: boolean;
  /** RFC 3339, to the second. */
  readonly injectedStamp: string | null;
  readonly recoveredStamp: string | null;
}

/**
 * Nothing acts any more. Chaos Mesh's own condition AllRecovered is true before the injection as well, so only the
 * targets tell.
 */
export function allRecovered(targets: readonly TargetState[]): boolean {
  const injected = targets.filter((target) => target.injected);
  return injected.length > 0 && injected.every(({ recovered }) => recovered);
}

/** One look at an injector. */
export interface Observation {
  readonly targets: readonly TargetState[];
  /** The injector says itself that it is in place on all of its targets. */
  readonly allInjected: boolean;
  readonly allRecovered: boolean;
  /** Why it could not act so far. */
  readonly failures: readonly string[];
  /** It has ended without having acted, and will not act any more. */
  readonly dead: boolean;
  readonly status: unknown;
  readonly objects: readonly unknown[];
}

export interface Injector {
  /** Creates what is missing; true where something was there already. */
  create(targets: readonly IntendedTarget[]): Promise<boolean>;
  /** Undefined where nothing exists. */
  look(): Promise<Observation | undefined>;
  /** Ends the fault and leaves its record readable; false where only the removal ends it. */
  stop(): Promise<boolean>;
  /** Asks for the deletion of everything. */
  remove(): Promise<void>;
  /** Frees what cannot be taken back because it never acted. */
  free(targets: readonly IntendedTarget[]): Promise<void>;
}
