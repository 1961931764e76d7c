// Prometheus and node exporter: scrapes engines, Ray, containers, nodes and the platform. No operator, no alerting.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as yaml from "yaml";
import * as z from "zod";
import { contentHash } from "../../naming.ts";
import { addressedPartSchema, appLabels, childOptions, objectLabels, type PartArgs } from "../common/part.ts";
import { dataVolume } from "../common/volume.ts";
import { toNodeExporterSpec } from "./node-exporter.ts";
import type { ScrapedPart } from "./platform-jobs.ts";
import { prometheusPort, toScrapeConfig } from "./scrape-config.ts";

/** Section `prometheus` of a cluster's configuration. */
export const prometheusSchema = addressedPartSchema({
  /** Between two scrapes of engines, Ray, containers and nodes; a fault of a minute needs several. */
  scrapeIntervalSeconds: z.int().min(1).max(60).default(5),
  retention: z
    .string()
    .regex(/^\d+(ms|s|m|h|d|w|y)$/, "expected a duration such as 15d")
    .default("15d"),
  /**
   * Size of the volume; four fifths of it are for blocks, the oldest of which go first. A larger value grows the
   * volume in place where its storage class can do that. @default no volume: metrics are lost when the pod moves
   */
  storageGibibytes: z.int().min(1).optional(),
  cpuRequestMillicores: z.int().min(1).default(100),
  memoryRequestMebibytes: z.int().min(64).default(256),
  memoryLimitMebibytes: z.int().min(128).default(2048),
});

export type PrometheusConfig = z.output<typeof prometheusSchema>;

export interface PrometheusArgs extends PartArgs {
  readonly config: PrometheusConfig;
  /** Storage class of the volume, when the configuration asks for one. */
  readonly storageClass: string;
  /** Image references. */
  readonly images: { readonly prometheus: string; readonly nodeExporter: string };
  /** Parts of the cluster that have metrics of their own. */
  readonly scrapedParts: readonly ScrapedPart[];
  /** How often the accelerators' exporter has new values. @default as often as everything under test is scraped */
  readonly acceleratorIntervalSeconds?: number;
  /** Whether a destroy refuses to delete the volume. @default false */
  readonly protect?: boolean;
}

const monitoringNamespace = "monitoring";
/** Address inside the cluster. */
export const prometheusUrl = `http://prometheus.monitoring.svc:${prometheusPort}`;
const claimName = "prometheus-data";
const clusterRoleName = "llmeval-prometheus";
const metadata = {
  name: "prometheus",
  namespace: monitoringNamespace,
  labels: objectLabels("prometheus"),
} as const;
/** `nobody`: Prometheus writes to its volume only. */
const nobody = 65534;

/** The text of the configuration file. */
export function toConfigText(
  args: Pick<PrometheusArgs, "config" | "scrapedParts" | "acceleratorIntervalSeconds">,
): string {
  const { scrapeIntervalSeconds } = args.config;
  const scrapeConfig = toScrapeConfig({
    scrapeIntervalSeconds,
    acceleratorIntervalSeconds: args.acceleratorIntervalSeconds ?? scrapeIntervalSeconds,
    parts: args.scrapedParts,
  });
  return yaml.stringify(scrapeConfig, { lineWidth: 0, aliasDuplicateObjects: false });
}

/**
 * The program's arguments. Neither admin API nor lifecycle endpoints: nothing in the cluster may delete or stop it.
 * The write-ahead log is compressed by default.
 */
export function toPrometheusArgs(config: PrometheusConfig): string[] {
  return [
    "--config.file=/etc/prometheus/prometheus.yml",
    "--storage.tsdb.path=/prometheus",
    `--storage.tsdb.retention.time=${config.retention}`,
    ...(config.storageGibibytes === undefined
      ? []
      : // Leaves room for the write-ahead log, which this limit does not count.
        [`--storage.tsdb.retention.size=${Math.floor(config.storageGibibytes * 0.8 * 1024)}MB`]),
    `--web.listen-address=:${prometheusPort}`,
  ];
}

/** Spec of the Prometheus Deployment. */
export function toPrometheusSpec(
  config: PrometheusConfig,
  image: string,
  configMapName: string,
): k8s.types.input.apps.v1.DeploymentSpec {
  return {
    replicas: 1,
    // Two pods must not write to one volume.
    strategy: { type: "Recreate" },
    selector: { matchLabels: appLabels("prometheus") },
    template: {
      metadata: { labels: objectLabels("prometheus") },
      spec: {
        serviceAccountName: "prometheus",
        terminationGracePeriodSeconds: 60,
        securityContext: { runAsNonRoot: true, runAsUser: nobody, runAsGroup: nobody, fsGroup: nobody },
        containers: [
          {
            name: "prometheus",
            image,
            args: toPrometheusArgs(config),
            ports: [{ name: "http", containerPort: prometheusPort }],
            readinessProbe: {
              httpGet: { path: "/-/ready", port: prometheusPort },
              periodSeconds: 2,
              failureThreshold: 30,
            },
            resources: {
              requests: {
                cpu: `${config.cpuRequestMillicores}m`,
                memory: `${config.memoryRequestMebibytes}Mi`,
              },
              limits: { memory: `${config.memoryLimitMebibytes}Mi` },
            },
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
            volumeMounts: [
              { name: "config", mountPath: "/etc/prometheus", readOnly: true },
              { name: "data", mountPath: "/prometheus" },
            ],
          },
        ],
        volumes: [
          { name: "config", configMap: { name: configMapName } },
          config.storageGibibytes === undefined
            ? { name: "data", emptyDir: {} }
            : { name: "data", persistentVolumeClaim: { claimName } },
        ],
      },
    },
  };
}

/** What Prometheus may do in the whole cluster: find targets and read the metrics of kubelets and API servers. */
export const prometheusRules: k8s.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["nodes", "pods"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["nodes/metrics"], verbs: ["get"] },
  { nonResourceURLs: ["/metrics"], verbs: ["get"] },
];

/** In namespace `default` it also looks up the API servers. */
const apiServerNamespace = "default";
export const apiServerRules: k8s.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["services"], verbs: ["get", "list", "watch"] },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["get", "list", "watch"] },
];

export class Prometheus extends pulumi.ComponentResource {
  constructor(name: string, args: PrometheusArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:Prometheus", name, {}, opts);
    // Names are constants and not outputs: in a preview that does not know the cluster yet, an unknown namespace would
    // show as a replacement of every object.
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: monitoringNamespace, labels: objectLabels("monitoring") } },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    const access = this.#access(name, child);
    const configText = toConfigText(args);
    // The name changes with the content, so a new configuration is a new pod.
    const configMapName = `prometheus-${contentHash(configText)}`;
    const configMap = new k8s.core.v1.ConfigMap(
      `${name}-config`,
      { metadata: { ...metadata, name: configMapName }, data: { "prometheus.yml": configText } },
      child,
    );
    const claim = dataVolume(
      `${name}-data`,
      {
        metadata: { ...metadata, name: claimName },
        sizeGibibytes: args.config.storageGibibytes,
        storageClass: args.storageClass,
      },
      { ...child, protect: args.protect ?? false },
    );
    new k8s.apps.v1.Deployment(
      `${name}-server`,
      { metadata, spec: toPrometheusSpec(args.config, args.images.prometheus, configMapName) },
      childOptions(this, args, { dependsOn: [...access, configMap, ...claim] }),
    );
    new k8s.core.v1.Service(
      `${name}-service`,
      {
        // No wait for endpoints: the Deployment already waits for its pod.
        metadata: { ...metadata, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: {
          selector: appLabels("prometheus"),
          ports: [{ name: "http", port: prometheusPort, targetPort: prometheusPort }],
        },
      },
      child,
    );
    new k8s.apps.v1.DaemonSet(
      `${name}-node-exporter`,
      {
        metadata: {
          name: "node-exporter",
          namespace: monitoringNamespace,
          labels: objectLabels("node-exporter"),
        },
        spec: toNodeExporterSpec(args.images.nodeExporter),
      },
      child,
    );
    this.registerOutputs({});
  }

  #access(name: string, child: pulumi.CustomResourceOptions): pulumi.Resource[] {
    const labels = objectLabels("prometheus");
    const subjects = [{ kind: "ServiceAccount", name: metadata.name, namespace: monitoringNamespace }];
    const account = new k8s.core.v1.ServiceAccount(`${name}-account`, { metadata }, child);
    const role = new k8s.rbac.v1.ClusterRole(
      `${name}-role`,
      { metadata: { name: clusterRoleName, labels }, rules: prometheusRules },
      child,
    );
    const binding = new k8s.rbac.v1.ClusterRoleBinding(
      `${name}-binding`,
      {
        metadata: { name: clusterRoleName, labels },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterRoleName },
        subjects,
      },
      child,
    );
    const lookup = { name: clusterRoleName, namespace: apiServerNamespace, labels };
    const lookupRole = new k8s.rbac.v1.Role(
      `${name}-api-server-role`,
      { metadata: lookup, rules: apiServerRules },
      child,
    );
    const lookupBinding = new k8s.rbac.v1.RoleBinding(
      `${name}-api-server-binding`,
      {
        metadata: lookup,
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: clusterRoleName },
        subjects,
      },
      child,
    );
    return [account, role, binding, lookupRole, lookupBinding];
  }
}
