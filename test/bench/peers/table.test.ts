import { expect, it } from "vitest";
import type { Comparison } from "../../../bench/peers/compare.ts";
import { toTables } from "../../../bench/peers/table.ts";
import { toWork } from "../../../bench/peers/work.ts";

const figure = { p50: 0.1234, p99: -1.5 };
const comparison: Comparison = {
  figures: { ttft: figure, itl: null, tpot: figure, e2e: figure },
  each: { ttft: { p50: 0.1, p99: 1 }, tpot: { p50: 0.2, p99: 2 }, e2e: { p50: 0.3, p99: 3 } },
  delay: { mean: 0.1, p99: 0.2 },
  delayAtServer: null,
  ratePerSecond: 5.714,
  failed: 0,
  cpuSeconds: 1.25,
  cpuShare: 0.043,
  memoryMebibytes: 81.6,
  serverLate: 0.75,
};
const work = toWork(
  { ttftMilliseconds: 200, itlMilliseconds: 50, promptTokens: 64, outputTokens: 32 },
  10,
  14,
);

it("prints three tables, with a reason in place of figures for a client that failed", () => {
  expect(
    toTables(work, "stub", [
      { client: "llmeval", outcome: comparison, load: 0.5 },
      { client: "other", outcome: "failed: exit code 1: see log.txt", load: 2 },
    ]),
  ).toMatchInlineSnapshot(`
    "### 10 streams, stub: 80 requests at 5.71/s, TTFT 200 ms, ITL 50 ms, 64 prompt and 32 output tokens

    Error of the client's figures (client - server), ms:

    | client | TTFT p50 | p99 | ITL p50 | p99 | TPOT p50 | p99 | E2E p50 | p99 |
    |---|---:|---:|---:|---:|---:|---:|---:|---:|
    | llmeval | +0.12 | -1.50 | - | - | +0.12 | -1.50 | +0.12 | -1.50 |
    | other | failed: exit code 1: see log.txt |  |  |  |  |  |  |  |

    Size of the error of each request, ms:

    | client | TTFT each p50 | p99 | TPOT each p50 | p99 | E2E each p50 | p99 |
    |---|---:|---:|---:|---:|---:|---:|
    | llmeval | 0.10 | 1.00 | 0.20 | 2.00 | 0.30 | 3.00 |
    | other | failed: exit code 1: see log.txt |  |  |  |  |  |

    Schedule delay in ms, and cost of the client:

    | client | delay mean | p99 | at server mean | p99 | requests/s | CPU s | cores in the load | MiB | failed | server late p99 | load |
    |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
    | llmeval | 0.10 | 0.20 | - | - | 5.71 | 1.3 | 0.04 | 82 | 0 | 0.75 | 0.5 |
    | other | failed: exit code 1: see log.txt |  |  |  |  |  |  |  |  |  |  |"
  `);
});

it("leaves out the errors of single requests where the server keeps no record", () => {
  const unknown = { ...comparison, each: null, cpuShare: Number.NaN, serverLate: null };
  const text = toTables(work, "simulator", [{ client: "llmeval", outcome: unknown, load: 0.5 }]);
  expect(text).not.toContain("Size of the error");
  expect(text).toContain("| llmeval | 0.10 | 0.20 | - | - | 5.71 | 1.3 | - | 82 | 0 | - | 0.5 |");
});
