// Merges base, engine, profile, preset, model, definition and overrides into one experiment with every default explicit.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { formatPath, parseYaml } from "../components/config-problems.ts";
import { UserError } from "../components/errors.ts";
import { type CellChoice, cellProblems } from "./cells.ts";
import { existingProblems } from "./existing.ts";
import { faultProblems } from "./fault-problems.ts";
import { withDurations } from "./faults.ts";
import { loadProblems, resolveLoad } from "./load.ts";
import { type OriginOf, type Problem, schemaProblems, throwProblems, unknownName } from "./problems.ts";
import {
  engines,
  experimentSchema,
  keysOfModelFile,
  keysOfPresetFile,
  profileNames,
  type ResolvedExperiment,
  reservedEngineArguments,
  reservedVariables,
} from "./schema.ts";
import { profiles, timelineOf } from "./timeline.ts";

type Tree = Readonly<Record<string, unknown>>;

/** Values from one place; a later layer wins over an earlier one. */
export interface Layer {
  readonly file: string;
  readonly values: Tree;
}

export interface ResolveArgs {
  /** Folder that holds experiments/ and configs/. */
  readonly projectDir: string;
  /** Name of the experiment: the stack's name without `exp-`. */
  readonly name: string;
  /**
   * Name of the file in experiments/.
   * @default the experiment's name
   */
  readonly definition?: string;
  /**
   * Layers above the definition, lowest first: what the stack's configuration sets.
   * @default none
   */
  readonly overrides?: readonly Layer[];
  /**
   * The cells to play.
   * @default all
   */
  readonly cells?: CellChoice;
}

export interface Resolution {
  /** Absent where there are problems. */
  readonly experiment?: ResolvedExperiment;
  readonly problems: readonly Problem[];
  /** Which file or configuration key each value comes from. */
  readonly originOf: OriginOf;
}

/** The resolved experiment, or one UserError with every problem. */
export function resolveExperiment(args: ResolveArgs): ResolvedExperiment {
  const { experiment, problems } = tryResolve(args);
  throwProblems(`experiment ${args.name}`, problems);
  return experiment as ResolvedExperiment;
}

/** As resolveExperiment, but returns the problems, so that a caller can report them with its own. */
export function tryResolve(args: ResolveArgs): Resolution {
  const problems: Problem[] = [];
  const read = (file: string): Tree => {
    try {
      return readTree(args.projectDir, file);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const [, ...text] = error.message.split(`${file}: `);
      problems.push({ file, path: "", text: text.join("").replaceAll(/\n\s*- /g, ": ") });
      return {};
    }
  };

  const base = read("configs/base.yaml");
  const definitionName = args.definition ?? args.name;
  const definitionFile = `experiments/${definitionName}.yaml`;
  const definitions = namesIn(args.projectDir, "experiments");
  if (!definitions.includes(definitionName)) {
    problems.push({
      file: definitionFile,
      path: "",
      text: `does not exist; ${unknownName(definitionName, definitions, "write the file, or name an existing one by: pulumi config set llmeval:experiment NAME")}`,
    });
    return { problems, originOf: () => definitionFile };
  }
  const definition: Layer = { file: definitionFile, values: read(definitionFile) };
  if (problems.length > 0) return { problems, originOf: () => definitionFile };
  const defaults: Layer = { file: "configs/base.yaml", values: treeAt(base, "defaults") };
  const chosenBy = [...(args.overrides ?? []).toReversed(), definition, defaults];

  /** The layer that decides a key before everything is merged, as other files depend on it. */
  const choose = (...path: string[]): { value: unknown; file: string } => {
    const layer = chosenBy.find((candidate) => valueAt(candidate.values, path) !== undefined);
    return {
      value: layer === undefined ? undefined : valueAt(layer.values, path),
      file: layer?.file ?? definitionFile,
    };
  };
  const named = (folder: string, path: string[], allowedKeys: readonly string[]): Layer[] => {
    const { value, file } = choose(...path);
    // A missing or ill-typed name is the schema's to report.
    if (typeof value !== "string") return [];
    const names = namesIn(args.projectDir, folder);
    if (!names.includes(value)) {
      const text = unknownName(value, names, `or add ${folder}/${value}.yaml`);
      problems.push({ file, path: formatPath(path), text });
      return [];
    }
    const layer = { file: `${folder}/${value}.yaml`, values: read(`${folder}/${value}.yaml`) };
    for (const key of Object.keys(layer.values).filter((name) => !allowedKeys.includes(name))) {
      const text = `cannot be set here (allowed: ${allowedKeys.join(", ")}); move it to the experiment's definition`;
      problems.push({ file: layer.file, path: key, text });
    }
    return [layer];
  };

  const engine = engines.find((name) => name === choose("engine").value);
  const profile = profileNames.find((name) => name === choose("timeline", "profile").value);
  const engineLayer: Layer[] =
    engine === undefined ? [] : [{ file: "configs/base.yaml", values: treeAt(base, "engines", engine) }];
  const profileLayer: Layer[] =
    profile === undefined
      ? []
      : [{ file: `profile ${profile}`, values: { timeline: { ...profiles[profile] } } }];
  const model = named("configs/models", ["modelId"], keysOfModelFile);
  const layers: Layer[] = [
    defaults,
    ...engineLayer,
    ...profileLayer,
    ...named("configs/vllm", ["vllm", "preset"], keysOfPresetFile),
    ...model,
    definition,
    ...(args.overrides ?? []),
  ];
  const originOf: OriginOf = (path) => {
    // A list is set as a whole.
    const list = path.findIndex((part) => typeof part === "number");
    const key = list < 0 ? path : path.slice(0, list);
    return layers.findLast((layer) => valueAt(layer.values, key) !== undefined)?.file ?? definitionFile;
  };

  const merged = layers.reduce<unknown>((below, layer) => deepMerge(below, layer.values), {});
  const parsed = experimentSchema.safeParse(merged);
  if (!parsed.success) {
    // Keys that an unknown model, engine or profile would have brought are not missing: the name is wrong.
    const unbrought = [
      ...(model.length === 0 ? ["model"] : []),
      ...(engineLayer.length === 0 ? ["resources"] : []),
      ...(profileLayer.length === 0 ? ["timeline"] : []),
    ];
    const found = schemaProblems(experimentSchema, merged, parsed.error.issues, originOf);
    problems.push(
      ...found.filter(({ path, text }) => {
        const section = path.split(".")[0] as string;
        return !(text.startsWith("missing") && path !== "timeline.profile" && unbrought.includes(section));
      }),
    );
    return { problems, originOf };
  }
  const load = resolveLoad(
    parsed.data.load,
    (key) => layers.findLastIndex(({ values }) => (valueAt(values, ["load", key]) ?? null) !== null),
    args.projectDir,
    originOf,
  );
  const experiment: ResolvedExperiment = {
    name: args.name,
    ...parsed.data,
    load: load.load,
    faults: withDurations(parsed.data.faults, parsed.data.timeline.faultSeconds),
    cells: args.cells?.numbers ?? null,
  };
  // A fault may name any cell of the whole experiment, also where only some are played.
  const whole = { ...experiment, cells: null };
  const count = timelineOf(whole).cells.length;
  problems.push(
    ...load.problems,
    ...loadProblems(experiment, originOf),
    ...crossProblems(experiment, originOf),
    ...faultProblems(whole, originOf),
    ...existingProblems(experiment, originOf),
    ...cellProblems(args.cells, count),
  );
  return problems.length > 0 ? { problems, originOf } : { experiment, problems, originOf };
}

/** What the schema cannot see: values that do not fit each other. */
function crossProblems(experiment: ResolvedExperiment, originOf: OriginOf): Problem[] {
  const { parallelism, timeline, vllm } = experiment;
  const problems: Problem[] = [];
  const add = (path: string[], text: string): void => {
    problems.push({ file: originOf(path), path: formatPath(path), text });
  };
  const needed = parallelism.tensorParallelism * parallelism.pipelineParallelism;
  const offered = parallelism.podsPerReplica * parallelism.acceleratorsPerPod;
  if (needed !== offered) {
    const changed = ["tensorParallelism", "pipelineParallelism", "podsPerReplica", "acceleratorsPerPod"].find(
      (key) => originOf(["parallelism", key]) !== "configs/base.yaml",
    );
    add(
      ["parallelism", changed ?? "tensorParallelism"],
      `tensorParallelism ${parallelism.tensorParallelism} x pipelineParallelism ${parallelism.pipelineParallelism} takes ${plural(needed, "accelerator")} per replica, ` +
        `but podsPerReplica ${parallelism.podsPerReplica} x acceleratorsPerPod ${parallelism.acceleratorsPerPod} gives ${offered}; make both equal`,
    );
  }
  const measured = timeline.beforeSeconds + timeline.faultSeconds + timeline.afterSeconds;
  if (measured === 0) {
    add(
      ["timeline"],
      "beforeSeconds, faultSeconds and afterSeconds are all 0, nothing would be measured; give one of them a length",
    );
  }
  const reserved = { arguments: reservedEngineArguments, environment: reservedVariables };
  for (const group of ["arguments", "environment"] as const) {
    for (const key of Object.keys(vllm[group])) {
      const instead = reserved[group][key];
      if (instead !== undefined)
        add(["vllm", group, key], `follows from ${instead}; remove it here and set ${instead}`);
    }
  }
  return problems;
}

/** Whether the cluster has the accelerators that the experiment takes; only the real engine takes any. */
export function acceleratorProblems(
  experiment: ResolvedExperiment,
  originOf: OriginOf,
  cluster: string,
  /** Accelerators of the cluster by type. */
  accelerators: Readonly<Record<string, number>>,
): Problem[] {
  if (experiment.engine !== "vllm") return [];
  const { dataParallelism, tensorParallelism, pipelineParallelism } = experiment.parallelism;
  const type = experiment.vllm.acceleratorType;
  const needed = dataParallelism * tensorParallelism * pipelineParallelism;
  const counts = Object.entries(accelerators).filter(([name]) => type === null || name === type);
  const available = counts.reduce((sum, [, count]) => sum + count, 0);
  if (needed <= available) return [];
  const path = available === 0 ? ["engine"] : ["parallelism", "dataParallelism"];
  const all = Object.entries(accelerators).map(([name, count]) => `${count} x ${name}`);
  const kind = type === null ? "" : ` of type ${type}`;
  const remedy =
    available === 0
      ? "use another cluster (llmeval:cluster), or the stand-in engine: pulumi config set --path llmeval:overrides.engine llm-d-inference-sim"
      : "lower one of them, or use a bigger cluster (llmeval:cluster)";
  return [
    {
      file: originOf(path),
      path: formatPath(path),
      text:
        `dataParallelism ${dataParallelism} x tensorParallelism ${tensorParallelism} x pipelineParallelism ${pipelineParallelism} takes ${plural(needed, "accelerator")}${kind}, ` +
        `but cluster ${cluster} has ${all.length === 0 ? "none" : all.join(", ")}; ${remedy}`,
    },
  ];
}

/** Names of the YAML files in a folder of the project, without their suffix. */
export function namesIn(projectDir: string, folder: string): string[] {
  const path = join(projectDir, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path)
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => file.slice(0, -".yaml".length))
    .sort();
}

function readTree(projectDir: string, file: string): Tree {
  const path = join(projectDir, file);
  if (!existsSync(path)) throw new UserError(`${file}: does not exist`);
  const value = parseYaml(readFileSync(path, "utf8"), file) ?? {};
  if (!isTree(value)) throw new UserError(`${file}: is not a map of keys; write key: value lines`);
  return value;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Keys that choose the form of a map: one of another form takes nothing from the one below. */
const formKeys = ["kind", "distribution"];

function deepMerge(below: unknown, above: unknown): unknown {
  if (!isTree(below) || !isTree(above)) return above;
  if (formKeys.some((key) => key in above && above[key] !== below[key])) return above;
  const merged: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    merged[key] = key in below ? deepMerge(below[key], value) : value;
  }
  return merged;
}

function isTree(value: unknown): value is Tree {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function treeAt(tree: Tree, ...path: string[]): Tree {
  const value = valueAt(tree, path);
  return isTree(value) ? value : {};
}

function valueAt(tree: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((current, key) => (isTree(current) ? current[String(key)] : undefined), tree);
}
