// Istio in ambient mode from its four Helm charts, what its metrics may tell apart, and waypoints for those that ask.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as z from "zod";
import { contentHash } from "../../naming.ts";
import { type ChartRef, chartSchema, toRelease } from "../charts/chart.ts";
import { childOptions, objectLabels, type PartArgs, partSchema, toResources } from "../common/part.ts";
import { awaitDaemonSet } from "../common/rollout.ts";

/** Section `istio` of a cluster's configuration; the mesh takes in only namespaces that carry its label. */
export const istioSchema = partSchema(
  {
    /** The four charts; they need one version. */
    charts: z
      .strictObject({
        base: chartSchema("istioBase"),
        istiod: chartSchema("istiod"),
        cni: chartSchema("istioCni"),
        ztunnel: chartSchema("ztunnel"),
      })
      .superRefine((charts, context) => {
        const { base, ...others } = charts as Record<string, ChartRef>;
        for (const [key, chart] of Object.entries(others)) {
          if (chart.version !== base?.version) {
            const message = `got ${chart.version}, but base has ${base?.version}; give all four charts one version`;
            context.addIssue({ code: "custom", path: [key, "version"], message });
          }
        }
      })
      .prefault({}),
    /** Copies of the control plane. Without any, traffic flows on and new pods do not join. */
    controlPlaneReplicas: z.int().min(1).max(5).default(1),
    /** Pods of both sides in waypoints' metrics: series per pair of pods. */
    metricsPerPod: z.boolean().default(false),
    /** What each waypoint may take; every request of its namespace passes through it. */
    waypoint: z
      .strictObject({
        cpuRequestMillicores: z.int().min(1).default(200),
        cpuLimitMillicores: z.int().min(1).default(4000),
        memoryRequestMebibytes: z.int().min(64).default(128),
        memoryLimitMebibytes: z.int().min(128).default(1024),
      })
      .prefault({}),
    /** How long each of the charts may take. */
    readyTimeoutSeconds: z.int().min(60).default(600),
  },
  "off",
);

export type IstioConfig = z.output<typeof istioSchema>;

export interface IstioArgs extends PartArgs {
  readonly config: IstioConfig;
}

const istioNamespace = "istio-system";
const waypointName = "waypoint";

/**
 * Labels that say the same on every series here (one cluster, one version, one revision) or that follow from others
 * (principals are namespace and service account).
 */
const droppedTags = [
  "source_cluster",
  "source_version",
  "source_canonical_revision",
  "source_principal",
  "destination_cluster",
  "destination_version",
  "destination_canonical_revision",
  "destination_principal",
] as const;

/** Values of the four charts. */
export function toIstioValues(config: IstioConfig) {
  const { waypoint } = config;
  // Rights for other clusters to read this one.
  const global = { enableReaderRBAC: false };
  return {
    base: { global },
    istiod: {
      profile: "ambient",
      autoscaleEnabled: false,
      replicaCount: config.controlPlaneReplicas,
      resources: toResources("100m", "256Mi", "1Gi"),
      global: {
        ...global,
        waypoint: {
          resources: {
            requests: {
              cpu: `${waypoint.cpuRequestMillicores}m`,
              memory: `${waypoint.memoryRequestMebibytes}Mi`,
            },
            limits: {
              cpu: `${waypoint.cpuLimitMillicores}m`,
              memory: `${waypoint.memoryLimitMebibytes}Mi`,
            },
          },
        },
      },
    },
    cni: {
      profile: "ambient",
      // containerd's own folders, which K3s uses when another network than flannel is installed. The chart's platform
      // "k3s" points at those of the bundled flannel.
      cniBinDir: "/opt/cni/bin",
      cniConfDir: "/etc/cni/net.d",
      resources: toResources("50m", "100Mi", "512Mi"),
    },
    ztunnel: {
      profile: "ambient",
      resources: toResources("100m", "256Mi", "1Gi"),
    },
  };
}

/** Spec of the mesh's Telemetry: no label with an address or a port, so that series do not grow with connections. */
export function toTelemetrySpec(config: IstioConfig): Record<string, unknown> {
  const dropped = Object.fromEntries(droppedTags.map((tag) => [tag, { operation: "REMOVE" }]));
  const overrides = [
    { match: { metric: "ALL_METRICS", mode: "CLIENT_AND_SERVER" }, tagOverrides: dropped },
    ...(config.metricsPerPod
      ? [
          {
            // A waypoint reports as server: behind it is the pod that answers, before it the one that asks.
            match: { metric: "ALL_METRICS", mode: "SERVER" },
            tagOverrides: {
              ...dropped,
              source_pod: { value: "filter_state.downstream_peer.name" },
              destination_pod: { value: "filter_state.upstream_peer.name" },
            },
          },
        ]
      : []),
  ];
  return { metrics: [{ providers: [{ name: "prometheus" }], overrides }] };
}

/** Which traffic of a namespace passes its waypoint. */
export type WaypointFor = "service" | "workload" | "all";

/** Labels of a namespace whose pods are in the mesh; with a waypoint its requests are seen one by one. */
export function toAmbientLabels(options: { readonly waypoint: boolean }): Record<string, string> {
  return {
    "istio.io/dataplane-mode": "ambient",
    ...(options.waypoint ? { "istio.io/use-waypoint": waypointName } : {}),
  };
}

/**
 * The waypoint of a namespace, as inputs of a custom resource. It needs Istio and Gateway API in the cluster.
 * @param trafficFor `service` is what callers of Services send. `workload` and `all` also send what pods say to each
 *   other by address through the one proxy: Ray's own traffic, and with it every replica's fate.
 */
export function toWaypoint(namespace: string, trafficFor: WaypointFor = "service") {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: {
      name: waypointName,
      namespace,
      labels: { ...objectLabels(waypointName), "istio.io/waypoint-for": trafficFor },
      annotations: { "pulumi.com/waitFor": "condition=Programmed" },
    },
    spec: {
      gatewayClassName: "istio-waypoint",
      listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }],
    },
  };
}

export class Istio extends pulumi.ComponentResource {
  /** Ready when pods can join the mesh. */
  readonly mesh: readonly pulumi.Resource[];

  constructor(name: string, args: IstioArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:Istio", name, {}, opts);
    const { charts } = args.config;
    const values = toIstioValues(args.config);
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: istioNamespace,
          labels: {
            ...objectLabels("istio"),
            // The network plug-in's agent and ztunnel work on their hosts.
            "pod-security.kubernetes.io/enforce": "privileged",
          },
        },
      },
      childOptions(this, args),
    );
    const release = (role: keyof typeof charts, releaseName: string, dependsOn: pulumi.Resource[]) =>
      new k8s.helm.v3.Release(
        `${name}-${role}`,
        toRelease({
          chart: charts[role],
          name: releaseName,
          namespace: istioNamespace,
          values: values[role],
          timeoutSeconds: args.config.readyTimeoutSeconds,
        }),
        childOptions(this, args, { dependsOn }),
      );
    const base = release("base", "istio-base", [namespace]);
    const istiod = release("istiod", "istiod", [base]);
    // Neither needs the control plane to be created, but in an upgrade both must come behind it: each works with a
    // control plane of its own minor version or the next, not with an older one.
    const cni = release("cni", "istio-cni", [istiod]);
    const ztunnel = release("ztunnel", "ztunnel", [istiod]);
    const rollout = (role: "cni" | "ztunnel", daemonSet: string, of: pulumi.Resource): pulumi.Resource =>
      awaitDaemonSet(
        `${name}-${role}-ready`,
        {
          name: daemonSet,
          namespace: istioNamespace,
          revision: contentHash(JSON.stringify([charts[role], values[role]])),
          timeoutSeconds: args.config.readyTimeoutSeconds,
        },
        childOptions(this, args, { dependsOn: [of] }),
      );
    this.mesh = [rollout("cni", "istio-cni-node", cni), rollout("ztunnel", "ztunnel", ztunnel)];
    new k8s.apiextensions.CustomResource(
      `${name}-telemetry`,
      {
        apiVersion: "telemetry.istio.io/v1",
        kind: "Telemetry",
        // In the root namespace it holds for all. Nothing to wait for: istiod writes no status.
        metadata: { name: "mesh", namespace: istioNamespace, labels: objectLabels("istio") },
        spec: toTelemetrySpec(args.config),
      },
      // Its webhook is istiod's.
      childOptions(this, args, { dependsOn: [istiod] }),
    );
    this.registerOutputs({});
  }
}
