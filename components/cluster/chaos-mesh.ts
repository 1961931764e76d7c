// Chaos Mesh with its CRDs, from its Helm chart: controller, one daemon on each node, dashboard on request; no faults.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as z from "zod";
import { chartSchema, toRelease } from "./charts/chart.ts";
import { childOptions, objectLabels, type PartArgs, partSchema } from "./common/part.ts";
import { toRepositoryAndTag } from "./images.ts";

/** Section `chaosMesh` of a cluster's configuration. */
export const chaosMeshSchema = partSchema(
  {
    chart: chartSchema("chaosMesh"),
    /** Socket of the nodes' containerd. K3s has it here under any data directory. */
    containerdSocket: z
      .string()
      .startsWith("/", "expected an absolute path")
      .default("/run/k3s/containerd/containerd.sock"),
    /** A web page that shows and makes faults; it asks for a token. */
    dashboard: z.boolean().default(false),
  },
  "off",
);

export type ChaosMeshConfig = z.output<typeof chaosMeshSchema>;

/** Image references. */
export interface ChaosMeshImages {
  readonly chaosController: string;
  readonly chaosDaemon: string;
  readonly chaosDashboard: string;
  /** Stands in for a container while the fault pod-failure acts on it. */
  readonly pause: string;
}

export interface ChaosMeshArgs extends PartArgs {
  readonly config: ChaosMeshConfig;
  readonly images: ChaosMeshImages;
}

const chaosMeshNamespace = "chaos-mesh";
const releaseName = "chaos-mesh";
/** GPU nodes often carry taints, and faults must reach them too. */
const everyNode = [{ operator: "Exists" }];

/** A reference in the three parts that the chart joins again. Without a registry it is one of Docker Hub. */
function toImage(reference: string) {
  const { repository, tag } = toRepositoryAndTag(reference);
  const slash = repository.indexOf("/");
  return slash === -1
    ? { registry: "docker.io", repository: `library/${repository}`, tag }
    : { registry: repository.slice(0, slash), repository: repository.slice(slash + 1), tag };
}

/** Values of the chart. */
export function toChaosMeshValues(config: ChaosMeshConfig, images: ChaosMeshImages) {
  return {
    // Roles for all namespaces; the filter below says in which of them faults may act.
    clusterScoped: true,
    enableProfiling: false,
    controllerManager: {
      image: toImage(images.chaosController),
      replicaCount: 1,
      // Only in namespaces with the annotation chaos-mesh.org/inject=enabled.
      enableFilterNamespace: true,
      podChaos: { podFailure: { pauseImage: images.pause } },
      resources: { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "512Mi" } },
      tolerations: everyNode,
    },
    chaosDaemon: {
      image: toImage(images.chaosDaemon),
      runtime: "containerd",
      socketPath: config.containerdSocket,
      privileged: true,
      // What eats CPU and memory is moved into its target's cgroup before it begins, so it does not count here.
      resources: { requests: { cpu: "20m", memory: "64Mi" }, limits: { memory: "512Mi" } },
      tolerations: everyNode,
    },
    dashboard: config.dashboard
      ? {
          create: true,
          image: toImage(images.chaosDashboard),
          securityMode: true,
          // Reached by `kubectl port-forward`; the chart's default is a port on every node.
          service: { type: "ClusterIP" },
          resources: { requests: { cpu: "20m", memory: "64Mi" }, limits: { memory: "256Mi" } },
        }
      : { create: false, securityMode: true },
    dnsServer: { create: false },
  };
}

/** Inputs of the Helm release. It is ready when the controller, which serves the webhooks, is available. */
export function toChaosMeshRelease(config: ChaosMeshConfig, images: ChaosMeshImages) {
  return toRelease({
    chart: config.chart,
    name: releaseName,
    namespace: chaosMeshNamespace,
    values: toChaosMeshValues(config, images),
  });
}

export class ChaosMesh extends pulumi.ComponentResource {
  constructor(name: string, args: ChaosMeshArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:ChaosMesh", name, {}, opts);
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: chaosMeshNamespace,
          // The daemon is privileged and shares the hosts' process namespace.
          labels: { ...objectLabels("chaos-mesh"), "pod-security.kubernetes.io/enforce": "privileged" },
        },
      },
      childOptions(this, args),
    );
    new k8s.helm.v3.Release(
      `${name}-release`,
      toChaosMeshRelease(args.config, args.images),
      childOptions(this, args, { dependsOn: [namespace] }),
    );
    this.registerOutputs({});
  }
}
