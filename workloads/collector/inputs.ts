// What a run is given, read and copied next to its results: the experiment, the load's specification, the plan of the faults.
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { FaultPlan } from "../shared/faults.ts";
import type { LoadSpec, Timeline } from "../shared/rows.ts";
import type { Slo } from "./goodput.ts";
import type { ClusterInfo } from "./parts.ts";
import type { Settings } from "./settings.ts";
import type { StandIn } from "./stand-ins.ts";

/** EXPERIMENT_FILE: written by the experiment stack. */
export interface ExperimentFile {
  readonly experiment: {
    readonly slo?: Slo;
    readonly engine?: string;
    readonly existing?: { readonly url: string | null };
  };
  readonly images?: Readonly<Record<string, string>>;
  readonly stack?: ClusterInfo;
  readonly standIns?: readonly StandIn[];
}

/** Without it there is no window, and so there are no metrics. */
export async function readTimeline(resultsDir: string): Promise<Timeline> {
  return JSON.parse(await readFile(join(resultsDir, "timeline.json"), "utf8")) as Timeline;
}

export async function readExperiment(settings: Settings): Promise<ExperimentFile> {
  const text = await readFile(settings.experimentFile, "utf8");
  const experiment = JSON.parse(text) as ExperimentFile;
  await copyFile(settings.experimentFile, join(settings.resultsDir, "experiment.json"));
  return experiment;
}

export async function readSpec(settings: Settings): Promise<LoadSpec> {
  const spec = JSON.parse(await readFile(settings.loadSpecFile, "utf8")) as LoadSpec;
  await copyFile(settings.loadSpecFile, join(settings.resultsDir, "load", "spec.json"));
  return spec;
}

export async function readPlan(settings: Settings): Promise<FaultPlan> {
  const text = await readFile(settings.faultPlanFile, "utf8");
  await mkdir(join(settings.resultsDir, "faults"), { recursive: true });
  await copyFile(settings.faultPlanFile, join(settings.resultsDir, "faults", "plan.json"));
  return JSON.parse(text) as FaultPlan;
}
