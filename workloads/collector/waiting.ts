// What the collector waits for before it exports: the end of the load, and that of the conductor.
import { join } from "node:path";
import { describe, say } from "../shared/errors.ts";
import type { ConductorReport } from "../shared/faults.ts";
import { readJsonIfThere } from "../shared/files.ts";
import { failureOf, jobOfRole, type KubeClient } from "../shared/kube.ts";
import type { LoadProgress, LoadReport } from "../shared/rows.ts";
import { found, type Look, missing, waitFor } from "../shared/wait.ts";
import type { Settings } from "./settings.ts";

const program = "collector";

/** The load's report, or why there is none. */
export async function waitForLoad(
  settings: Settings,
  kube: KubeClient,
): Promise<{ readonly report?: LoadReport; readonly problem?: string }> {
  const folder = join(settings.resultsDir, "load");
  let failure: string | undefined;
  const look = async (): Promise<Look<LoadReport>> => {
    const report = await readJsonIfThere<LoadReport>(join(folder, "load.json"));
    if (report !== undefined) return found(report);
    if (failure !== undefined) throw new Error(`Job load has failed (${failure}) and left no load.json`);
    try {
      const job = jobOfRole(await kube.jobs(settings.namespace), "load", settings.experimentId);
      // The file may have come between the two looks: one more look decides.
      failure = job === undefined ? undefined : failureOf(job);
    } catch {
      // The API server may be away for a while; the file decides anyway.
    }
    const progress = await readJsonIfThere<LoadProgress>(join(folder, "progress.json")).catch(
      () => undefined,
    );
    if (progress === undefined) return missing("the load has not begun");
    return missing(`the load plays: ${progress.sent} of ${progress.scheduled} requests sent`);
  };
  try {
    const report = await waitFor({
      what: "load/load.json",
      timeoutSeconds: settings.loadTimeoutSeconds,
      intervalSeconds: settings.pollSeconds,
      look,
      progress: (text) => say(program, text),
    });
    return { report };
  } catch (error) {
    say(program, describe(error));
    return { problem: describe(error) };
  }
}

/** The faults are over when the conductor has ended, well or not. */
export async function waitForConductor(settings: Settings, kube: KubeClient): Promise<void> {
  const file = join(settings.resultsDir, "faults", "conductor.json");
  let failure: string | undefined;
  const report = await waitFor({
    what: "faults/conductor.json",
    timeoutSeconds: settings.conductorTimeoutSeconds,
    intervalSeconds: settings.pollSeconds,
    look: async (): Promise<Look<ConductorReport>> => {
      const ended = await readJsonIfThere<ConductorReport>(file);
      if (ended !== undefined) return found(ended);
      if (failure !== undefined) throw new Error(`Job conductor has failed (${failure})`);
      const jobs = await kube.jobs(settings.namespace).catch(() => []);
      const job = jobOfRole(jobs, "conductor", settings.experimentId);
      failure = job === undefined ? undefined : failureOf(job);
      return missing("the conductor has not ended");
    },
    progress: (text) => say(program, text),
  });
  say(program, `${report.delivered} of ${report.faults} faults were delivered`);
}
