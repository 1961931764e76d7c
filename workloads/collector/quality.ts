// quality.json: a few checks that say whether the results can be trusted. Every failed part of the export is one.
import type { LoadReport, QualityCheck, RequestRow } from "../shared/rows.ts";
import type { ClusterExport } from "./cluster.ts";
import type { JobExport, TargetHealth } from "./prometheus.ts";
import type { RequestsExport } from "./requests.ts";
import type { Stats } from "./stats.ts";

export interface Evidence {
  readonly report: LoadReport | undefined;
  /** Why there is no report. */
  readonly reportProblem: string | undefined;
  readonly requests: RequestsExport;
  readonly tokens: TokenCounts;
  readonly overall: Stats;
  /** Poisson and burst arrivals scatter around the target rate; constant ones do not. */
  readonly randomArrivals: boolean;
  /** Requests follow answers, not a clock: there is no rate to keep, and none is late. */
  readonly closedLoop: boolean;
  readonly jobs: readonly JobExport[];
  readonly health: readonly TargetHealth[];
  /** Where faults act: targets there may well be down. Undefined in a run without faults. */
  readonly faultedNamespace: string | undefined;
  readonly cluster: ClusterExport | undefined;
  /** Parts of the export that failed, with the reason. */
  readonly problems: readonly string[];
}

/** Counts how many answers have as many tokens as were asked for. */
export class TokenCounts {
  ok = 0;
  /** Of those, the ones whose prompt's length was known: not that of a file's prompt, nor that of a session's later turns. */
  knownPrompts = 0;
  /** Tokens that the server counted beyond the text that was sent, and how many requests had as many. */
  readonly promptOverheads = new Map<number, number>();
  outputAsExpected = 0;

  add(row: RequestRow): void {
    if (row.status !== "ok") return;
    this.ok += 1;
    if (row.expectedPromptTokens !== null) this.knownPrompts += 1;
    if (row.promptTokens !== null && row.expectedPromptTokens !== null) {
      const overhead = row.promptTokens - row.expectedPromptTokens;
      this.promptOverheads.set(overhead, (this.promptOverheads.get(overhead) ?? 0) + 1);
    }
    if (row.outputTokens === row.expectedOutputTokens) this.outputAsExpected += 1;
  }
}

const lagLimitMs = 50;

export function qualityChecks(evidence: Evidence): readonly QualityCheck[] {
  const { report, requests, tokens, overall, jobs, health } = evidence;
  const empty = jobs.filter(({ samples }) => samples === 0).map(({ job }) => job);
  const judged = health.filter(
    ({ namespace }) => evidence.faultedNamespace === undefined || namespace !== evidence.faultedNamespace,
  );
  const scrapes = judged.reduce((sum, { samples }) => sum + samples, 0);
  const up = judged.reduce((sum, { samples, upShare }) => sum + samples * upShare, 0);
  const down = judged.filter(({ upShare }) => upShare < 1).map(({ job, instance }) => `${job} ${instance}`);
  // Its own part of it: what waited because every worker was busy is the engine's doing, or that of load.workers.
  const lag = report?.selfCheck?.lagP99Ms ?? overall.lagMs.p99;
  const sent = overall.ratePerSecond.sent;
  const target = overall.ratePerSecond.target;
  const problems = [...evidence.problems, ...(evidence.cluster?.problems ?? [])];
  return [
    check("load-ended", report !== undefined, "true", report !== undefined, evidence.reportProblem),
    check(
      "load-not-aborted",
      report?.aborted ?? null,
      "false",
      report?.aborted === false,
      report?.abortReason,
    ),
    check(
      "rows-equal-scheduled",
      requests.rows,
      `== ${report?.requests.scheduled ?? "(unknown)"}`,
      requests.rows === report?.requests.scheduled,
    ),
    check("rows-readable", requests.unreadableLines, "== 0 unreadable lines", requests.unreadableLines === 0),
    check("requests-ok", overall.requests.ok, "> 0", overall.requests.ok > 0),
    ...(evidence.closedLoop && lag === null
      ? []
      : [check("lag-p99-ms", lag, `< ${lagLimitMs}`, lag !== null && lag < lagLimitMs)]),
    ...selfCheck(report),
    ...(tokens.ok > 0 && tokens.knownPrompts === 0 ? [] : [promptCheck(tokens)]),
    share("output-tokens-as-expected", tokens.outputAsExpected, tokens.ok),
    ...(evidence.closedLoop ? [] : [rateCheck(sent, target, overall.seconds, evidence.randomArrivals)]),
    check("metrics-jobs", jobs.length, "> 0", jobs.length > 0),
    check("metrics-jobs-empty", empty.length, "== 0", empty.length === 0, empty.join(", ")),
    check(
      "targets-up-share",
      scrapes === 0 ? null : up / scrapes,
      ">= 0.99",
      scrapes > 0 && up / scrapes >= 0.99,
      down.slice(0, 10).join(", "),
    ),
    check(
      "export-problems",
      problems.length,
      "== 0",
      problems.length === 0,
      problems.slice(0, 20).join("; "),
    ),
  ];
}

/** What the load generator says of itself; a report of one that does not look at itself has no such check. */
function selfCheck(report: LoadReport | undefined): readonly QualityCheck[] {
  const self = report?.selfCheck ?? undefined;
  if (self === undefined) return [];
  const figures = [
    `CPU share ${self.cpuShare.toFixed(2)}`,
    ...(self.throttledSeconds === null ? [] : [`throttled for ${self.throttledSeconds.toFixed(2)} s`]),
    `${self.socketErrors} socket errors`,
    `lag p99 ${self.lagP99Ms.toFixed(2)} ms`,
  ].join(", ");
  const note = self.reasons.length === 0 ? figures : `${self.reasons.join("; ")} (${figures})`;
  return [check("load-generator-kept-up", !self.bottleneck, "true", !self.bottleneck, note)];
}

function rateCheck(
  sent: number | null,
  target: number | null,
  seconds: number | null,
  randomArrivals: boolean,
): QualityCheck {
  const known = sent !== null && target !== null && target > 0 && seconds !== null && seconds > 0;
  if (!known)
    return check("sent-rate-share", null, ">= 0.98", false, "no request, or no plan to compare with");
  // A Poisson count of n has the deviation sqrt(n); a constant one misses at most one at the window's edge.
  const expected = target * seconds;
  const threshold = 1 - Math.max(0.02, randomArrivals ? 3 / Math.sqrt(expected) : 1 / expected);
  return check("sent-rate-share", sent / target, `>= ${threshold.toFixed(3)}`, sent / target >= threshold);
}

/** The server counts its chat template too: that adds the same to every prompt, or the text was not as long as asked. */
function promptCheck({ knownPrompts, promptOverheads }: TokenCounts): QualityCheck {
  const [overhead, count] = [...promptOverheads]
    .filter(([tokens]) => tokens >= 0)
    .reduce((most, entry) => (entry[1] > most[1] ? entry : most), [0, 0]);
  const note = overhead > 0 ? `the chat template adds ${overhead} tokens to each prompt` : undefined;
  return share("prompt-tokens-as-expected", count, knownPrompts, note);
}

function share(name: string, count: number, of: number, note?: string): QualityCheck {
  return check(name, of === 0 ? null : count / of, ">= 0.99", of > 0 && count / of >= 0.99, note);
}

function check(
  name: string,
  value: QualityCheck["value"],
  threshold: string,
  pass: boolean,
  note?: string | null,
): QualityCheck {
  const rounded = typeof value === "number" ? Math.round(value * 1e6) / 1e6 : value;
  const base = { check: name, value: rounded, threshold, pass };
  return note === undefined || note === null || note === "" ? base : { ...base, note };
}
