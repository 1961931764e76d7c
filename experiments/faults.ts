// Faults of an experiment: every kind with its parameters and units, whom it hits and when; named by what they do.

import * as z from "zod";
import { formatPath } from "../components/config-problems.ts";
import type { OriginOf, Problem } from "./problems.ts";
import type { ResolvedExperiment } from "./schema.ts";
import { type Cell, timelineOf } from "./timeline.ts";

const percent = (what: string) => z.number().min(0).max(100).describe(what);
const positive = (what: string) => z.number().positive().describe(what);
const count = (what: string) => z.int().min(1).describe(what);

const targetSchema = z
  .union([
    z.enum(["head", "replicas"]),
    z.strictObject({ replica: z.int().min(0) }),
    z.strictObject({ replicasPercent: z.number().positive().max(100) }),
  ])
  .describe("head, replicas, { replica: a number from 0 } or { replicasPercent: more than 0, at most 100 }");

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

/** One fault in one cell. */
export interface PlannedFault {
  /** Unique in its cell: the kind, with a number where the kind occurs more than once, e.g. `cpu` or `cpu-2`. */
  readonly id: string;
  readonly cell: string;
  readonly fault: Fault;
  /** From T0. */
  readonly startOffsetSeconds: number;
  readonly durationSeconds: number;
}

/** Kinds that need no Chaos Mesh: a Job sets a limit of the GPU. */
export function isGpuFault(fault: { readonly kind: FaultKind }): boolean {
  return fault.kind === "gpu-power-cap" || fault.kind === "gpu-clock-cap";
}

/** Kinds that act once: there is nothing to revert. */
export function isOneShot(fault: { readonly kind: FaultKind }): boolean {
  return fault.kind === "pod-kill" || fault.kind === "container-kill";
}

/** With every duration explicit: up to the end of the fault phase where none is given. */
export function withDurations(faults: readonly MergedFault[], faultSeconds: number): Fault[] {
  return faults.map((fault) => ({
    ...fault,
    durationSeconds: fault.durationSeconds ?? faultSeconds - fault.startOffsetSeconds,
  }));
}

/** Numbers of the replicas that a target means; none for the head. A share is rounded up, from replica 0 on. */
export function targetedReplicas(target: Fault["target"], dataParallelism: number): number[] {
  if (target === "head") return [];
  if (typeof target === "object" && "replica" in target) return [target.replica];
  const share = target === "replicas" ? 100 : target.replicasPercent;
  return Array.from({ length: Math.ceil((dataParallelism * share) / 100) }, (_, index) => index);
}

/** Every fault of every cell, in the order of the cells. */
export function plannedFaults(
  experiment: Pick<ResolvedExperiment, "load" | "timeline" | "faults">,
): PlannedFault[] {
  return timelineOf(experiment).cells.flatMap((cell, index) => {
    const phase = cell.phases.find(({ name }) => name === "fault");
    if (phase === undefined) return [];
    return experiment.faults.flatMap((fault, position) =>
      isInCell(fault, index + 1)
        ? [
            {
              id: idOf(experiment.faults, position),
              cell: cell.id,
              fault,
              startOffsetSeconds:
                cell.startOffsetSeconds + phase.startOffsetSeconds + fault.startOffsetSeconds,
              durationSeconds: fault.durationSeconds,
            },
          ]
        : [],
    );
  });
}

function isInCell({ cells }: Fault, number: number): boolean {
  if (cells === "all") return true;
  if (cells === "odd" || cells === "even") return (number % 2 === 0) === (cells === "even");
  return cells.includes(number);
}

function idOf(faults: readonly Fault[], position: number): string {
  const { kind } = faults[position] as Fault;
  const before = faults.slice(0, position).filter((other) => other.kind === kind).length;
  return before === 0 ? kind : `${kind}-${before + 1}`;
}

/** What the schema cannot see: faults that do not fit the timeline, the replicas or the engine. */
export function faultProblems(experiment: ResolvedExperiment, originOf: OriginOf): Problem[] {
  const { faults, timeline, parallelism } = experiment;
  if (faults.length === 0) return [];
  const problems: Problem[] = [];
  const add = (path: readonly PropertyKey[], text: string): void => {
    problems.push({ file: originOf(path), path: formatPath(path), text });
  };
  if (timeline.faultSeconds === 0) {
    add(["timeline", "faultSeconds"], "is 0, but there are faults; give the fault phase a length in seconds");
    return problems;
  }
  const { cells } = timelineOf(experiment);
  faults.forEach((fault, index) => {
    const at = (key: string): PropertyKey[] => ["faults", index, key];
    const room = timeline.faultSeconds + timeline.afterSeconds;
    const end = fault.startOffsetSeconds + fault.durationSeconds;
    if (fault.durationSeconds < 1) {
      add(
        at("startOffsetSeconds"),
        `is ${fault.startOffsetSeconds}, but the fault phase lasts ${timeline.faultSeconds} s; start earlier, or give durationSeconds`,
      );
    } else if (end > room) {
      add(
        at("durationSeconds"),
        `ends ${end} s after the start of the fault phase, but its cell ends after ${room} s (timeline.faultSeconds ${timeline.faultSeconds} + afterSeconds ${timeline.afterSeconds}); shorten the fault or lengthen a phase`,
      );
    }
    const { target } = fault;
    if (typeof target === "object" && "replica" in target && target.replica >= parallelism.dataParallelism) {
      add(
        at("target"),
        `is replica ${target.replica}, allowed: 0 to ${parallelism.dataParallelism - 1} (parallelism.dataParallelism is ${parallelism.dataParallelism})`,
      );
    }
    const beyond = Array.isArray(fault.cells) ? fault.cells.filter((number) => number > cells.length) : [];
    if (beyond.length > 0) {
      add(at("cells"), `names cell ${beyond.join(", ")}, allowed: 1 to ${cells.length}`);
    }
    if (fault.kind === "network-partition")
      addPartitionProblem(fault, parallelism.dataParallelism, index, add);
    if (isGpuFault(fault)) addGpuProblems(experiment, index, cells, add);
  });
  return problems;
}

type Add = (path: readonly PropertyKey[], text: string) => void;

function addPartitionProblem(
  { target, peer }: Extract<Fault, { kind: "network-partition" }>,
  dataParallelism: number,
  index: number,
  add: Add,
): void {
  const replicas = targetedReplicas(target, dataParallelism).length;
  const nobody =
    (peer === "head" && target === "head") || (peer === "other-replicas" && replicas === dataParallelism);
  if (nobody) {
    add(
      ["faults", index, "peer"],
      `is ${peer}, but the target is ${JSON.stringify(target)}: nobody is left to be cut off from; choose another peer or target`,
    );
  }
}

function addGpuProblems(
  experiment: ResolvedExperiment,
  index: number,
  cells: readonly Cell[],
  add: Add,
): void {
  const { engine, parallelism, faults } = experiment;
  const fault = faults[index] as Fault;
  if (engine !== "vllm" || !parallelism.acceleratorResource.startsWith("nvidia.com/")) {
    add(
      ["faults", index, "kind"],
      `is ${fault.kind}, which needs NVIDIA GPUs; allowed with engine vllm and an acceleratorResource of nvidia.com/ only`,
    );
  }
  if (fault.target === "head") {
    add(["faults", index, "target"], "is head, which has no GPU; choose a replica");
  }
  // Each saves the limit that it finds: the one that ends last would put back the other's.
  const rival = faults.findIndex(
    (other, position) =>
      position < index && other.kind === fault.kind && overlap(other, fault, experiment, cells),
  );
  if (rival >= 0) {
    add(
      ["faults", index, "startOffsetSeconds"],
      `is ${fault.startOffsetSeconds}, while faults[${rival}] sets the same limit of the same GPU; let one end before the other begins`,
    );
  }
}

function overlap(
  left: Fault,
  right: Fault,
  { parallelism }: ResolvedExperiment,
  cells: readonly Cell[],
): boolean {
  const replicas = targetedReplicas(left.target, parallelism.dataParallelism);
  return (
    cells.some((_, index) => isInCell(left, index + 1) && isInCell(right, index + 1)) &&
    targetedReplicas(right.target, parallelism.dataParallelism).some((replica) =>
      replicas.includes(replica),
    ) &&
    left.startOffsetSeconds < right.startOffsetSeconds + right.durationSeconds &&
    right.startOffsetSeconds < left.startOffsetSeconds + left.durationSeconds
  );
}
