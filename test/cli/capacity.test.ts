// What the platform costs per node, counted as the scheduler counts.
import { expect, test } from "vitest";
import { type CapacityNode, formatCapacity, type PlacedPod, toCapacity } from "../../cli/capacity.ts";

const container = (requests: Record<string, string>, limits: Record<string, string> = {}) => ({
  resources: { requests, limits },
});
const pod = (namespace: string, nodeName: string, spec: object, phase = "Running"): PlacedPod => ({
  metadata: { namespace },
  spec: { nodeName, containers: [], ...spec },
  status: { phase },
});
const nodes: CapacityNode[] = [
  {
    metadata: { name: "gpu-1" },
    status: { allocatable: { cpu: "64", memory: "512Gi", "nvidia.com/gpu": "8", pods: "110" } },
  },
  { metadata: { name: "control-1" }, status: { allocatable: { cpu: "7900m", memory: "16Gi", pods: "110" } } },
];
const pods = [
  pod("monitoring", "control-1", {
    containers: [container({ cpu: "500m", memory: "2Gi" }, { memory: "8Gi" }), container({ cpu: "100m" })],
    // Larger than the containers together in CPU only.
    initContainers: [container({ cpu: "1", memory: "1Gi" })],
  }),
  pod("logging", "gpu-1", {
    containers: [container({ cpu: "100m", memory: "128Mi" }, { memory: "256Mi" })],
    initContainers: [{ restartPolicy: "Always", ...container({ cpu: "50m" }) }],
    overhead: { memory: "128Mi" },
  }),
  pod("exp-smoke", "gpu-1", {
    containers: [container({ cpu: "8", memory: "48Gi", "nvidia.com/gpu": "1" })],
  }),
  pod("exp-smoke", "gpu-1", { containers: [container({ cpu: "2" })] }, "Succeeded"),
  { metadata: { namespace: "exp-smoke" }, spec: { containers: [container({ cpu: "9" })] } },
];

test("the table", () => {
  expect(formatCapacity(toCapacity(nodes, pods, new Set(["exp-smoke"])))).toMatchInlineSnapshot(`
    "node                              cpu  memory GiB  nvidia.com/gpu
    control-1  allocatable           7.90        16.0               0
               platform requests     1.00         2.0               0
               platform limits       0.00         8.0               0
               experiments request   0.00         0.0               0
               left for models       6.90        14.0               0
    gpu-1      allocatable          64.00       512.0               8
               platform requests     0.15         0.3               0
               platform limits       0.00         0.3               0
               experiments request   8.00        48.0               1
               left for models      55.85       463.8               7
    "
  `);
});
