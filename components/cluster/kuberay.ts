// The KubeRay operator with its CRDs, from its Helm chart; no Ray cluster.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type * as z from "zod";
import { chartSchema, toRelease } from "./charts/chart.ts";
import { childOptions, objectLabels, type PartArgs, partSchema } from "./common/part.ts";
import { toRepositoryAndTag } from "./images.ts";

/** Section `kuberay` of a cluster's configuration. */
export const kuberaySchema = partSchema({ chart: chartSchema("kuberay") });

export type KubeRayConfig = z.output<typeof kuberaySchema>;

export interface KubeRayArgs extends PartArgs {
  readonly config: KubeRayConfig;
  /** Image reference of the operator. */
  readonly image: string;
}

const kuberayNamespace = "kuberay-system";
const releaseName = "kuberay-operator";

/** Inputs of the Helm release. */
export function toKubeRayRelease(config: KubeRayConfig, image: string) {
  return toRelease({
    chart: config.chart,
    name: releaseName,
    namespace: kuberayNamespace,
    values: {
      image: { ...toRepositoryAndTag(image), pullPolicy: "IfNotPresent" },
      // The chart's limit of 100m CPU throttles the operator while it reconciles many pods.
      resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { cpu: "1", memory: "512Mi" } },
      batchScheduler: { enabled: false },
      // Served on the operator's port 8080; a ServiceMonitor would need the CRDs of an operator that is not here.
      metrics: { enabled: true, serviceMonitor: { enabled: false } },
    },
    timeoutSeconds: 300,
  });
}

export class KubeRay extends pulumi.ComponentResource {
  constructor(name: string, args: KubeRayArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:KubeRay", name, {}, opts);
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: kuberayNamespace, labels: objectLabels("kuberay") } },
      childOptions(this, args),
    );
    // A Release and not plain objects: the chart's CRDs are 100,000 lines that belong to the chart.
    new k8s.helm.v3.Release(
      `${name}-operator`,
      toKubeRayRelease(args.config, args.image),
      childOptions(this, args, { dependsOn: [namespace] }),
    );
    this.registerOutputs({});
  }
}
