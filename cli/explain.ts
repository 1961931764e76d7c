// `llmeval explain`: what an experiment comes to, when what happens, what it costs, and where each value comes from.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { formatPath, parseYaml } from "../components/config-problems.ts";
import type { Fault } from "../experiments/faults.ts";
import { experimentId } from "../experiments/id.ts";
import { plannedFaults } from "../experiments/planned-faults.ts";
import { type OriginOf, throwProblems } from "../experiments/problems.ts";
import { tryResolve } from "../experiments/resolve.ts";
import type { ResolvedExperiment } from "../experiments/schema.ts";
import { type ExperimentSettings, readExperimentSettings, steps } from "../experiments/settings.ts";
import { arrivalsOf, type Timeline, timelineOf } from "../experiments/timeline.ts";

/** Prints the resolved experiment of a definition, with what Pulumi.exp-NAME.yaml overrides where that file exists. */
export function printExplanation(name: string, projectDir: string): void {
  const settings = settingsOf(name.replace(/^exp-/, ""), projectDir);
  const resolution = tryResolve({
    projectDir,
    name: settings.name,
    overrides: settings.overrides,
    ...(settings.cells === undefined ? {} : { cells: settings.cells }),
    ...(settings.definition === undefined ? {} : { definition: settings.definition }),
  });
  throwProblems(`experiment ${settings.name}`, [...settings.problems, ...resolution.problems]);
  const experiment = resolution.experiment as ResolvedExperiment;
  process.stdout.write(explain(experiment, resolution.originOf, settings.run, settings));
}

function settingsOf(name: string, projectDir: string): ExperimentSettings {
  const stack = `exp-${name}`;
  const file = join(projectDir, `Pulumi.${stack}.yaml`);
  // Without a stack there is no cluster to name either; the definition can be explained all the same.
  if (!existsSync(file)) return readExperimentSettings(stack, { "llmeval:cluster": "(no stack yet)" });
  const { config = {} } = (parseYaml(readFileSync(file, "utf8"), `Pulumi.${stack}.yaml`) ?? {}) as {
    config?: Readonly<Record<string, unknown>>;
  };
  const asText = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  return readExperimentSettings(
    stack,
    Object.fromEntries(Object.entries(config).map(([key, value]) => [key, asText(value)])),
  );
}

/** The page: how much of it is run, values with their origin, the timeline, and the cost. */
export function explain(
  experiment: ResolvedExperiment,
  originOf: OriginOf,
  run: number,
  stack: Pick<ExperimentSettings, "steps" | "debug"> = { steps: "collect", debug: false },
): string {
  const timeline = timelineOf(experiment);
  return [
    `experiment ${experiment.name}: ${experiment.description}`,
    `id ${experimentId(experiment, run)}`,
    "",
    "stack",
    ...table(stackRows(experiment, stack)),
    "",
    "values",
    ...table(valueRows(experiment, originOf)),
    "",
    "timeline, offsets from T0",
    ...table(cellRows(experiment, timeline)),
    "",
    "cost",
    ...table(costRows(experiment, timeline)),
    "",
  ].join("\n");
}

/** Keys of the stack that change what is run, not what the experiment is; cells are both. */
function stackRows(
  experiment: ResolvedExperiment,
  { steps: last, debug }: Pick<ExperimentSettings, "steps" | "debug">,
): string[][] {
  const count = timelineOf({ ...experiment, cells: null }).cells.length;
  const cells = experiment.cells ?? Array.from({ length: count }, (_, index) => index + 1);
  const taken = steps.slice(0, steps.indexOf(last) + 1);
  return [
    [
      "llmeval:steps",
      last,
      `of ${steps.join(", ")}: ${taken.length === steps.length ? "all" : taken.join(", ")}`,
    ],
    ["llmeval:debug", String(debug), debug ? "verbose logs, pods stay for a day longer" : "quiet logs"],
    [
      "llmeval:cells",
      experiment.cells === null ? "all" : cells.join(","),
      `${cells.length} of ${count} are played`,
    ],
  ];
}

function valueRows(experiment: ResolvedExperiment, originOf: OriginOf): string[][] {
  const { name: _name, description: _description, cells: _cells, ...values } = experiment;
  return leaves(values, []).map(([path, value]) => [formatPath(path), JSON.stringify(value), originOf(path)]);
}

/** Every value by itself; a list is one value, unless its entries have keys. */
function leaves(value: unknown, path: readonly PropertyKey[]): [readonly PropertyKey[], unknown][] {
  const isMap = value !== null && typeof value === "object" && !Array.isArray(value);
  if (Array.isArray(value) && path.length === 1 && value.length > 0) {
    return value.flatMap((inner, index) => leaves(inner, [...path, index]));
  }
  if (!isMap || Object.keys(value).length === 0) return [[path, value]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]));
}

/** With the faults of each cell by their windows, where the experiment has any. */
function cellRows(experiment: ResolvedExperiment, timeline: Timeline): string[][] {
  const planned = plannedFaults(experiment);
  return timeline.cells.map((cell) => {
    const phases = cell.phases.map(({ name, durationSeconds }) => `${name} ${durationSeconds} s`);
    const faults = planned
      .filter((one) => one.cell === cell.id)
      .map(({ id, fault, startOffsetSeconds, durationSeconds }) => {
        const end = startOffsetSeconds + durationSeconds;
        return `${id} on ${targetText(fault.target)} +${clock(startOffsetSeconds)} to +${clock(end)}`;
      });
    const column = planned.length === 0 ? [] : [faults.length === 0 ? "no fault" : faults.join(", ")];
    return [`+${clock(cell.startOffsetSeconds)}`, cell.id, phases.join(", "), ...column];
  });
}

function targetText(target: Fault["target"]): string {
  if (typeof target === "string") return target;
  return "replica" in target ? `replica ${target.replica}` : `${target.replicasPercent} % of the replicas`;
}

/** What playing an experiment takes. */
export interface Cost {
  /** Of open loops: how many a closed loop sends is not known before. Of sessions the first turns alone. */
  readonly requests: number;
  /** 0 where the engine is a stand-in. */
  readonly accelerators: number;
  readonly acceleratorsPerReplica: number;
  /** From the gate to the end of the last cell. */
  readonly playedSeconds: number;
  /** With every wait as long as its limit allows. */
  readonly longestSeconds: number;
}

export function costOf(experiment: ResolvedExperiment, timeline: Timeline): Cost {
  const { parallelism, timeouts, engine, timeline: lengths } = experiment;
  const acceleratorsPerReplica = parallelism.tensorParallelism * parallelism.pipelineParallelism;
  const playedSeconds = lengths.leadSeconds + timeline.durationSeconds;
  return {
    requests: timeline.cells.reduce((sum, cell) => sum + (arrivalsOf(cell) ?? 0), 0),
    accelerators: engine === "vllm" ? parallelism.dataParallelism * acceleratorsPerReplica : 0,
    acceleratorsPerReplica,
    playedSeconds,
    longestSeconds:
      playedSeconds + timeouts.serviceReadySeconds + timeouts.gateSeconds + timeouts.collectSeconds,
  };
}

function costRows(experiment: ResolvedExperiment, timeline: Timeline): string[][] {
  const cost = costOf(experiment, timeline);
  const hours = (seconds: number): string => ((cost.accelerators * seconds) / 3600).toFixed(2);
  return [
    ["duration", `${clock(timeline.durationSeconds)} from T0; at most ${clock(cost.longestSeconds)} in all`],
    ["requests", requestsText(experiment, timeline, cost.requests)],
    [
      "accelerators",
      experiment.engine === "vllm"
        ? `${cost.accelerators} (${experiment.parallelism.dataParallelism} replicas x ${cost.acceleratorsPerReplica})`
        : experiment.engine === "existing"
          ? "none of this stack's, the engine is there already"
          : "none, the engine is a stand-in",
    ],
    [
      "accelerator hours",
      `${hours(cost.playedSeconds)} while the load plays; at most ${hours(cost.longestSeconds)}`,
    ],
  ];
}

function requestsText({ load }: ResolvedExperiment, { cells }: Timeline, requests: number): string {
  const where = `in ${cells.length} cell${cells.length === 1 ? "" : "s"}`;
  if (load.concurrency !== null) return `as many as the engine answers ${where}`;
  if (load.prompts.kind !== "multi-turn") return `${requests} ${where}`;
  return `${requests} sessions of up to ${load.prompts.turns} turns ${where}`;
}

/** `1:06:05`. */
export function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd(),
  );
}
