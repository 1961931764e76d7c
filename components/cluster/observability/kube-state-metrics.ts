// kube-state-metrics: the state of pods, nodes, jobs, Ray services and faults as metrics.

import { basename, dirname } from "node:path/posix";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as yaml from "yaml";
import * as z from "zod";
import { contentHash } from "../../naming.ts";
import { appLabels, childOptions, objectLabels, type PartArgs, partSchema } from "../common/part.ts";
import { toCustomResourceRules, toCustomResourceState } from "./custom-resource-state.ts";

/** Section `kubeStateMetrics` of a cluster's configuration. */
export const kubeStateMetricsSchema = partSchema({
  cpuRequestMillicores: z.int().min(1).default(20),
  memoryRequestMebibytes: z.int().min(32).default(64),
  /** Grows with the number of objects: about 200 MiB for 1000 pods. */
  memoryLimitMebibytes: z.int().min(64).default(512),
});

export type KubeStateMetricsConfig = z.output<typeof kubeStateMetricsSchema>;

/** Parts whose objects get metrics too. */
export interface DescribedParts {
  readonly kuberay: boolean;
  readonly chaosMesh: boolean;
}

export interface KubeStateMetricsArgs extends PartArgs {
  readonly config: KubeStateMetricsConfig;
  /** Image reference. */
  readonly image: string;
  readonly parts: DescribedParts;
}

const appName = "kube-state-metrics";
const clusterRoleName = `llmeval-${appName}`;
const metadata = { name: appName, namespace: appName, labels: objectLabels(appName) } as const;
const port = 8080;
const telemetryPort = 8081;
const nobody = 65534;
const configFile = "/etc/kube-state-metrics/custom-resources.yaml";

/** Kinds that it reads, by API group; the rights of its account and its arguments both come from this list. */
const resources: Readonly<Record<string, readonly string[]>> = {
  "": ["namespaces", "nodes", "persistentvolumeclaims", "pods"],
  apps: ["daemonsets", "deployments", "statefulsets"],
  batch: ["jobs"],
};

/** Labels of objects that become labels of kube_<kind>_labels; each other label would be a new series for nothing. */
const labels: Readonly<Record<string, readonly string[]>> = {
  jobs: ["app.kubernetes.io/name", "llmeval/experiment", "llmeval/experiment-id"],
  namespaces: ["app.kubernetes.io/part-of", "llmeval/experiment"],
  nodes: ["llmeval.io/role", "nvidia.com/gpu.product"],
  pods: [
    "app",
    "app.kubernetes.io/name",
    "llmeval/experiment",
    "llmeval/experiment-id",
    "llmeval/replica",
    "ray.io/cluster",
    "ray.io/group",
    "ray.io/node-type",
  ],
};

/** Several series for each pod that say what its spec says, and never change. */
const deniedMetrics = [
  "kube_.+_(created|metadata_generation|metadata_resource_version)",
  "kube_pod_(ips|nodeselectors|overhead_.+|restart_policy|runtimeclass_name_info|scheduler|service_account|tolerations)",
  "kube_pod_spec_volumes_.+",
  "kube_pod_status_(qos_class|scheduled|scheduled_time|initialized_time|container_ready_time|ready_time)",
  "kube_node_(spec_pod_cidrs|status_addresses)",
];

/** The program's arguments. Custom resources are not among `--resources`: it finds them by their definitions. */
export function toKubeStateMetricsArgs(parts: DescribedParts): string[] {
  return [
    `--port=${port}`,
    `--telemetry-port=${telemetryPort}`,
    `--resources=${Object.values(resources).flat().sort().join(",")}`,
    `--metric-labels-allowlist=${Object.entries(labels)
      .map(([kind, keys]) => `${kind}=[${keys.join(",")}]`)
      .join(",")}`,
    `--metric-denylist=${deniedMetrics.join(",")}`,
    ...(describes(parts) ? [`--custom-resource-state-config-file=${configFile}`] : []),
  ];
}

/** What it may do: list and watch exactly what it describes. */
export function toKubeStateMetricsRules(parts: DescribedParts): k8s.types.input.rbac.v1.PolicyRule[] {
  const verbs = ["list", "watch"];
  return [
    ...Object.entries(resources).map(([group, kinds]) => ({
      apiGroups: [group],
      resources: [...kinds],
      verbs,
    })),
    ...toCustomResourceRules(parts).map((rule) => ({ ...rule, verbs })),
  ];
}

/** Spec of the Deployment; without a ConfigMap no custom resource is described. */
export function toKubeStateMetricsSpec(
  config: KubeStateMetricsConfig,
  image: string,
  parts: DescribedParts,
  configMapName: string | undefined,
): k8s.types.input.apps.v1.DeploymentSpec {
  return {
    replicas: 1,
    // Two at a time would count every object twice.
    strategy: { type: "Recreate" },
    selector: { matchLabels: appLabels(appName) },
    template: {
      metadata: { labels: objectLabels(appName) },
      spec: {
        serviceAccountName: appName,
        securityContext: { runAsNonRoot: true, runAsUser: nobody, runAsGroup: nobody },
        containers: [
          {
            name: appName,
            image,
            args: toKubeStateMetricsArgs(parts),
            ports: [
              { name: "http-metrics", containerPort: port },
              { name: "telemetry", containerPort: telemetryPort },
            ],
            readinessProbe: { httpGet: { path: "/readyz", port: telemetryPort }, periodSeconds: 2 },
            livenessProbe: { httpGet: { path: "/livez", port }, periodSeconds: 10, failureThreshold: 6 },
            resources: {
              requests: {
                cpu: `${config.cpuRequestMillicores}m`,
                memory: `${config.memoryRequestMebibytes}Mi`,
              },
              limits: { memory: `${config.memoryLimitMebibytes}Mi` },
            },
            securityContext: {
              allowPrivilegeEscalation: false,
              capabilities: { drop: ["ALL"] },
              readOnlyRootFilesystem: true,
            },
            ...(configMapName === undefined
              ? {}
              : { volumeMounts: [{ name: "config", mountPath: dirname(configFile), readOnly: true }] }),
          },
        ],
        ...(configMapName === undefined
          ? {}
          : { volumes: [{ name: "config", configMap: { name: configMapName } }] }),
      },
    },
  };
}

export class KubeStateMetrics extends pulumi.ComponentResource {
  constructor(name: string, args: KubeStateMetricsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:KubeStateMetrics", name, {}, opts);
    const { config, image, parts } = args;
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: metadata.namespace, labels: metadata.labels } },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    const access = this.#access(name, parts, child);
    const configText = describes(parts)
      ? yaml.stringify(toCustomResourceState(parts), { lineWidth: 0 })
      : undefined;
    const configMapName = configText === undefined ? undefined : `${appName}-${contentHash(configText)}`;
    const configMap =
      configText === undefined
        ? []
        : [
            new k8s.core.v1.ConfigMap(
              `${name}-config`,
              {
                metadata: { ...metadata, name: configMapName },
                data: { [basename(configFile)]: configText },
              },
              child,
            ),
          ];
    new k8s.apps.v1.Deployment(
      `${name}-server`,
      { metadata, spec: toKubeStateMetricsSpec(config, image, parts, configMapName) },
      childOptions(this, args, { dependsOn: [...access, ...configMap] }),
    );
    this.registerOutputs({});
  }

  #access(name: string, parts: DescribedParts, child: pulumi.CustomResourceOptions): pulumi.Resource[] {
    const account = new k8s.core.v1.ServiceAccount(`${name}-account`, { metadata }, child);
    const role = new k8s.rbac.v1.ClusterRole(
      `${name}-role`,
      {
        metadata: { name: clusterRoleName, labels: metadata.labels },
        rules: toKubeStateMetricsRules(parts),
      },
      child,
    );
    const binding = new k8s.rbac.v1.ClusterRoleBinding(
      `${name}-binding`,
      {
        metadata: { name: clusterRoleName, labels: metadata.labels },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterRoleName },
        subjects: [{ kind: "ServiceAccount", name: appName, namespace: metadata.namespace }],
      },
      child,
    );
    return [account, role, binding];
  }
}

function describes(parts: DescribedParts): boolean {
  return parts.kuberay || parts.chaosMesh;
}
