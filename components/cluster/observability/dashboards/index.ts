// All dashboards, in the order in which a reader follows a request: load, engine, Ray, GPU, then faults and the cluster.

import { clusterDashboard } from "./cluster.ts";
import { faultsDashboard } from "./faults.ts";
import { gpuDashboard } from "./gpu.ts";
import { loadDashboard } from "./load.ts";
import type { Dashboard } from "./model.ts";
import { rayDashboard } from "./ray.ts";
import { vllmDashboard } from "./vllm.ts";

/** Every dashboard that Grafana gets. */
export const dashboards: readonly Dashboard[] = [
  loadDashboard,
  vllmDashboard,
  rayDashboard,
  gpuDashboard,
  faultsDashboard,
  clusterDashboard,
];
