// Our load generator: k6 with the extension of workloads/load.
import { readFileSync, writeFileSync } from "node:fs";
import { access, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { RequestRow } from "../../../workloads/shared/rows.ts";
import type { Client, ClientRow } from "../work.ts";

const leadMilliseconds = 2_000;
/** What an experiment's load Job sets by default: 80 % of the container's 512 MiB. */
const goMemoryLimit = "410MiB";

export const ours: Client = {
  name: "llmeval",
  arrivals: "constant",
  prepare(work, target, places, folder) {
    const spec = {
      schemaVersion: 1,
      experimentId: "peers-r1-000000",
      target: {
        url: `${target.url}/v1/completions`,
        model: target.model,
        api: "completions",
        stream: true,
        headers: {},
      },
      seed: 1,
      workers: work.streams * 2,
      spawnRatePerSecond: 0,
      requestTimeoutSeconds: 60,
      t0TimeoutSeconds: 60,
      timelineFile: `${folder}/timeline.json`,
      outputDir: `${folder}/load`,
      cells: [
        {
          id: "level",
          startOffsetSeconds: 0,
          durationSeconds: work.durationSeconds,
          ratePerSecond: work.requests / work.durationSeconds,
          arrivals: "constant",
          burstSize: 1,
          promptTokens: work.promptTokens,
          outputTokens: work.outputTokens,
          phases: [{ name: "before", startOffsetSeconds: 0, durationSeconds: work.durationSeconds }],
        },
      ],
    };
    writeFileSync(`${folder}/load.json`, JSON.stringify(spec));
    return {
      argv: [
        places.k6,
        "run",
        "--quiet",
        "--no-usage-report",
        "--no-color",
        "--summary-mode=disabled",
        `${places.root}/workloads/load/script.js`,
      ],
      env: {
        LLMEVAL_LOAD_SPEC: `${folder}/load.json`,
        K6_AUTO_EXTENSION_RESOLUTION: "false",
        GOMEMLIMIT: goMemoryLimit,
      },
    };
  },
  async beside(folder, signal) {
    while (!signal.aborted) {
      const ready = await access(`${folder}/load/ready.json`).then(
        () => true,
        () => false,
      );
      if (ready) {
        const t0 = BigInt(Date.now() + leadMilliseconds) * 1_000_000n;
        await writeFile(
          `${folder}/timeline.json`,
          JSON.stringify({ schemaVersion: 1, t0UnixNs: String(t0) }),
        );
        return;
      }
      await sleep(100);
    }
  },
  read(folder) {
    const lines = readFileSync(`${folder}/load/requests.jsonl`, "utf8").trim().split("\n");
    const all = lines.map((line) => JSON.parse(line) as RequestRow);
    const rows = all.filter(({ status }) => status === "ok").map(toClientRow);
    return { rows, failed: all.length - rows.length };
  },
};

function toClientRow(row: RequestRow): ClientRow {
  return {
    id: row.requestId,
    start: Number(row.sentUnixNs) / 1e6,
    delay: Number(row.lagNs) / 1e6,
    ttft: Number(row.ttftNs) / 1e6,
    tpot: Number(row.tpotNs) / 1e6,
    e2e: Number(row.e2eNs) / 1e6,
    gaps: row.itlNs.map((gap) => gap / 1e6),
  };
}
