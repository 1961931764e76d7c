// Types of the fault files: the plan that a run is given, and the records that the conductor writes into faults/.

/** A Kubernetes object as it is sent: only its place and its name are looked at. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: Readonly<Record<string, unknown>>;
}

/** plan.json: every fault of every cell with the object that makes it, in the order of the cells. */
export interface FaultPlan {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  readonly faults: readonly PlanEntry[];
}

export interface PlanEntry {
  /** Unique in its cell. */
  readonly fault: string;
  readonly cell: string;
  readonly kind: string;
  /** From T0. */
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
  /** Where the targets are, if not in the run's namespace. */
  readonly targetNamespace?: string;
  /** Whom it is meant for: a label selector of the Kubernetes API, the container, and how many pods that is. */
  readonly selector: string;
  readonly container: string;
  readonly expectedTargets: number;
  /** True where it acts once and leaves nothing to revert. */
  readonly oneShot: boolean;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** The chaos object. */
  readonly object?: Manifest;
  /** In its place for a GPU: the Job that acts and the one that guards, to be made once for each target's node. */
  readonly jobs?: { readonly act: Manifest; readonly guard: Manifest };
}

/** An instant that is known to lie between two stamps of the conductor, both integer nanoseconds as text. */
export interface Bracket {
  readonly notBeforeUnixNs: string;
  readonly notAfterUnixNs: string;
  /** The injector's own stamps, where it keeps them: RFC 3339 to the second, first and last over all targets. */
  readonly stampFirst: string | null;
  readonly stampLast: string | null;
}

/** A pod that the fault was meant for, as it was right before the injection. */
export interface IntendedTarget {
  /** Where it is not the run's. */
  readonly namespace?: string;
  readonly pod: string;
  readonly uid: string;
  readonly node: string | null;
  readonly container: string;
  readonly containerId: string | null;
  readonly restartCount: number;
  readonly replica: string | null;
}

/** A target as the injector names it. */
interface ActualTarget {
  /** namespace/pod, or namespace/pod/container. */
  readonly id: string;
  readonly pod: string;
  /** False for the other side of a partition. */
  readonly isTarget: boolean;
  readonly injected: boolean;
  readonly recovered: boolean;
}

type FaultState = "planned" | "creating" | "created" | "injected" | "recovering" | "done";

/** faults/<cell>/<fault>.json. */
export interface FaultRecord {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  readonly cell: string;
  readonly fault: string;
  readonly kind: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly oneShot: boolean;
  readonly state: FaultState;
  readonly planned: {
    readonly startUnixNs: string;
    readonly endUnixNs: string;
    readonly durationSeconds: number;
  };
  /** Every intended target injected: delivered; some: partly; none: not-delivered. Null while it is not decided. */
  readonly delivery: "delivered" | "partly" | "not-delivered" | null;
  /** Why it was not delivered, or not wholly. */
  readonly reason: string | null;
  readonly intendedTargets: readonly IntendedTarget[];
  readonly actualTargets: readonly ActualTarget[];
  /** The object or objects as the API server answered them. */
  readonly objects: readonly unknown[];
  /** Requested: the first request; answered: the answer to the one that was taken. */
  readonly created: { readonly requestedUnixNs: string; readonly answeredUnixNs: string } | null;
  /** True where the object was there when a conductor came to it. */
  readonly adopted: boolean;
  readonly injected: { readonly first: Bracket | null; readonly all: Bracket | null };
  readonly recovery: {
    readonly requestedUnixNs: string | null;
    /** All targets recovered; for a fault that acts once there is none. */
    readonly recovered: Bracket | null;
    /** The object no longer exists. */
    readonly goneUnixNs: string | null;
    /** True where the object had to be freed without its injector: it never acted, and could not be taken back. */
    readonly forced: boolean;
    /** Why it ended before its planned end. */
    readonly early: string | null;
  };
  /** The object's status, or the Jobs' pods, when last seen. */
  readonly finalStatus: unknown;
  /** What went wrong on the way, the same text once with its count. */
  readonly errors: readonly { readonly unixNs: string; readonly text: string; readonly count: number }[];
  /** How often a conductor has begun with this fault. */
  readonly conductorStarts: number;
}

/** One line of faults/pods.jsonl: a pod of Ray, or of the entry where a fault means it, whenever it has changed. */
export interface PodLine {
  readonly unixNs: string;
  /** Where it is not the run's. */
  readonly namespace?: string;
  readonly pod: string;
  readonly uid: string;
  readonly nodeType: string | null;
  readonly replica: string | null;
  readonly node: string | null;
  /** "gone" where the pod no longer exists. */
  readonly phase: string;
  readonly ready: boolean;
  readonly containers: readonly {
    readonly name: string;
    readonly id: string | null;
    readonly restartCount: number;
    readonly ready: boolean;
  }[];
}

/** One line of faults/probes.jsonl: one TCP connection to a watched pod. */
export interface ProbeLine {
  readonly unixNs: string;
  readonly pod: string;
  /** Time to the established connection; null where there was none. */
  readonly connectMs: number | null;
  readonly error?: string;
}

/** faults/conductor.json: its presence says that the conductor has ended. */
export interface ConductorReport {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  readonly endedUnixNs: string;
  readonly faults: number;
  readonly delivered: number;
}
