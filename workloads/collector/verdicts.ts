// verdicts.json: for each cell and fault whether it did what it was meant to, with the figures behind it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { FaultPlan, FaultRecord, PlanEntry, PodLine, ProbeLine } from "../shared/faults.ts";
import { readJsonIfThere } from "../shared/files.ts";
import { round } from "../shared/percentiles.ts";
import type { CellSpec, QualityCheck } from "../shared/rows.ts";
import { toMs } from "../shared/time.ts";
import { controlIndicators, type Indicator, indicatorsOf, MetricFiles, probeSamples } from "./indicators.ts";
import {
  type ControlJudgement,
  type FaultVerdict,
  type Indication,
  judgeControl,
  judgeFault,
  type PodEvent,
  podEvents,
} from "./judge.ts";
import { measure, type Span, type Spans, thresholds } from "./measure.ts";

export interface Verdicts {
  readonly schemaVersion: 1;
  readonly experimentId: string;
  readonly thresholds: typeof thresholds;
  readonly cells: readonly CellVerdict[];
}

type CellVerdictName = FaultVerdict | ControlJudgement["verdict"];

interface CellVerdict {
  readonly cell: string;
  /** Of a control cell its own; else the worst of its faults. */
  readonly verdict: CellVerdictName;
  readonly reasons: readonly string[];
  readonly faults: readonly FaultJudgement[];
  /** What was looked at in a control cell. */
  readonly indications: readonly IndicationFigures[];
}

interface FaultJudgement {
  readonly fault: string;
  readonly kind: string;
  readonly verdict: FaultVerdict;
  readonly reasons: readonly string[];
  readonly onsetSeconds: number | null;
  /** Offsets from T0 in seconds, as it happened. */
  readonly actedFromSeconds: number | null;
  readonly actedToSeconds: number | null;
  readonly indications: readonly IndicationFigures[];
}

type IndicationFigures = Omit<Indication, "measurement"> & Indication["measurement"];

/** What kind of node of Ray a target's container is; others, as the entry's, are none. */
const nodeTypes: Readonly<Record<string, string>> = { "ray-head": "head", "ray-worker": "worker" };

/** From bad to good: the worst fault decides about its cell. */
const worstFirst: readonly FaultVerdict[] = [
  "not-recovered",
  "contaminated",
  "not-delivered",
  "no-effect",
  "unmeasured",
  "valid",
];

export interface VerdictArgs {
  readonly experimentId: string;
  readonly namespace: string;
  readonly resultsDir: string;
  readonly plan: FaultPlan;
  readonly cells: readonly CellSpec[];
  readonly t0UnixNs: bigint;
}

interface Sources {
  readonly metrics: MetricFiles;
  readonly probes: readonly ProbeLine[];
  readonly pods: readonly PodLine[];
  readonly events: readonly PodEvent[];
}

export async function judgeRun(args: VerdictArgs): Promise<Verdicts> {
  const pods = await readLines<PodLine>(join(args.resultsDir, "faults", "pods.jsonl"));
  const sources: Sources = {
    metrics: await MetricFiles.read(join(args.resultsDir, "metrics")),
    probes: await readLines<ProbeLine>(join(args.resultsDir, "faults", "probes.jsonl")),
    pods,
    events: podEvents(pods),
  };
  const cells: CellVerdict[] = [];
  for (const cell of args.cells) {
    const entries = args.plan.faults.filter((entry) => entry.cell === cell.id);
    cells.push(
      entries.length === 0
        ? controlVerdict(args, sources, cell)
        : await cellVerdict(args, sources, cell, entries),
    );
  }
  return { schemaVersion: 1, experimentId: args.experimentId, thresholds, cells };
}

function controlVerdict(args: VerdictArgs, sources: Sources, cell: CellSpec): CellVerdict {
  const spans = spansOf(args, cell);
  const window = spans.fault;
  const indications =
    window === undefined
      ? []
      : podsIn(sources.pods, spans.cell).flatMap((pod) =>
          controlIndicators.flatMap((indicator) =>
            indicate(args, sources, indicator, pod.pod, "bystander", { ...spans, window }),
          ),
        );
  const { verdict, reasons } = judgeControl(indications, sources.events, spans.cell);
  return { cell: cell.id, verdict, reasons, faults: [], indications: indications.map(figures) };
}

async function cellVerdict(
  args: VerdictArgs,
  sources: Sources,
  cell: CellSpec,
  entries: readonly PlanEntry[],
): Promise<CellVerdict> {
  const records = await Promise.all(
    entries.map((entry) =>
      readJsonIfThere<FaultRecord>(join(args.resultsDir, "faults", entry.cell, `${entry.fault}.json`)),
    ),
  );
  const meant = new Set(records.flatMap((record) => record?.intendedTargets.map(({ uid }) => uid) ?? []));
  const faults = entries.map((entry, index) =>
    faultJudgement(args, sources, cell, entry, records[index], meant),
  );
  const worst = worstFirst.find((name) => faults.some(({ verdict }) => verdict === name)) as FaultVerdict;
  const reasons = faults.flatMap(({ fault, reasons: own }) => own.map((reason) => `${fault}: ${reason}`));
  return { cell: cell.id, verdict: worst, reasons, faults, indications: [] };
}

function faultJudgement(
  args: VerdictArgs,
  sources: Sources,
  cell: CellSpec,
  entry: PlanEntry,
  record: FaultRecord | undefined,
  meantUids: ReadonlySet<string>,
): FaultJudgement {
  const spans = spansOf(args, cell);
  const acted = record === undefined ? undefined : actedSpan(record);
  const after =
    record === undefined || acted === undefined || entry.oneShot
      ? undefined
      : { fromMs: recoveredMs(record, acted) + settleMs, toMs: spans.cell.toMs };
  const targets = new Set(record?.intendedTargets.map(({ pod }) => pod));
  const nodeType = nodeTypes[entry.container] ?? null;
  const bystanders = podsIn(sources.pods, spans.cell).filter(
    (pod) => pod.nodeType === nodeType && !meantUids.has(pod.uid),
  );
  const indications =
    acted === undefined
      ? []
      : indicatorsOf(entry.kind).flatMap((indicator) =>
          [
            ...[...targets].map((pod) => ({ pod, role: "target" as const })),
            ...bystanders.map(({ pod }) => ({ pod, role: "bystander" as const })),
          ].flatMap(({ pod, role }) =>
            indicate(args, sources, indicator, pod, role, { ...spans, window: acted, after }),
          ),
        );
  const judgement = judgeFault({
    record,
    cell: spans.cell,
    acted,
    indications,
    events: sources.events,
    meantUids,
    expectedEvents: expectedEvents(entry.kind),
    reversible: !entry.oneShot,
  });
  const fromT0 = (atMs: number | undefined): number | null =>
    atMs === undefined ? null : round((atMs - Number(args.t0UnixNs / 1_000_000n)) / 1000);
  return {
    fault: entry.fault,
    kind: entry.kind,
    ...judgement,
    actedFromSeconds: fromT0(acted?.fromMs),
    actedToSeconds: fromT0(acted?.toMs),
    indications: indications.map(figures),
  };
}

/** What a target recovers from is not over with the fault's end at once. */
const settleMs = 2000;

function recoveredMs({ recovery: { recovered } }: FaultRecord, acted: Span): number {
  return Math.max(acted.toMs, recovered === null ? 0 : toMs(recovered.notAfterUnixNs));
}

function expectedEvents(kind: string): readonly PodEvent["what"][] {
  switch (kind) {
    case "pod-kill":
      return ["gone"];
    case "container-kill":
      return ["restarted", "gone"];
    case "pod-failure":
      return ["not-ready", "restarted", "gone"];
    default:
      return [];
  }
}

/** From when it was seen on all targets to when its end was asked for; what acts once acts to the end of its window. */
function actedSpan({ injected, recovery, planned, oneShot, created }: FaultRecord): Span | undefined {
  if (injected.all === null) return undefined;
  const end = toMs(planned.endUnixNs);
  const asked = recovery.requestedUnixNs === null ? end : toMs(recovery.requestedUnixNs);
  // What a kill does can be seen before the injector reports it.
  const from = oneShot && created !== null ? created.requestedUnixNs : injected.all.notAfterUnixNs;
  const gone = recovery.recovered === null ? asked : Math.min(asked, toMs(recovery.recovered.notAfterUnixNs));
  return { fromMs: toMs(from), toMs: oneShot ? end : gone };
}

function spansOf(
  { t0UnixNs, cells }: VerdictArgs,
  cell: CellSpec,
): Pick<Spans, "before" | "quiet"> & { readonly cell: Span; readonly fault: Span | undefined } {
  const startOf = (one: CellSpec): number => Number(t0UnixNs / 1_000_000n) + one.startOffsetSeconds * 1000;
  const phase = (one: CellSpec, name: string): Span | undefined => {
    const found = one.phases.find((candidate) => candidate.name === name);
    if (found === undefined) return undefined;
    const fromMs = startOf(one) + found.startOffsetSeconds * 1000;
    return { fromMs, toMs: fromMs + found.durationSeconds * 1000 };
  };
  const startMs = startOf(cell);
  return {
    cell: { fromMs: startMs, toMs: startMs + cell.durationSeconds * 1000 },
    before: phase(cell, "before") ?? { fromMs: startMs, toMs: startMs },
    fault: phase(cell, "fault"),
    quiet: cells.flatMap((one) => phase(one, "before") ?? []),
  };
}

/** The pods that were there at some time in a span. */
function podsIn(lines: readonly PodLine[], span: Span): readonly PodLine[] {
  const last = new Map<string, PodLine>();
  for (const line of lines) {
    if (toMs(line.unixNs) >= span.toMs) continue;
    if (line.phase !== "gone") last.set(line.uid, line);
    else if (toMs(line.unixNs) < span.fromMs) last.delete(line.uid);
  }
  return [...last.values()];
}

function indicate(
  { namespace }: VerdictArgs,
  sources: Sources,
  indicator: Indicator,
  pod: string,
  role: Indication["role"],
  spans: Spans,
): Indication[] {
  const probed = indicator.name === "connect-time" || indicator.name === "connects-lost";
  if (probed && sources.probes.length === 0) return [];
  const samples = probed
    ? probeSamples(sources.probes, indicator.name, pod)
    : sources.metrics.samples(
        indicator.name,
        // A target may stand in another namespace: the entry does.
        sources.pods.find((line) => line.pod === pod)?.namespace ?? namespace,
        pod,
      );
  if (samples.length === 0) return [];
  const measurement = measure(samples, spans, indicator);
  return [{ indicator: indicator.name, unit: indicator.unit, pod, role, measurement }];
}

function figures({ measurement, ...rest }: Indication): IndicationFigures {
  return { ...rest, ...measurement };
}

/** Both are as they should be: the fault shows where it was meant, or nothing shows where none was meant. */
function isGood(verdict: CellVerdictName): boolean {
  return verdict === "valid" || verdict === "control-clean";
}

export function verdictCheck(verdicts: Verdicts): QualityCheck {
  const good = verdicts.cells.filter(({ verdict }) => isGood(verdict)).length;
  const bad = verdicts.cells.filter(({ verdict }) => !isGood(verdict));
  const note = bad
    .map(({ cell, verdict, reasons }) => `${cell}: ${verdict} (${reasons.join(", ")})`)
    .slice(0, 20);
  return {
    check: "cells-as-planned",
    value: good,
    threshold: `== ${verdicts.cells.length} cells valid or control-clean`,
    pass: bad.length === 0,
    ...(note.length === 0 ? {} : { note: note.join("; ") }),
  };
}

/** A file that is absent has no lines; half a line at its end, of a program that was killed, is left out. */
async function readLines<T>(file: string): Promise<readonly T[]> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return text.split("\n").flatMap((line) => {
    if (line === "") return [];
    try {
      return [JSON.parse(line) as T];
    } catch {
      return [];
    }
  });
}
