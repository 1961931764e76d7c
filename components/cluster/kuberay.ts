// The KubeRay operator with its CRDs, from its Helm chart; no Ray cluster.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as z from "zod";
import { versions } from "../versions.ts";
import { toRepositoryAndTag } from "./images.ts";
import { childOptions, objectLabels, type PartArgs, partSchema, urlSchema } from "./part.ts";

/** Section `kuberay` of a cluster's configuration. */
export const kuberaySchema = partSchema({
  /** Helm repository. */
  repository: urlSchema.default("https://ray-project.github.io/kuberay-helm/"),
  chart: z.string().min(1).default("kuberay-operator"),
  version: z
    .string()
    .regex(/^\d+\.\d+\.\d+(-[\w.]+)?$/, "expected an exact chart version")
    .default(versions.kuberay),
});

export type KubeRayConfig = z.output<typeof kuberaySchema>;

export interface KubeRayArgs extends PartArgs {
  readonly config: KubeRayConfig;
  /** Image reference of the operator. */
  readonly image: string;
}

const kuberayNamespace = "kuberay-system";
const releaseName = "kuberay-operator";

/** Inputs of the Helm release, without its namespace. */
export function toKubeRayRelease(config: KubeRayConfig, image: string) {
  return {
    name: releaseName,
    chart: config.chart,
    version: config.version,
    repositoryOpts: { repo: config.repository },
    values: {
      image: { ...toRepositoryAndTag(image), pullPolicy: "IfNotPresent" },
      // The chart's limit of 100m CPU throttles the operator while it reconciles many pods.
      resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { cpu: "1", memory: "512Mi" } },
    },
    // A failed install stays for inspection; the next `up` upgrades it.
    atomic: false,
    maxHistory: 5,
    timeout: 300,
  };
}

export class KubeRay extends pulumi.ComponentResource {
  constructor(name: string, args: KubeRayArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:KubeRay", name, {}, opts);
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: kuberayNamespace, labels: objectLabels("kuberay") } },
      childOptions(this, args),
    );
    // A Release and not plain objects: the chart's CRDs are 100,000 lines that belong to the chart. Previews load the
    // chart only once the cluster exists, so a fresh clone needs no network.
    new k8s.helm.v3.Release(
      `${name}-operator`,
      { ...toKubeRayRelease(args.config, args.image), namespace: kuberayNamespace },
      childOptions(this, args, { dependsOn: [namespace] }),
    );
    this.registerOutputs({});
  }
}
