// `llmeval explain`: what an experiment comes to, when what happens, what it costs, and where each value comes from.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { formatPath, parseYaml } from "../components/config-problems.ts";
import { type Fault, plannedFaults } from "../experiments/faults.ts";
import { experimentId } from "../experiments/id.ts";
import { type OriginOf, throwProblems } from "../experiments/problems.ts";
import { tryResolve } from "../experiments/resolve.ts";
import type { ResolvedExperiment } from "../experiments/schema.ts";
import { type ExperimentSettings, readExperimentSettings } from "../experiments/settings.ts";
import { type Timeline, timelineOf } from "../experiments/timeline.ts";

/** Prints the resolved experiment of a definition, with what Pulumi.exp-NAME.yaml overrides where that file exists. */
export function printExplanation(name: string, projectDir: string): void {
  const settings = settingsOf(name.replace(/^exp-/, ""), projectDir);
  const resolution = tryResolve({
    projectDir,
    name: settings.name,
    overrides: settings.overrides,
    ...(settings.definition === undefined ? {} : { definition: settings.definition }),
  });
  throwProblems(`experiment ${settings.name}`, [...settings.problems, ...resolution.problems]);
  const experiment = resolution.experiment as ResolvedExperiment;
  process.stdout.write(explain(experiment, resolution.originOf, settings.run));
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

/** The page: values with their origin, the timeline, and the cost. */
export function explain(experiment: ResolvedExperiment, originOf: OriginOf, run: number): string {
  const timeline = timelineOf(experiment);
  return [
    `experiment ${experiment.name}: ${experiment.description}`,
    `id ${experimentId(experiment, run)}`,
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

function valueRows(experiment: ResolvedExperiment, originOf: OriginOf): string[][] {
  const { name: _name, description: _description, ...values } = experiment;
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

function costRows(experiment: ResolvedExperiment, timeline: Timeline): string[][] {
  const { parallelism, timeouts, engine, timeline: lengths } = experiment;
  const requests = timeline.cells.reduce(
    (sum, cell) => sum + Math.round(cell.ratePerSecond * cell.durationSeconds),
    0,
  );
  const perReplica = parallelism.tensorParallelism * parallelism.pipelineParallelism;
  const accelerators = engine === "vllm" ? parallelism.dataParallelism * perReplica : 0;
  const waiting = timeouts.serviceReadySeconds + timeouts.gateSeconds + timeouts.collectSeconds;
  const played = lengths.leadSeconds + timeline.durationSeconds;
  const hours = (seconds: number): string => ((accelerators * seconds) / 3600).toFixed(2);
  return [
    ["duration", `${clock(timeline.durationSeconds)} from T0; at most ${clock(played + waiting)} in all`],
    ["requests", `${requests} in ${timeline.cells.length} cell${timeline.cells.length === 1 ? "" : "s"}`],
    [
      "accelerators",
      engine === "vllm"
        ? `${accelerators} (${parallelism.dataParallelism} replicas x ${perReplica})`
        : "none, the engine is a stand-in",
    ],
    ["accelerator hours", `${hours(played)} while the load plays; at most ${hours(played + waiting)}`],
  ];
}

/** `1:06:05`. */
function clock(seconds: number): string {
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
