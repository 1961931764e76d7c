import { describe, expect, it } from "vitest";
import {
  compare,
  configured,
  gridDelay,
  lateness,
  ofWork,
  pairs,
  type TruthRow,
  toTimes,
  type Usage,
} from "../../../bench/peers/compare.ts";
import { type ClientRow, toWork } from "../../../bench/peers/work.ts";

const pace = { ttftMilliseconds: 200, itlMilliseconds: 50, promptTokens: 64, outputTokens: 3 };
const work = { ...toWork(pace, 1, 1), ratePerSecond: 10, requests: 2 };
const second = 1_000_000_000;

function truthRow(id: string, receivedMs: number, sentMs: readonly number[], outputTokens = 3): TruthRow {
  return {
    id,
    receivedNs: receivedMs * 1e6,
    sentNs: sentMs.map((at) => (receivedMs + at) * 1e6),
    outputTokens,
  };
}

function clientRow(id: string | null, start: number, error: number, delay: number | null = null): ClientRow {
  return { id, start, delay, ttft: 200 + error, tpot: 50, e2e: 300 + error, gaps: [50, 50] };
}

const truth = [truthRow("a", 1000, [200, 250, 300]), truthRow("b", 1100, [200, 250, 300])];
const usage: Usage = {
  exitCode: 0,
  cpuSeconds: 3,
  peakMemoryBytes: 2 ** 21,
  samples: [
    { unixNs: 0.5 * second, cpuSeconds: 1 },
    { unixNs: 1.0 * second, cpuSeconds: 2 },
    { unixNs: 1.25 * second, cpuSeconds: 2.125 },
    { unixNs: 2 * second, cpuSeconds: 2.5 },
  ],
};

describe("a client against the server's record", () => {
  it("gives the error of its figures, of each request, of its schedule, and its cost", () => {
    const rows = [clientRow("b", 1100, 4, 3), clientRow("a", 1000, 2, 1)];
    expect(compare({ arrivals: "constant" }, work, { rows, failed: 0 }, truth, usage)).toEqual({
      figures: {
        ttft: { p50: 3, p99: expect.closeTo(3.98) },
        itl: { p50: 0, p99: 0 },
        tpot: { p50: 0, p99: 0 },
        e2e: { p50: 3, p99: expect.closeTo(3.98) },
      },
      each: {
        ttft: { p50: 3, p99: expect.closeTo(3.98) },
        tpot: { p50: 0, p99: 0 },
        e2e: { p50: 3, p99: expect.closeTo(3.98) },
      },
      delay: { mean: 2, p99: expect.closeTo(2.98) },
      delayAtServer: { mean: 0, p99: 0 },
      ratePerSecond: 10,
      failed: 0,
      cpuSeconds: 3,
      cpuShare: expect.closeTo(0.5),
      memoryMebibytes: 2,
      serverLate: 0,
    });
  });

  it("takes the pace for the truth where the server keeps no record", () => {
    const rows = [clientRow(null, 0, 5), clientRow(null, 100, 5)];
    const { figures, each, delayAtServer, cpuShare } = compare(
      { arrivals: "constant" },
      work,
      { rows, failed: 0 },
      null,
      usage,
    );
    expect(figures).toEqual({
      ttft: { p50: 5, p99: 5 },
      itl: { p50: 0, p99: 0 },
      tpot: { p50: 0, p99: 0 },
      e2e: { p50: 5, p99: 5 },
    });
    expect([each, delayAtServer, cpuShare]).toEqual([null, null, Number.NaN]);
  });

  it("has no figure where the client has none", () => {
    const rows = [{ ...clientRow(null, 0, 0), gaps: null }];
    expect(compare({ arrivals: "constant" }, work, { rows, failed: 1 }, truth, usage).figures.itl).toBe(null);
    expect(compare({ arrivals: "constant" }, work, { rows: [], failed: 2 }, truth, usage).figures.ttft).toBe(
      null,
    );
  });

  it("derives a delay from the starts only where the rate is constant, and prefers the client's own", () => {
    const rows = [clientRow(null, 0, 0), clientRow(null, 107, 0)];
    const delayOf = (arrivals: "constant" | "exponential", own?: { mean: number; p99: number }) =>
      compare({ arrivals }, work, { rows, failed: 0, delay: own }, truth, usage);
    expect(delayOf("constant").delay).toEqual({ mean: 3.5, p99: expect.closeTo(6.93) });
    expect(delayOf("exponential").delay).toBe(null);
    expect(delayOf("exponential").delayAtServer).toBe(null);
    expect(delayOf("exponential", { mean: 1, p99: 2 }).delay).toEqual({ mean: 1, p99: 2 });
  });
});

it("reads the server's times as a client without error would", () => {
  expect(toTimes(truthRow("a", 1000, [200, 251, 303]))).toEqual({
    ttft: 200,
    tpot: 51.5,
    e2e: 303,
    gaps: [51, 52],
  });
  expect(configured(pace)).toEqual({ ttft: 200, tpot: 50, e2e: 300, gaps: [50] });
});

it("knows how late the server was with each token", () => {
  expect(lateness(truthRow("a", 1000, [200, 251, 303]), pace)).toEqual([0, 1, 3]);
});

it("leaves out probes, cut requests and what came before the load", () => {
  const all = [
    truthRow("load 2", 3000, [1, 2, 3]),
    truthRow("probe of another length", 500, [1], 1),
    truthRow("cut", 2500, [1]),
    truthRow("warm-up", 1000, [1, 2, 3]),
    truthRow("load 1", 2000, [1, 2, 3]),
  ];
  expect(ofWork(all, work).map(({ id }) => id)).toEqual(["load 1", "load 2"]);
});

it("counts delay on the grid from the most punctual request", () => {
  expect(gridDelay([205, 0, 102], 10)).toEqual({ mean: expect.closeTo(7 / 3), p99: expect.closeTo(4.94) });
});

it("pairs by id, else by order, and not at all when one is missing", () => {
  const named = (rows: readonly ClientRow[]) =>
    pairs(rows, truth)?.map(([row, other]) => `${row.start} ${other.id}`) ?? null;
  expect(named([clientRow("b", 1, 0)])).toEqual(["1 b"]);
  expect(named([clientRow(null, 2, 0), clientRow(null, 1, 0)])).toEqual(["1 a", "2 b"]);
  expect(named([clientRow(null, 2, 0)])).toBe(null);
});
