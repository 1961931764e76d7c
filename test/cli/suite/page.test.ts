// The page of a suite, and the lines that tell it where no page can be drawn.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { changeLine, renderPage } from "../../../cli/suite/page.ts";
import { Show } from "../../../cli/suite/show.ts";
import { type CaseState, type SuiteState, withCase } from "../../../cli/suite/state.ts";
import { planned, suiteProject } from "./support.ts";

const at = (seconds: number): Date => new Date(seconds * 1000);
const text = (seconds: number): string => at(seconds).toISOString();
const state = (changes: Readonly<Record<string, Partial<CaseState>>>): SuiteState =>
  Object.entries(changes).reduce(
    (before, [name, change]) => withCase(before, name, change, at(0)),
    planned(
      suiteProject(
        "description: d\nexperiment: small\nmatrix: { parallelism.dataParallelism: [1, 2, 3, 4] }\n",
      ),
    ).state,
  );

const done: Partial<CaseState> = {
  status: "done",
  startedAt: text(0),
  attemptStartedAt: text(0),
  endedAt: text(80),
  verdicts: [{ cell: "c", verdict: "valid", experimentId: "i" }],
};
const running: Partial<CaseState> = {
  status: "running",
  startedAt: text(90),
  attemptStartedAt: text(90),
  progress: "load: 12/60 requests sent, 0 failed, 12 s left",
};
const failed: Partial<CaseState> = {
  status: "failed",
  startedAt: text(80),
  attemptStartedAt: text(80),
  endedAt: text(90),
  reason: "no room\non any node",
};

test("before the first case has ended nobody knows what comes on top of the load", () => {
  const page = renderPage({ state: state({ dp1: running }), now: at(95), isPlayed: true });
  expect(page).toMatchInlineSnapshot(`
    "suite s on dev: 0 of 4 done, 1 running, at least 0:01:15 left

      case  state    cells  time
      dp1   running  0/1    0:00:05  load: 12/60 requests sent, 0 failed, 12 s left
      dp2   pending  0/1
      dp3   pending  0/1
      dp4   pending  0/1"
  `);
});

test("a case has failed, one runs, one waits: with the time that is left", () => {
  const page = renderPage({
    state: state({ dp1: done, dp2: failed, dp3: running }),
    now: at(100),
    isPlayed: true,
  });
  expect(page).toMatchInlineSnapshot(`
    "suite s on dev: 1 of 4 done, 1 failed, 1 running, about 0:02:30 left

      case  state    cells  time
      dp1   done     1/1    0:01:20  1 valid
      dp2   failed   0/1    0:00:10
      dp3   running  0/1    0:00:10  load: 12/60 requests sent, 0 failed, 12 s left
      dp4   pending  0/1

    dp2: no room
      on any node
      log: fetched/suites/s/dp2.log"
  `);
});

test("nobody plays it: how to go on, cut to the width of the terminal", () => {
  const stopped: Partial<CaseState> = { ...failed, status: "stopped", reason: "stopped by a person" };
  const skipped: Partial<CaseState> = { status: "skipped", reason: "a case before it has failed" };
  const page = renderPage({
    state: state({ dp1: done, dp2: stopped, dp3: skipped }),
    now: at(100),
    isPlayed: false,
    columns: 60,
  });
  expect(page).toMatchInlineSnapshot(`
    "suite s on dev: 1 of 4 done, 1 stopped, 1 skipped; go on by…

      case  state    cells  time
      dp1   done     1/1    0:01:20  1 valid
      dp2   stopped  0/1    0:00:10
      dp3   skipped  0/1
      dp4   pending  0/1

    dp2: stopped by a person
      log: fetched/suites/s/dp2.log"
  `);
  const end = renderPage({
    state: state({ dp1: done, dp2: done, dp3: done, dp4: done }),
    now: at(100),
    isPlayed: false,
  });
  expect(end.split("\n")[0]).toBe("suite s on dev: 4 of 4 done");
});

beforeEach(
  () =>
    void vi.useFakeTimers({ toFake: ["Date", "performance", "setInterval", "clearInterval"], now: at(100) }),
);
afterEach(() => void vi.useRealTimers());

test("elsewhere than in a terminal: a line for each change, progress no more often than asked, and then the latest", () => {
  const written: string[] = [];
  const show = new Show({ write: (line) => written.push(line) }, 10);
  const progress = (number: number): SuiteState =>
    state({ dp1: { ...running, progress: `load: ${number}/60 requests sent` } });
  show.update(state({}));
  show.update(progress(1));
  show.update(progress(2));
  vi.advanceTimersByTime(11_000);
  show.update(progress(3));
  show.update(progress(3));
  show.update(state({ dp1: done }));
  show.update(state({ dp1: done, dp2: failed }));
  show.end(state({ dp1: done, dp2: failed }));
  expect(written.join("")).toMatchInlineSnapshot(`
    "00:01:40 dp1: running, load: 1/60 requests sent
    00:01:50 dp1: running, load: 2/60 requests sent
    00:01:51 dp1: done, 1 valid
    00:01:51 dp2: failed: no room; on any node
    suite s on dev: 1 of 4 done, 1 failed; go on by: npx llmeval suite resume s
    "
  `);
  expect(changeLine(state({ dp1: done }).cases[0] as CaseState)).toBe("dp1: done, 1 valid");
});

test("in a terminal: the page is drawn anew in its place, each second and no more often than it can be read", () => {
  const written: string[] = [];
  const show = new Show({ isTTY: true, columns: 80, rows: 24, write: (page) => written.push(page) }, 10);
  show.update(state({ dp1: running }));
  show.update(state({ dp1: running }));
  expect(written.length).toBe(1);
  vi.advanceTimersByTime(1000);
  expect(written.length).toBe(2);
  expect(written[1]?.startsWith("\u001b[7A\u001b[Jsuite s on dev: 0 of 4 done, 1 running")).toBe(true);
  show.end(state({ dp1: done }));
  vi.advanceTimersByTime(5000);
  expect(written.length).toBe(3);
  expect(written[2]).toContain("1 of 4 done; go on by: npx llmeval suite resume s");
});

test("a page that is higher than the terminal is cut at its bottom", () => {
  const written: string[] = [];
  const show = new Show({ isTTY: true, rows: 4, write: (page) => written.push(page) }, 10);
  show.update(state({ dp1: running }));
  show.end(state({ dp1: done }));
  expect(written.map((page) => page.trimEnd().split("\n").length)).toEqual([3, 3]);
});
