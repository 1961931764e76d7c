// Faults of an experiment: every kind with its parameters and units, whom it hits and when; named by what they do.

import * as z from "zod";

const percent = (what: string) => z.number().min(0).max(100).describe(what);
const positive = (what: string) => z.number().positive().describe(what);
const count = (what: string) => z.int().min(1).describe(what);

const targetSchema = z
  .union([
    z.enum(["head", "replicas", "entry"]),
    z.strictObject({ replica: z.int().min(0) }),
    z.strictObject({ replicasPercent: z.number().positive().max(100) }),
  ])
  .describe(
    "head, replicas, entry, { replica: a number from 0 } or { replicasPercent: more than 0, at most 100 }",
  );

const cellsSchema = z
  .union([z.enum(["all", "odd", "even"]), z.array(z.int().min(1)).min(1)])
  .describe("all, odd, even, or a list of cells by their number in the order of play, from 1");

const common = {
  target: targetSchema,
  startOffsetSeconds: z.number().min(0).default(0).describe("seconds from the start of the fault phase"),
  durationSeconds: z
    .number()
    .min(1)
    .nullable()
    .default(null)
    .describe("at least 1 second, or null for up to the end of the fault phase"),
  cells: cellsSchema.default("all"),
};

const correlationPercent = percent("how much each packet follows the one before, 0 to 100").default(0);
const ioPlace = {
  volumePath: z
    .string()
    .startsWith("/")
    .describe("the absolute path in the container where a volume is mounted"),
  percent: z
    .int()
    .min(1)
    .max(100)
    .default(100)
    .describe("the share of operations in whole percent, 1 to 100"),
};

/** One fault. Kinds that Chaos Mesh injects, and two that set limits of a GPU. */
export const faultSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("cpu"),
    workers: count("the number of processes that compute"),
    loadPercent: z.int().min(1).max(100).default(100).describe("the load of each worker, 1 to 100"),
    ...common,
  }),
  z.strictObject({
    kind: z.literal("memory"),
    sizeMebibytes: count("how much memory is taken in all, in MiB"),
    workers: count("the number of threads that take it").default(1),
    ...common,
  }),
  z.strictObject({
    kind: z.literal("network-delay"),
    latencyMilliseconds: positive("milliseconds that each outgoing packet waits"),
    jitterMilliseconds: z.number().min(0).default(0).describe("milliseconds"),
    correlationPercent,
    ...common,
  }),
  z.strictObject({
    kind: z.literal("network-loss"),
    percent: percent("the share of outgoing packets that are lost, 0 to 100"),
    correlationPercent,
    ...common,
  }),
  z.strictObject({
    kind: z.literal("network-corrupt"),
    percent: percent("the share of outgoing packets that are corrupted, 0 to 100"),
    correlationPercent,
    ...common,
  }),
  z.strictObject({
    kind: z.literal("network-bandwidth"),
    rateMebibitsPerSecond: positive("Mibit/s that may leave"),
    queueKibibytes: count("what may wait, in KiB").default(1024),
    burstKibibytes: count("what may leave at once, in KiB").default(64),
    ...common,
  }),
  z.strictObject({
    kind: z.literal("network-partition"),
    peer: z
      .enum(["everything", "head", "other-replicas"])
      .default("everything")
      .describe("from whom the target is cut off, in both directions"),
    ...common,
  }),
  z.strictObject({
    kind: z.literal("pod-kill"),
    gracePeriodSeconds: z.int().min(0).default(0).describe("seconds that the pod has to end by itself"),
    ...common,
  }),
  z.strictObject({ kind: z.literal("container-kill"), ...common }),
  z.strictObject({ kind: z.literal("pod-failure"), ...common }),
  z.strictObject({
    kind: z.literal("io-latency"),
    latencyMilliseconds: positive("milliseconds that each operation waits"),
    ...ioPlace,
    ...common,
  }),
  z.strictObject({
    kind: z.literal("io-error"),
    errno: z.int().min(1).max(133).describe("the error's number, e.g. 5 for EIO or 28 for ENOSPC"),
    ...ioPlace,
    ...common,
  }),
  z.strictObject({
    kind: z.literal("time-offset"),
    offsetSeconds: z
      .number()
      .refine((value) => value !== 0)
      .describe("seconds by which the clock is wrong, not 0"),
    ...common,
  }),
  z.strictObject({
    kind: z.literal("gpu-power-cap"),
    powerWatts: positive("the power limit of each GPU in watts"),
    ...common,
  }),
  z.strictObject({
    kind: z.literal("gpu-clock-cap"),
    clockMegahertz: count("the highest clock of each GPU's processors in MHz"),
    ...common,
  }),
]);

type MergedFault = z.output<typeof faultSchema>;
/** A fault with its duration explicit. */
export type Fault = MergedFault & { readonly durationSeconds: number };
export type FaultKind = Fault["kind"];

/** Kinds that need no Chaos Mesh: a Job sets a limit of the GPU. */
export function isGpuFault(fault: { readonly kind: FaultKind }): boolean {
  return fault.kind === "gpu-power-cap" || fault.kind === "gpu-clock-cap";
}

/** Kinds that act once: there is nothing to revert. */
export function isOneShot(fault: { readonly kind: FaultKind }): boolean {
  return fault.kind === "pod-kill" || fault.kind === "container-kill";
}

/** Whether any fault acts on the cluster's entry, which lies outside the experiment's namespace. */
export function targetsEntry(faults: readonly Pick<Fault, "target">[]): boolean {
  return faults.some(({ target }) => target === "entry");
}

/** With every duration explicit: up to the end of the fault phase where none is given. */
export function withDurations(faults: readonly MergedFault[], faultSeconds: number): Fault[] {
  return faults.map((fault) => ({
    ...fault,
    durationSeconds: fault.durationSeconds ?? faultSeconds - fault.startOffsetSeconds,
  }));
}

/** Numbers of the replicas that a target means; none for other pods. A share is rounded up, from replica 0 on. */
export function targetedReplicas(target: Fault["target"], dataParallelism: number): number[] {
  if (target === "head" || target === "entry") return [];
  if (typeof target === "object" && "replica" in target) return [target.replica];
  const share = target === "replicas" ? 100 : target.replicasPercent;
  return Array.from({ length: Math.ceil((dataParallelism * share) / 100) }, (_, index) => index);
}

/** Whether a fault is made in the cell with this number, from 1 in the order of play. */
export function isInCell({ cells }: Fault, number: number): boolean {
  if (cells === "all") return true;
  if (cells === "odd" || cells === "even") return (number % 2 === 0) === (cells === "even");
  return cells.includes(number);
}
