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
  /** The conductor: waits for T0, plays all faults, reverts the last one. */
  readonly conductorSeconds: number;
  /** The collector: waits for the end of the load, then exports. */
  readonly collectorSeconds: number;
  /** The command that waits for T0. */
  readonly t0CommandSeconds: number;
  /** The command that waits for the end of the load; a load that hangs fails by its own deadline first. */
  readonly loadCommandSeconds: number;
  /** The command that waits for the manifest and fetches. */
  readonly resultsCommandSeconds: number;
}

// Writing the last rows and the self report after the last request.
const flushSeconds = 60;

/** How long a fault may take to be reverted before it counts as not recovered. */
export const recoverySeconds = 60;

export function deadlinesOf(experiment: ResolvedExperiment): Deadlines {
  const { timeouts, timeline, load } = experiment;
  const gateSeconds = timeouts.gateSeconds;
  // The gate's pod may start later than the load's by a whole start allowance.
  const t0Seconds = gateSeconds + startAllowanceSeconds;
  const playSeconds = timeline.leadSeconds + timelineOf(experiment).durationSeconds;
  const loadSeconds = Math.ceil(t0Seconds + playSeconds + load.requestTimeoutSeconds + flushSeconds);
  // Twice: until it has recovered, and until its object is gone.
  const revertSeconds = 2 * recoverySeconds;
  const conductorSeconds = Math.ceil(t0Seconds + playSeconds + revertSeconds);
  const collectorSeconds =
    loadSeconds + timeouts.collectSeconds + (experiment.faults.length === 0 ? 0 : revertSeconds);
  return {
    gateSeconds,
    t0Seconds,
    loadSeconds,
    conductorSeconds,
    collectorSeconds,
    t0CommandSeconds: t0Seconds,
    loadCommandSeconds: loadSeconds + startAllowanceSeconds,
    resultsCommandSeconds: collectorSeconds + startAllowanceSeconds,
  };
}
