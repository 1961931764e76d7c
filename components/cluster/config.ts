// Schema of configs/clusters/*.yaml: strict, every default explicit. Each part's own schema stands in the part's file.

import * as z from "zod";
import { hostsOf, k3sSchema, k3sStorageClass } from "./k3s-config.ts";
import { kuberaySchema } from "./kuberay.ts";
import { prometheusSchema } from "./prometheus.ts";

export const clusterConfigSchema = z.strictObject({
  /** Hosts to install K3s on. Not needed when the stack names an existing cluster by `llmeval:kubeconfig`. */
  k3s: k3sSchema.optional(),
  /** JSON map from image key to reference; relative to the project. */
  imagesFile: z.string().min(1).optional(),
  storage: z.strictObject({ className: z.string().min(1).default(k3sStorageClass) }).prefault({}),
  kuberay: kuberaySchema.prefault({}),
  prometheus: prometheusSchema.prefault({}),
  /** Accelerators of a cluster that is not described by hosts. */
  accelerators: z.record(z.string(), z.int().min(1)).default({}),
});

export type ClusterConfig = z.output<typeof clusterConfigSchema>;

/** Accelerators by type over all hosts, plus those named for the cluster as a whole. */
export function toAccelerators(config: ClusterConfig): Record<string, number> {
  const parts = [config.accelerators, ...hostsOf(config.k3s).map((host) => host.accelerators)];
  const totals: Record<string, number> = {};
  for (const [type, count] of parts.flatMap((part) => Object.entries(part))) {
    totals[type] = (totals[type] ?? 0) + count;
  }
  return totals;
}
