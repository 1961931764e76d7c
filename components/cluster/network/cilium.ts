// Cilium from its Helm chart: pod network, Services without kube-proxy, Hubble, and addresses for LoadBalancer Services.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as z from "zod";
import { UserError } from "../../errors.ts";
import { contentHash } from "../../naming.ts";
import { chartSchema, toRelease } from "../charts/chart.ts";
import { childOptions, objectLabels, type PartArgs, partSchema, toResources } from "../common/part.ts";
import { awaitDaemonSet } from "../common/rollout.ts";

/** Context options of Hubble that make series per pod, address or name looked up. */
const unboundedContexts = [
  "ip",
  "dns",
  "pod",
  "pod-name",
  "query",
  "source_ip",
  "source_pod",
  "destination_ip",
  "destination_pod",
];

/** Edges between workloads, not between pods: their number does not grow with a cluster's age. */
const perWorkload =
  "labelsContext=source_namespace,source_workload,destination_namespace,destination_workload";

const addressesSchema = z
  .string()
  .refine((value) => z.union([z.cidrv4(), z.ipv4()]).safeParse(value).success || isRange(value), {
    error: "expected IPv4 addresses: a CIDR, one address, or a range such as 192.0.2.10-192.0.2.20",
  });

const hubbleMetricSchema = z.string().superRefine((metric, context) => {
  const options = metric.split(/[:;=|,]/).slice(1);
  const found = options.find((option) => unboundedContexts.includes(option));
  if (found !== undefined) {
    const message = `"${found}" makes a series per pod, address or name; use namespaces and workloads`;
    context.addIssue({ code: "custom", message });
  }
});

/** Section `cilium` of a cluster's configuration. On real hosts it goes with `k3s.flannelBackend: none`. */
export const ciliumSchema = partSchema(
  {
    chart: chartSchema("cilium"),
    /**
     * Minor version that was installed first, e.g. `1.20`: later charts then keep the defaults of that time.
     * @default the chart's own version
     */
    upgradeCompatibility: z
      .string()
      .regex(/^\d+\.\d+$/, 'expected a minor version such as "1.20"')
      .optional(),
    /** `tunnel` asks nothing of the hosts' network; `native` saves 50 bytes a packet and needs all hosts in one layer-2 network. */
    routing: z.enum(["tunnel", "native"]).default("tunnel"),
    /** Prefix length of each node's share of the pod network; 24 is 254 pods. */
    nodePodCidrBits: z.int().min(16).max(28).default(24),
    loadBalancer: z
      .strictObject({
        /** Addresses for LoadBalancer Services, in the hosts' layer-2 network. @default none: such Services stay pending */
        addresses: z.array(addressesSchema).default([]),
        /** Interfaces that answer for these addresses, as regular expressions. @default all that Cilium uses */
        interfaces: z.array(z.string().min(1)).default([]),
      })
      .prefault({}),
    hubble: z
      .strictObject({
        /** One address for the flows of all nodes. */
        relay: z.boolean().default(true),
        /** Flows that each node keeps in memory. */
        eventBufferCapacity: z
          .int()
          .refine((value) => value >= 1 && value <= 65535 && Number.isInteger(Math.log2(value + 1)), {
            error: "expected 2^n - 1, at most 65535, such as 4095 or 16383",
          })
          .default(16383),
        /** Metrics in Hubble's notation. */
        metrics: z
          .array(hubbleMetricSchema)
          .default([`drop:${perWorkload}`, `tcp:${perWorkload}`, `dns:${perWorkload}`]),
        /** Flows as JSON lines in /var/run/cilium/hubble/events.log of each host. @default not written */
        export: z
          .strictObject({
            fileMaxMebibytes: z.int().min(1).default(50),
            fileMaxBackups: z.int().min(0).default(5),
          })
          .optional(),
      })
      .prefault({}),
    /** How long every node's agent may take. */
    readyTimeoutSeconds: z.int().min(60).default(600),
  },
  "off",
);

export type CiliumConfig = z.output<typeof ciliumSchema>;

/** What Cilium has to know of the cluster. */
export interface CiliumFacts {
  /** The cluster's pod network. */
  readonly podCidr: string;
  readonly nodeCount: number;
}

export interface CiliumArgs extends PartArgs {
  readonly config: CiliumConfig;
  readonly facts: CiliumFacts;
}

const ciliumNamespace = "kube-system";
const objectName = "llmeval";
/** K3s runs a load balancer for the API servers on every host, servers included. */
const apiServer = { k8sServiceHost: "127.0.0.1", k8sServicePort: 6444 } as const;

/** Values of the chart. */
export function toCiliumValues(config: CiliumConfig, facts: CiliumFacts): Record<string, unknown> {
  const { hubble } = config;
  const announces = config.loadBalancer.addresses.length > 0;
  return {
    ...(config.upgradeCompatibility === undefined
      ? {}
      : { upgradeCompatibility: config.upgradeCompatibility }),
    ...apiServer,
    kubeProxyReplacement: true,
    ipam: {
      mode: "cluster-pool",
      operator: {
        clusterPoolIPv4PodCIDRList: [facts.podCidr],
        clusterPoolIPv4MaskSize: checkedMaskSize(config, facts),
      },
    },
    ...(config.routing === "native"
      ? { routingMode: "native", ipv4NativeRoutingCIDR: facts.podCidr, autoDirectNodeRoutes: true }
      : { routingMode: "tunnel", tunnelProtocol: "vxlan" }),
    // The three that Istio's ambient mode needs: Services are resolved in the pod's own network as well, other plugins
    // may chain themselves behind this one, and packets of ztunnel keep the address that it gave them.
    socketLB: { hostNamespaceOnly: true },
    cni: { exclusive: false },
    bpf: { masquerade: false },
    // Renewing a lease per Service and node takes more requests than the client's default allows.
    ...(announces
      ? { l2announcements: { enabled: true }, k8sClientRateLimit: { qps: 20, burst: 40 } }
      : { l2announcements: { enabled: false } }),
    rollOutCiliumPods: true,
    updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1 } },
    resources: toResources("100m", "512Mi", "2Gi"),
    initResources: toResources("10m", "32Mi", "256Mi"),
    certgen: { resources: toResources("10m", "32Mi", "128Mi") },
    prometheus: { enabled: true },
    envoy: {
      rollOutPods: true,
      updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1 } },
      resources: toResources("50m", "128Mi", "1Gi"),
    },
    operator: {
      // Two never fit on one node: they keep apart from each other.
      replicas: Math.min(2, facts.nodeCount),
      rollOutPods: true,
      prometheus: { enabled: true },
      resources: toResources("50m", "128Mi", "512Mi"),
    },
    hubble: {
      enabled: true,
      eventBufferCapacity: String(hubble.eventBufferCapacity),
      relay: {
        enabled: hubble.relay,
        rollOutPods: true,
        resources: toResources("20m", "64Mi", "512Mi"),
      },
      ...(hubble.metrics.length > 0 ? { metrics: { enabled: [...hubble.metrics] } } : {}),
      // Certificates made by Helm would be renewed only by an upgrade, and end after a year.
      tls: { auto: { method: "cronJob" } },
      ...(hubble.export === undefined
        ? {}
        : {
            export: {
              static: {
                enabled: true,
                fileMaxSizeMb: hubble.export.fileMaxMebibytes,
                fileMaxBackups: hubble.export.fileMaxBackups,
              },
            },
          }),
    },
  };
}

/** Spec of the pool of addresses for LoadBalancer Services. */
export function toPoolSpec(config: CiliumConfig): Record<string, unknown> {
  return {
    blocks: config.loadBalancer.addresses.map((addresses) => {
      const [start, stop] = addresses.split("-");
      if (stop !== undefined) return { start, stop };
      return addresses.includes("/") ? { cidr: addresses } : { start: addresses, stop: addresses };
    }),
  };
}

/** Spec of the policy by which nodes answer for these addresses. */
export function toAnnouncementSpec(config: CiliumConfig): Record<string, unknown> {
  const { interfaces } = config.loadBalancer;
  return {
    loadBalancerIPs: true,
    externalIPs: false,
    ...(interfaces.length > 0 ? { interfaces: [...interfaces] } : {}),
  };
}

export class Cilium extends pulumi.ComponentResource {
  /** Ready when pods of every node have a network. */
  readonly network: pulumi.Resource;

  constructor(name: string, args: CiliumArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:Cilium", name, {}, opts);
    const { config } = args;
    const values = toCiliumValues(config, args.facts);
    const release = new k8s.helm.v3.Release(
      `${name}-release`,
      toRelease({
        chart: config.chart,
        name: "cilium",
        namespace: ciliumNamespace,
        values,
        timeoutSeconds: config.readyTimeoutSeconds,
      }),
      childOptions(this, args),
    );
    const rollout = (role: string, daemonSet: string): pulumi.Resource =>
      awaitDaemonSet(
        `${name}-${role}-ready`,
        {
          name: daemonSet,
          namespace: ciliumNamespace,
          revision: contentHash(JSON.stringify([config.chart, values])),
          timeoutSeconds: config.readyTimeoutSeconds,
        },
        childOptions(this, args, { dependsOn: [release] }),
      );
    this.network = rollout("agents", "cilium");
    rollout("envoy", "cilium-envoy");
    if (config.loadBalancer.addresses.length > 0) this.#loadBalancer(name, args);
    this.registerOutputs({});
  }

  /**
   * The operator makes the definitions of both kinds when it starts, which Helm does not wait for. An agent becomes
   * ready only when it has seen them, so that behind the agents they are there.
   */
  #loadBalancer(name: string, args: CiliumArgs): void {
    const labels = objectLabels("cilium");
    const options = childOptions(this, args, {
      dependsOn: [this.network],
      customTimeouts: { create: "2m", update: "2m" },
    });
    new k8s.apiextensions.CustomResource(
      `${name}-pool`,
      {
        apiVersion: "cilium.io/v2",
        kind: "CiliumLoadBalancerIPPool",
        metadata: {
          name: objectName,
          labels,
          // The operator counts a pool's addresses when it begins to hand them out.
          annotations: {
            "pulumi.com/waitFor": 'jsonpath={.status.conditions[?(@.type=="cilium.io/IPsTotal")].message}',
          },
        },
        spec: toPoolSpec(args.config),
      },
      options,
    );
    new k8s.apiextensions.CustomResource(
      `${name}-announcement`,
      {
        apiVersion: "cilium.io/v2alpha1",
        kind: "CiliumL2AnnouncementPolicy",
        // Nothing to wait for: its status only ever names errors.
        metadata: { name: objectName, labels },
        spec: toAnnouncementSpec(args.config),
      },
      options,
    );
  }
}

function checkedMaskSize(config: CiliumConfig, facts: CiliumFacts): number {
  const bits = Number(facts.podCidr.split("/")[1]);
  if (config.nodePodCidrBits > bits && 2 ** (config.nodePodCidrBits - bits) >= facts.nodeCount) {
    return config.nodePodCidrBits;
  }
  throw new UserError(
    `cilium.nodePodCidrBits is ${config.nodePodCidrBits}, which cuts k3s.podCidr ${facts.podCidr} into too few shares for ` +
      `${facts.nodeCount} nodes; give podCidr fewer bits or nodePodCidrBits more`,
  );
}

function isRange(value: string): boolean {
  const [first, last, ...rest] = value.split("-").map((address) => z.ipv4().safeParse(address));
  return first?.success === true && last?.success === true && rest.length === 0;
}
