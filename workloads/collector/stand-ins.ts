// Says what was measured: an engine, or a stand-in of one. In doubt it is a stand-in.

/** An entry of the experiment's file; a plain text is taken for the engine's. */
export type StandIn = string | { readonly part: string; readonly name: string; readonly version?: string };

/** Parts whose stand-ins make every figure one of the stand-in's. Others, as the cluster, leave an engine an engine. */
const measuredParts = new Set(["engine", "model", "gpu", "accelerator", "accelerators"]);

export function standInTexts(standIns: readonly StandIn[]): readonly string[] {
  return standIns.map((entry) => (typeof entry === "string" ? entry : `${entry.part}: ${nameOf(entry)}`));
}

export function measurementOf(
  standIns: readonly StandIn[],
  /** Address of the service under load, where the stack did not deploy it. @default it did */
  existingUrl?: string,
): {
  readonly measurementOf: "stand-in" | "engine";
  readonly measurementText: string;
} {
  const measured = standIns.filter((entry) => typeof entry === "string" || measuredParts.has(entry.part));
  if (measured.length === 0) {
    if (existingUrl !== undefined) {
      return {
        measurementOf: "engine",
        measurementText: `answered by the existing service at ${existingUrl}, which this stack did not deploy; what runs behind it is not known`,
      };
    }
    return { measurementOf: "engine", measurementText: "answered by the engine that the experiment names" };
  }
  return {
    measurementOf: "stand-in",
    measurementText: `answered by a stand-in, not by a model: ${measured.map(nameOf).join(", ")}. The figures describe the simulator and the test rig.`,
  };
}

function nameOf(entry: StandIn): string {
  if (typeof entry === "string") return entry;
  return entry.version === undefined ? entry.name : `${entry.name} ${entry.version}`;
}
