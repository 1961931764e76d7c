// The verdict on one fault or one control cell, from what was measured: pure functions.
import type { FaultRecord, PodLine } from "../shared/faults.ts";
import { round } from "../shared/percentiles.ts";
import { toMs } from "../shared/time.ts";
import { type Measurement, type Span, thresholds } from "./measure.ts";

/** Something that happened to a pod. */
export interface PodEvent {
  readonly atMs: number;
  readonly pod: string;
  readonly uid: string;
  readonly what: "restarted" | "gone" | "not-ready";
}

/** What the watched pods' lines tell, in order: restarts of containers, pods that went, pods that were not ready. */
export function podEvents(lines: readonly PodLine[]): readonly PodEvent[] {
  const events: PodEvent[] = [];
  const known = new Map<string, PodLine>();
  for (const line of lines) {
    const before = known.get(line.uid);
    known.set(line.uid, line);
    if (before === undefined) continue;
    const add = (what: PodEvent["what"]): void => {
      events.push({ atMs: toMs(line.unixNs), pod: line.pod, uid: line.uid, what });
    };
    if (line.phase === "gone") {
      if (before.phase !== "gone") add("gone");
      continue;
    }
    const restarted = line.containers.some(({ name, restartCount }) => {
      const old = before.containers.find((container) => container.name === name);
      return old !== undefined && restartCount > old.restartCount;
    });
    if (restarted) add("restarted");
    if (before.ready && !line.ready) add("not-ready");
  }
  return events;
}

export type FaultVerdict =
  | "valid"
  | "no-effect"
  | "not-delivered"
  | "not-recovered"
  | "contaminated"
  | "unmeasured";

/** One indicator on one pod. */
export interface Indication {
  readonly indicator: string;
  readonly unit: string;
  readonly pod: string;
  readonly role: "target" | "bystander";
  readonly measurement: Measurement;
}

export interface FaultEvidence {
  readonly record: FaultRecord | undefined;
  readonly cell: Span;
  /** When it acted, as far as is known. */
  readonly acted: Span | undefined;
  readonly indications: readonly Indication[];
  readonly events: readonly PodEvent[];
  /** Uids of all pods that any fault of the cell meant. */
  readonly meantUids: ReadonlySet<string>;
  /** For kinds that show in a pod's life: what must be seen of each target. */
  readonly expectedEvents: readonly PodEvent["what"][];
  /** Seconds, of the cell's after phase, over which what is left of the shift can be told. */
  readonly reversible: boolean;
}

export interface Judgement {
  readonly verdict: FaultVerdict;
  readonly reasons: readonly string[];
  /** From the injection to the first sign on a target. */
  readonly onsetSeconds: number | null;
}

export function judgeFault(evidence: FaultEvidence): Judgement {
  const undelivered = deliveryProblem(evidence);
  if (undelivered !== undefined)
    return { verdict: "not-delivered", reasons: [undelivered], onsetSeconds: null };
  const record = evidence.record as FaultRecord;
  const acted = evidence.acted as Span;
  const seen = effectsOf(record, acted, evidence);
  const onsets = seen.flatMap(({ onsetMs }) => (onsetMs === null ? [] : [onsetMs]));
  const onsetSeconds = onsets.length === 0 ? null : round((Math.min(...onsets) - acted.fromMs) / 1000);
  const end = (verdict: FaultVerdict, reasons: readonly string[]): Judgement => ({
    verdict,
    reasons,
    onsetSeconds,
  });

  const left = recoveryProblems(evidence);
  if (left.length > 0) return end("not-recovered", left);
  const foreign = [...bystandersHit(evidence), ...unexpectedEvents(evidence, acted)];
  if (foreign.length > 0) return end("contaminated", foreign);
  const missed = seen.filter(({ hit }) => hit === false);
  if (missed.length > 0) {
    return end(
      "no-effect",
      missed.map(({ pod, best }) => `nothing shows on ${pod}${best}`),
    );
  }
  const unknown = seen.filter(({ hit }) => hit === null);
  if (unknown.length > 0 || seen.length === 0) {
    const pods = unknown.map(({ pod }) => pod).join(", ");
    return end("unmeasured", [
      `no indicator has enough samples to show it${pods === "" ? "" : ` on ${pods}`}`,
    ]);
  }
  return end("valid", []);
}

function deliveryProblem({ record, acted }: FaultEvidence): string | undefined {
  if (record === undefined) return "there is no record of it: the conductor has not come to it";
  if (record.delivery !== "delivered" || acted === undefined) {
    return record.reason ?? `the record ends with state ${record.state}`;
  }
  if (record.oneShot) return undefined;
  const plannedMs = record.planned.durationSeconds * 1000;
  const share = Math.max(0, acted.toMs - acted.fromMs) / plannedMs;
  if (share >= thresholds.minimumActingShare) return undefined;
  return `it acted for ${((share * plannedMs) / 1000).toFixed(1)} s of ${record.planned.durationSeconds} s`;
}

interface Effect {
  readonly pod: string;
  readonly hit: boolean | null;
  readonly onsetMs: number | null;
  readonly best: string;
}

/** Each target: hit where any of its indicators, or its life, shows the fault. */
function effectsOf(record: FaultRecord, acted: Span, evidence: FaultEvidence): readonly Effect[] {
  return record.intendedTargets.map(({ pod, uid }): Effect => {
    if (evidence.expectedEvents.length > 0) {
      const event = evidence.events.find(
        ({ uid: other, what, atMs }) =>
          other === uid &&
          evidence.expectedEvents.includes(what) &&
          atMs >= acted.fromMs &&
          atMs < evidence.cell.toMs,
      );
      return { pod, hit: event !== undefined, onsetMs: event?.atMs ?? null, best: "" };
    }
    const own = evidence.indications.filter((one) => one.role === "target" && one.pod === pod);
    const judged = own.filter(({ measurement }) => measurement.hit !== null);
    const shown = judged.find(({ measurement }) => measurement.hit === true);
    const strongest = judged.toSorted((a, b) => (b.measurement.z ?? 0) - (a.measurement.z ?? 0))[0];
    return {
      pod,
      hit: judged.length === 0 ? null : shown !== undefined,
      onsetMs: shown?.measurement.onsetMs ?? null,
      best:
        strongest === undefined ? "" : `: ${strongest.indicator} z ${strongest.measurement.z?.toFixed(1)}`,
    };
  });
}

function recoveryProblems({ record, indications, reversible }: FaultEvidence): readonly string[] {
  if (record === undefined || !reversible) return [];
  if (record.recovery.recovered === null) return ["the injector has not reported the recovery"];
  return indications.flatMap(
    ({ role, pod, indicator, measurement: { hit, shift, zAfter, baseline, after } }) => {
      if (role !== "target" || hit !== true || shift === null) return [];
      if (after.median === null || baseline.median === null) return [];
      const left = (after.median - baseline.median) / shift;
      return left < thresholds.leftShare || (zAfter ?? 0) < thresholds.effectZ
        ? []
        : [`${indicator} on ${pod}: ${Math.round(left * 100)} % of the shift is left after the recovery`];
    },
  );
}

function bystandersHit({ indications }: FaultEvidence): readonly string[] {
  return indications.flatMap(({ role, pod, indicator, measurement: { z, shift } }) => {
    if (role !== "bystander" || z === null || shift === null) return [];
    const targets = indications.filter((one) => one.role === "target" && one.indicator === indicator);
    // Where the target itself shows nothing, there is no shift to compare with.
    const shown = targets.some(({ measurement }) => measurement.hit === true);
    if (z < (shown ? thresholds.bystanderZ : thresholds.effectZ)) return [];
    const largest = Math.max(0, ...targets.map(({ measurement }) => Math.abs(measurement.shift ?? 0)));
    return Math.abs(shift) < thresholds.bystanderShare * largest
      ? []
      : [`${indicator} on ${pod}, which was not meant: z ${z.toFixed(1)}`];
  });
}

/** Restarts that no fault explains: of pods that were not meant, and of targets before the fault. */
function unexpectedEvents({ events, cell, meantUids }: FaultEvidence, acted: Span): readonly string[] {
  return events.flatMap(({ atMs, pod, uid, what }) => {
    if (what === "not-ready" || atMs < cell.fromMs || atMs >= cell.toMs) return [];
    return meantUids.has(uid) && atMs >= acted.fromMs ? [] : [`pod ${pod} ${said(what)}`];
  });
}

function said(what: PodEvent["what"]): string {
  return what === "gone" ? "went away" : what === "restarted" ? "restarted" : "was not ready";
}

export interface ControlJudgement {
  readonly verdict: "control-clean" | "contaminated" | "unmeasured";
  readonly reasons: readonly string[];
}

/** A cell without a fault: nothing may show in what would have been the fault's window. */
export function judgeControl(
  indications: readonly Indication[],
  events: readonly PodEvent[],
  cell: Span,
): ControlJudgement {
  const restarts = events.filter(
    ({ atMs, what }) => what !== "not-ready" && atMs >= cell.fromMs && atMs < cell.toMs,
  );
  const hits = indications.filter(({ measurement: { z } }) => z !== null && z >= thresholds.effectZ);
  const reasons = [
    ...restarts.map(({ pod, what }) => `pod ${pod} ${said(what)}`),
    ...hits.map(
      ({ indicator, pod, measurement }) => `${indicator} on ${pod}: z ${measurement.z?.toFixed(1)}`,
    ),
  ];
  if (reasons.length > 0) return { verdict: "contaminated", reasons };
  return indications.every(({ measurement }) => measurement.z === null)
    ? { verdict: "unmeasured", reasons: ["no indicator has enough samples"] }
    : { verdict: "control-clean", reasons: [] };
}
