// Opens TCP connections to the Ray pods: what a network fault does to a pod shows in the time until one is established.
import { appendFile } from "node:fs/promises";
import { connect } from "node:net";
import type { ProbeLine } from "../shared/faults.ts";
import { nowUnixNs } from "../shared/time.ts";

/** Beyond the first retransmission (1 s) the answer counts as lost. */
const limitMs = 900;

function probe(pod: string, address: string, port: number): Promise<ProbeLine> {
  const unixNs = String(nowUnixNs());
  const began = performance.now();
  return new Promise((done) => {
    const socket = connect({ host: address, port });
    const end = (outcome: Pick<ProbeLine, "connectMs" | "error">): void => {
      clearTimeout(timer);
      socket.destroy();
      done({ unixNs, pod, ...outcome });
    };
    const timer = setTimeout(() => end({ connectMs: null, error: "timeout" }), limitMs);
    socket.once("connect", () => end({ connectMs: Math.round((performance.now() - began) * 1000) / 1000 }));
    // A refusal comes from the pod as well: the way there and back works.
    socket.once("error", (error: NodeJS.ErrnoException) => {
      const refused = error.code === "ECONNREFUSED";
      const connectMs = refused ? Math.round((performance.now() - began) * 1000) / 1000 : null;
      end({ connectMs, error: error.code ?? error.message });
    });
  });
}

/** One probe of each pod, at once, and a line for each. */
export async function probeAll(
  pods: readonly { readonly pod: string; readonly address: string }[],
  port: number,
  file: string,
): Promise<void> {
  const lines = await Promise.all(pods.map(({ pod, address }) => probe(pod, address, port)));
  if (lines.length > 0) await appendFile(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}
