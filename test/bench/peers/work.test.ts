import { expect, it } from "vitest";
import { toWork } from "../../../bench/peers/work.ts";

it("keeps the asked number of streams in flight, with a whole number of requests", () => {
  const pace = { ttftMilliseconds: 200, itlMilliseconds: 50, promptTokens: 64, outputTokens: 32 };
  expect(toWork(pace, 100, 14)).toEqual({
    ...pace,
    streams: 100,
    durationSeconds: 14,
    requests: 800,
    ratePerSecond: 57.142858,
  });
  expect(Math.floor(toWork(pace, 10, 14).ratePerSecond * 14)).toBe(80);
});
