// Waits until the operator says that all is ready and each node offers its GPUs. The operator says so too when it has
// found no GPU at all, and Helm does not look at it. Restarts of K3s, during which the API does not answer, are expected.
import { readFileSync } from "node:fs";

const { API_URL, TOKEN_FILE, EXPECTED_GPUS, TIMEOUT_SECONDS, STEADY_SECONDS, POLL_SECONDS } = process.env;

async function get(path) {
  const headers = { authorization: `Bearer ${readFileSync(TOKEN_FILE, "utf8").trim()}` };
  const response = await fetch(API_URL + path, { headers, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`GET ${path}: HTTP ${response.status}`);
  return response.json();
}

/** Undefined where all is ready. */
async function problem() {
  const { status } = await get("/apis/nvidia.com/v1/clusterpolicies/cluster-policy");
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  if (status?.state !== "ready" || ready?.status !== "True") {
    const error = status?.conditions?.find(({ type, status }) => type === "Error" && status === "True");
    return `the GPU operator is ${status?.state ?? "starting"}${error ? `: ${error.message}` : ""}`;
  }
  if (ready.reason !== "Reconciled") return `the GPU operator sees no GPU: ${ready.message}`;
  for (const [node, expected] of Object.entries(JSON.parse(EXPECTED_GPUS))) {
    const offered = (await get(`/api/v1/nodes/${node}`)).status.allocatable?.["nvidia.com/gpu"] ?? "0";
    if (offered !== String(expected)) return `node ${node} offers ${offered} of ${expected} nvidia.com/gpu`;
  }
}

const end = Date.now() + TIMEOUT_SECONDS * 1000;
let last = null;
let readySince;
while (Date.now() < end) {
  const now = await problem().catch(
    (error) => `the API server does not answer: ${error.cause?.message ?? error.message}`,
  );
  if (now !== last) console.log(now ?? "ready");
  readySince = now === undefined ? (readySince ?? Date.now()) : undefined;
  if (readySince !== undefined && Date.now() - readySince >= STEADY_SECONDS * 1000) process.exit(0);
  last = now;
  await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000));
}
console.error(`not ready within ${TIMEOUT_SECONDS} s: ${last ?? "ready, but not for long enough"}`);
process.exit(1);
