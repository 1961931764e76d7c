// What the collector is told by its environment.
import { Env } from "../shared/env.ts";

export interface Settings {
  readonly experimentId: string;
  readonly resultsDir: string;
  readonly namespace: string;
  readonly prometheusUrl: string;
  readonly loadTimeoutSeconds: number;
  readonly scrapeIntervalSeconds: number;
  readonly experimentFile: string;
  readonly loadSpecFile: string;
  /** Empty in a run without faults. */
  readonly faultPlanFile: string;
  readonly conductorTimeoutSeconds: number;
  /** Time for the export from each part of the cluster, such as Loki. */
  readonly exportSeconds: number;
  readonly pollSeconds: number;
  readonly retrySeconds: number;
}

export function readSettings(): Settings {
  const env = new Env();
  const settings: Settings = {
    experimentId: env.text("EXPERIMENT_ID"),
    resultsDir: env.text("RESULTS_DIR"),
    namespace: env.text("NAMESPACE"),
    prometheusUrl: env.url("PROMETHEUS_URL"),
    loadTimeoutSeconds: env.number("LOAD_TIMEOUT_SECONDS", { minimum: 1 }),
    scrapeIntervalSeconds: env.number("SCRAPE_INTERVAL_SECONDS", { minimum: 0.1 }),
    experimentFile: env.text("EXPERIMENT_FILE"),
    loadSpecFile: env.text("LOAD_SPEC_FILE", "/config/load.json"),
    faultPlanFile: env.text("FAULT_PLAN_FILE", ""),
    conductorTimeoutSeconds: env.number("CONDUCTOR_TIMEOUT_SECONDS", { minimum: 0, fallback: 0 }),
    exportSeconds: env.number("EXPORT_SECONDS", { minimum: 0.01, fallback: 120 }),
    pollSeconds: env.number("POLL_SECONDS", { minimum: 0.01, fallback: 2 }),
    retrySeconds: env.number("RETRY_SECONDS", { minimum: 0, fallback: 60 }),
  };
  env.check();
  return settings;
}
