// Which nodes the pods of an experiment may go to.

import type * as k8s from "@pulumi/kubernetes";
import type { ResolvedExperiment } from "../../experiments/schema.ts";

type PodSpec = k8s.types.input.core.v1.PodSpec;
export type Placement = Pick<PodSpec, "nodeSelector" | "tolerations" | "affinity">;

/** The label that NVIDIA's GPU operator gives to nodes with GPUs. */
const gpuNodeLabel = "nvidia.com/gpu.present";

/**
 * The part of a pod's spec that says where it goes. Beside what the experiment asks for: workers tolerate the taint that
 * is named after their accelerator, as clusters keep other pods off GPU nodes by it; all others prefer nodes without
 * GPUs, where the load generator has its processors for itself.
 */
export function placementOf(
  { engine, parallelism, placement }: Pick<ResolvedExperiment, "engine" | "parallelism" | "placement">,
  group: keyof ResolvedExperiment["placement"],
): Placement {
  const { nodeSelector, tolerations } = placement[group];
  const onGpus = engine === "vllm";
  const own =
    onGpus && group === "worker" ? [{ key: parallelism.acceleratorResource, operator: "Exists" }] : [];
  const all = [...own, ...tolerations];
  return {
    ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }),
    ...(all.length === 0 ? {} : { tolerations: all }),
    ...(onGpus && group !== "worker" ? { affinity: { nodeAffinity: awayFromGpus } } : {}),
  };
}

const awayFromGpus = {
  preferredDuringSchedulingIgnoredDuringExecution: [
    {
      weight: 100,
      preference: { matchExpressions: [{ key: gpuNodeLabel, operator: "DoesNotExist" }] },
    },
  ],
};
