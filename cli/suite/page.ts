// The one page of a suite: a line for each case, what has gone wrong, and how long it will take.

import { clock } from "../explain.ts";
import type { CaseState, SuiteState } from "./state.ts";

export interface PageArgs {
  readonly state: SuiteState;
  readonly now: Date;
  /** Whether a process plays the suite. */
  readonly isPlayed: boolean;
  /** Columns of the terminal. @default no limit */
  readonly columns?: number;
}

/** The page, without a line feed at the end. */
export function renderPage({ state, now, isPlayed, columns = Number.POSITIVE_INFINITY }: PageArgs): string {
  const rows = state.cases.map((one) => [
    one.name,
    one.status,
    `${one.verdicts.length}/${one.cells.length}`,
    one.startedAt === null ? "" : clock(elapsedSeconds(one, now)),
    one.status === "running" ? (one.progress ?? "") : countVerdicts(one),
  ]);
  const table = [["case", "state", "cells", "time", ""], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  const lines = table.map((row) =>
    `  ${row.map((cell, column) => (column < 4 ? cell.padEnd(widths[column] ?? 0) : cell)).join("  ")}`.trimEnd(),
  );
  const reasons = state.cases
    .filter(({ reason, status }) => reason !== null && status !== "skipped")
    .flatMap(({ name, reason, log }) => [
      "",
      `${name}: ${(reason ?? "").replaceAll("\n", "\n  ")}`,
      `  log: ${log}`,
    ]);
  return [headline(state, now, isPlayed), "", ...lines, ...reasons]
    .flatMap((text) => text.split("\n"))
    .map((line) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line))
    .join("\n");
}

/** What changes between two pages, one line for each case: for logs, where a page cannot be drawn anew. */
export function changeLine(one: CaseState): string {
  const verdicts = one.verdicts.length === 0 ? "" : `, ${countVerdicts(one)}`;
  if (one.status === "running") return `${one.name}: running, ${one.progress ?? ""}`;
  const reason = one.reason === null ? "" : `: ${one.reason.replaceAll(/:?\s*\n\s*/g, "; ")}`;
  return `${one.name}: ${one.status}${verdicts}${reason}`;
}

export function headline(state: SuiteState, now: Date, isPlayed: boolean): string {
  const count = (status: CaseState["status"]): number =>
    state.cases.filter((one) => one.status === status).length;
  const counts = (["failed", "stopped", "skipped", "running"] as const)
    .filter((status) => count(status) > 0)
    .map((status) => `, ${count(status)} ${status}`);
  const left = state.cases.filter(({ status }) => status === "pending" || status === "running").length;
  const open = count("done") < state.cases.length;
  const end = isPlayed
    ? left === 0
      ? ""
      : `, ${etaText(state, now)}`
    : open
      ? `; go on by: npx llmeval suite resume ${state.suite}`
      : "";
  return `suite ${state.suite} on ${state.cluster}: ${count("done")} of ${state.cases.length} done${counts.join("")}${end}`;
}

/** `about 0:12:00 left`; `at least` before the first case has shown what comes on top of the load. */
function etaText(state: SuiteState, now: Date): string {
  const extra = state.cases
    .filter(({ status, attemptStartedAt }) => status === "done" && attemptStartedAt !== null)
    .map((one) => secondsBetween(one.attemptStartedAt, one.endedAt) - playedSeconds(one));
  const mean = extra.length === 0 ? 0 : extra.reduce((sum, one) => sum + one, 0) / extra.length;
  const running = state.cases.filter(({ status }) => status === "running");
  const seconds =
    state.cases
      .filter(({ status }) => status === "pending")
      .reduce((sum, one) => sum + playedSeconds(one) + mean, 0) +
    running.reduce(
      (sum, one) =>
        sum +
        Math.max(0, playedSeconds(one) + mean - secondsBetween(one.attemptStartedAt, now.toISOString())),
      0,
    );
  const left = clock(Math.max(0, seconds) / Math.max(1, running.length));
  return `${extra.length === 0 ? "at least" : "about"} ${left} left`;
}

/** Of the cells that the last attempt plays. */
function playedSeconds({ playedSeconds: all, playing, cells }: CaseState): number {
  return playing === null ? all : (all * playing.length) / cells.length;
}

function elapsedSeconds(one: CaseState, now: Date): number {
  return secondsBetween(one.attemptStartedAt, one.endedAt ?? now.toISOString());
}

function secondsBetween(from: string | null, to: string | null): number {
  return from === null || to === null ? 0 : (Date.parse(to) - Date.parse(from)) / 1000;
}

function countVerdicts({ verdicts }: CaseState): string {
  const counts = new Map<string, number>();
  for (const { verdict } of verdicts) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  return [...counts].map(([verdict, count]) => `${count} ${verdict}`).join(", ");
}
