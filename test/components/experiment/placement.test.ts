import { expect, test } from "vitest";
import { placementOf } from "../../../components/experiment/placement.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";

const projectDir = `${import.meta.dirname}/../../..`;
const resolve = (values: Record<string, unknown>) =>
  resolveExperiment({ projectDir, name: "falcon-baseline", overrides: [{ file: "test", values }] });
const smoke = resolveExperiment({ projectDir, name: "smoke" });

test("workers on GPUs tolerate the GPU's taint; all others stay away from GPU nodes where they can", () => {
  const away = {
    affinity: {
      nodeAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          {
            weight: 100,
            preference: { matchExpressions: [{ key: "nvidia.com/gpu.present", operator: "DoesNotExist" }] },
          },
        ],
      },
    },
  };
  const falcon = resolve({});
  expect(placementOf(falcon, "worker")).toEqual({
    tolerations: [{ key: "nvidia.com/gpu", operator: "Exists" }],
  });
  expect(placementOf(falcon, "head")).toEqual(away);
  expect(placementOf(falcon, "load")).toEqual(away);
  for (const group of ["worker", "head", "load"] as const) expect(placementOf(smoke, group)).toEqual({});
});

test("what the definition asks for is added", () => {
  const nodeSelector = { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" };
  const falcon = resolve({
    placement: {
      worker: { nodeSelector, tolerations: [{ key: "team", value: "llm", effect: "NoExecute" }] },
      load: { nodeSelector: { "kubernetes.io/hostname": "cpu-1" } },
    },
  });
  expect(placementOf(falcon, "worker")).toEqual({
    nodeSelector,
    tolerations: [
      { key: "nvidia.com/gpu", operator: "Exists" },
      { key: "team", value: "llm", effect: "NoExecute" },
    ],
  });
  expect(placementOf(falcon, "load").nodeSelector).toEqual({ "kubernetes.io/hostname": "cpu-1" });
});
