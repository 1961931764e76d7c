// What a suite comes to, for people: its cases with time, requests and accelerator hours, and how they are played.

import { clock } from "../explain.ts";
import type { PlannedCase, SuitePlan } from "./plan.ts";

/** The page of `suite run --plan`. */
export function planPage(plan: SuitePlan): string {
  const { cases } = plan;
  const hours = (seconds: number): string => (seconds / 3600).toFixed(2);
  const total = (of: (one: PlannedCase) => number): number => cases.reduce((sum, one) => sum + of(one), 0);
  const rows = cases.map((one) => [
    one.name,
    String(one.cells.length),
    clock(one.playedSeconds),
    clock(one.longestSeconds),
    String(one.requests),
    one.accelerators === 0 ? "-" : String(one.accelerators),
    one.accelerators === 0 ? "-" : hours(one.accelerators * one.playedSeconds),
  ]);
  const sums = [
    `${cases.length} case${cases.length === 1 ? "" : "s"}`,
    String(total(({ cells }) => cells.length)),
    clock(total(({ playedSeconds }) => playedSeconds)),
    clock(total(({ longestSeconds }) => longestSeconds)),
    String(total(({ requests }) => requests)),
    "",
    hours(total(({ accelerators, playedSeconds }) => accelerators * playedSeconds)),
  ];
  const header = ["case", "cells", "load plays", "at most", "requests", "accelerators", "accelerator hours"];
  const gated = cases.filter(({ experiment: { engine, model } }) => engine === "vllm" && model.gated);
  const shortened = cases.filter(({ shortenedFrom }) => shortenedFrom !== undefined);
  return [
    `suite ${plan.suite} on cluster ${plan.cluster}: ${plan.description}`,
    "",
    ...alignRight([header, ...rows, sums]),
    "",
    `stacks exp-${plan.suite}-<case>, ${atOnce(plan.concurrency)}; after a failed case the suite ${
      plan.onFailure === "continue" ? "goes on" : "stops"
    }${plan.keepStacks ? "; stacks are kept" : ""}`,
    ...(gated.length === 0
      ? []
      : [
          `gated models, set HF_TOKEN unless the hosts hold their weights: ${gated.map(({ name }) => name).join(", ")}`,
        ]),
    ...shortened.map(({ name, shortenedFrom }) => `case ${name} is short for ${shortenedFrom}`),
    "",
  ].join("\n");
}

function atOnce(concurrency: SuitePlan["concurrency"]): string {
  if (concurrency === "accelerators") return "as many at once as the cluster's accelerators allow";
  return concurrency === 1 ? "one after the other" : `${concurrency} at once`;
}

/** Columns two blanks apart: the first to the left, the others to the right. */
function alignRight(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    `  ${row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ")}`.trimEnd(),
  );
}
