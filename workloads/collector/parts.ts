// Runs the parts of the export one after the other; what fails is told and does not stop the others.
import { describe, say } from "../shared/errors.ts";
import type { KubeClient } from "../shared/kube.ts";
import { absent, type PartExport } from "./export.ts";
import { exportFlows } from "./flows.ts";
import { exportGrafana } from "./grafana.ts";
import { exportLoki } from "./loki.ts";
import { Patience } from "./patience.ts";
import type { Window } from "./prometheus.ts";
import type { Settings } from "./settings.ts";
import { exportTraces } from "./traces.ts";

const program = "collector";

export class Parts {
  readonly problems: string[] = [];

  async run<T>(name: string, part: () => Promise<T>): Promise<T | undefined> {
    say(program, name);
    try {
      return await part();
    } catch (error) {
      this.problems.push(`${name}: ${describe(error)}`);
      say(program, `${name} failed: ${describe(error)}`);
      return undefined;
    }
  }
}

/** What the cluster's stack says of itself, as experiment.json has it. */
export interface ClusterInfo {
  readonly endpoints?: Readonly<Record<string, string>>;
  readonly capabilities?: Readonly<Record<string, { readonly mode?: string; readonly reason?: string }>>;
}

/** Exports from the parts that a cluster may have or not; one that it lacks is named and is no problem. */
export async function exportObservability(
  settings: Settings,
  cluster: ClusterInfo,
  window: Window | undefined,
  kube: KubeClient,
  parts: Parts,
): Promise<readonly PartExport[]> {
  const { endpoints = {}, capabilities = {} } = cluster;
  const why = (capability: string): string =>
    capabilities[capability]?.reason ?? "the cluster's stack states no address of it";
  const common = (): Omit<Parameters<typeof exportLoki>[0], "url" | "window"> => ({
    namespace: settings.namespace,
    folder: settings.resultsDir,
    patience: new Patience(settings.retrySeconds),
    seconds: settings.exportSeconds,
    apart: settings.faultPlanFile !== "",
  });
  const exports: PartExport[] = [];
  const run = async (
    part: string,
    reason: string | undefined,
    task: () => Promise<PartExport>,
  ): Promise<void> => {
    if (reason !== undefined) {
      exports.push(absent(part, reason));
      return;
    }
    const known = parts.problems.length;
    const done = await parts.run(part, task);
    if (done?.state === "failed") parts.problems.push(...done.reasons.map((text) => `${part}: ${text}`));
    exports.push(done ?? { part, state: "failed", files: [], reasons: parts.problems.slice(known) });
  };
  for (const [part, endpoint, capability, task] of [
    ["loki", "loki", "loki", exportLoki],
    ["traces", "traces", "opentelemetry", exportTraces],
    ["deepflow", "deepflow", "deepflow", exportFlows],
  ] as const) {
    const url = endpoints[endpoint];
    const reason =
      url === undefined
        ? why(capability)
        : window === undefined
          ? "there is no window to ask it for"
          : undefined;
    await run(part, reason, () => task({ ...common(), url: url as string, window: window as Window }));
  }
  const mode = capabilities["grafana"]?.mode ?? "off";
  const ownGrafana =
    mode === "on" ? undefined : mode === "off" ? why("grafana") : `it is ${mode}: not ours to read`;
  await run("grafana", ownGrafana, () =>
    exportGrafana(kube, settings.resultsDir, new Patience(settings.retrySeconds)),
  );
  return exports;
}
