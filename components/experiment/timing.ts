// Deadlines of a run's Jobs and of the commands that wait for them, all derived from the resolved experiment.

import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { timelineOf } from "../../experiments/timeline.ts";
import { startAllowanceSeconds } from "./conventions.ts";

export interface Deadlines {
  /** The gate: until every replica has answered and the load is ready. */
  readonly gateSeconds: number;
  /** The load: waits for T0, plays all cells, lets the last requests end. */
  readonly loadSeconds: number;
  /** How long the load waits for T0. */
  readonly t0Seconds: number;
  /** The collector: waits for the end of the load, then exports. */
  readonly collectorSeconds: number;
  /** The command that waits for T0. */
  readonly t0CommandSeconds: number;
  /** The command that waits for the manifest and fetches. */
  readonly resultsCommandSeconds: number;
}

// Writing the last rows and the self report after the last request.
const flushSeconds = 60;

export function deadlinesOf(experiment: ResolvedExperiment): Deadlines {
  const { timeouts, timeline, load } = experiment;
  const gateSeconds = timeouts.gateSeconds;
  // The gate's pod may start later than the load's by a whole start allowance.
  const t0Seconds = gateSeconds + startAllowanceSeconds;
  const playSeconds =
    timeline.leadSeconds + timelineOf(experiment).durationSeconds + load.requestTimeoutSeconds + flushSeconds;
  const loadSeconds = Math.ceil(t0Seconds + playSeconds);
  const collectorSeconds = loadSeconds + timeouts.collectSeconds;
  return {
    gateSeconds,
    t0Seconds,
    loadSeconds,
    collectorSeconds,
    t0CommandSeconds: t0Seconds,
    resultsCommandSeconds: collectorSeconds + startAllowanceSeconds,
  };
}
