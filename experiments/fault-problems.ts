// What is wrong with an experiment's faults that the schema cannot see: they do not fit the timeline, the replicas, the
// engine, or each other.

import { formatPath } from "../components/config-problems.ts";
import { type Fault, type FaultKind, isGpuFault, isInCell, targetedReplicas } from "./faults.ts";
import type { OriginOf, Problem } from "./problems.ts";
import type { ResolvedExperiment } from "./schema.ts";
import { type Cell, timelineOf } from "./timeline.ts";

/** Kinds that can act on the cluster's entry: it has no GPU, and neither its volumes nor its clock matter to an answer. */
const entryKinds: readonly FaultKind[] = [
  "cpu",
  "memory",
  "network-delay",
  "network-loss",
  "network-corrupt",
  "network-bandwidth",
  "network-partition",
  "pod-kill",
  "container-kill",
  "pod-failure",
];

/** All problems, each with the file that holds the value. */
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
    if (target === "entry") addEntryProblems(experiment, index, add);
    if (fault.kind === "network-partition")
      addPartitionProblem(fault, parallelism.dataParallelism, index, add);
    if (isGpuFault(fault)) addGpuProblems(experiment, index, cells, add);
    if ("volumePath" in fault) addVolumeProblem(experiment, index, cells, add);
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

function addEntryProblems({ faults, serve }: ResolvedExperiment, index: number, add: Add): void {
  const { kind } = faults[index] as Fault;
  const at = ["faults", index, "target"];
  if (!entryKinds.includes(kind)) {
    add(at, `is entry, where ${kind} cannot act; choose another target or one of ${entryKinds.join(", ")}`);
  }
  if (serve.via !== "entry") {
    add(
      at,
      `is entry, but serve.via is ${serve.via}: the load would not feel the fault; set serve.via: entry`,
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

/** What the injector keeps of a pod names one volume: a second one would take its place, and be left behind. */
function addVolumeProblem(
  experiment: ResolvedExperiment,
  index: number,
  cells: readonly Cell[],
  add: Add,
): void {
  const { faults } = experiment;
  const fault = faults[index] as Extract<Fault, { volumePath: string }>;
  const rival = faults.findIndex(
    (other, position) =>
      position < index &&
      "volumePath" in other &&
      other.volumePath !== fault.volumePath &&
      overlap(other, fault, experiment, cells),
  );
  if (rival >= 0) {
    add(
      ["faults", index, "volumePath"],
      `is ${fault.volumePath}, while faults[${rival}] acts on another volume of the same pod; let one end before the other begins`,
    );
  }
}

/** Whether two faults act on the same pod at the same time. */
function overlap(
  left: Fault,
  right: Fault,
  { parallelism }: ResolvedExperiment,
  cells: readonly Cell[],
): boolean {
  const replicas = targetedReplicas(left.target, parallelism.dataParallelism);
  const both = targetedReplicas(right.target, parallelism.dataParallelism).filter((replica) =>
    replicas.includes(replica),
  );
  return (
    (both.length > 0 || (typeof left.target === "string" && left.target === right.target)) &&
    cells.some(({ number }) => isInCell(left, number) && isInCell(right, number)) &&
    left.startOffsetSeconds < right.startOffsetSeconds + right.durationSeconds &&
    right.startOffsetSeconds < left.startOffsetSeconds + left.durationSeconds
  );
}
