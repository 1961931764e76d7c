// Prometheus and node exporter: scrapes Ray, inference engines, cAdvisor and nodes. No operator, no alerting, no dashboards.

import { createHash } from "node:crypto";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as yaml from "yaml";
import * as z from "zod";
import { addressedPartSchema, appLabels, childOptions, objectLabels, type PartArgs } from "./part.ts";

/** Section `prometheus` of a cluster's configuration. */
export const prometheusSchema = addressedPartSchema({
  scrapeIntervalSeconds: z.int().min(1).max(60).default(5),
  retention: z
    .string()
    .regex(/^\d+(ms|s|m|h|d|w|y)$/, "expected a duration such as 15d")
    .default("15d"),
  /** Size of the volume. @default no volume: metrics are lost when the pod moves */
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
}

const monitoringNamespace = "monitoring";
/** Address inside the cluster. */
export const prometheusUrl = "http://prometheus.monitoring.svc:9090";
const port = 9090;
const nodeExporterPort = 9100;
const claimName = "prometheus-data";
const clusterRoleName = "llmeval-prometheus";
const metadata = {
  name: "prometheus",
  namespace: monitoringNamespace,
  labels: objectLabels("prometheus"),
} as const;
/** `nobody`: neither program needs rights on its node's files beyond reading. */
const nobody = 65534;
const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

type Relabeling = Record<string, unknown>;

const podLabels: readonly Relabeling[] = [
  copyLabel("__meta_kubernetes_namespace", "namespace"),
  copyLabel("__meta_kubernetes_pod_name", "pod"),
  copyLabel("__meta_kubernetes_pod_container_name", "container"),
  copyLabel("__meta_kubernetes_pod_node_name", "node"),
  copyLabel("__meta_kubernetes_pod_label_ray_io_cluster", "ray_io_cluster"),
  copyLabel("__meta_kubernetes_pod_label_ray_io_node_type", "ray_io_node_type"),
];

/** The configuration file of Prometheus as an object. */
export function toScrapeConfig(config: PrometheusConfig): Record<string, unknown> {
  return {
    global: {
      scrape_interval: `${config.scrapeIntervalSeconds}s`,
      scrape_timeout: `${Math.min(config.scrapeIntervalSeconds, 5)}s`,
    },
    scrape_configs: [
      { job_name: "prometheus", static_configs: [{ targets: [`localhost:${port}`] }] },
      podJob("ray", [
        keep("__meta_kubernetes_pod_label_ray_io_cluster", ".+"),
        portIs("(.+-)?metrics"),
        portIsNot("engine-metrics"),
      ]),
      podJob("engine", [portIs("engine-metrics")]),
      podJob("pods", [
        keep("__meta_kubernetes_pod_label_ray_io_cluster", ""),
        portIs("(.+-)?metrics"),
        portIsNot("engine-metrics"),
      ]),
      {
        job_name: "cadvisor",
        scheme: "https",
        metrics_path: "/metrics/cadvisor",
        authorization: { credentials_file: `${tokenFolder}/token` },
        // Kubelets serve with certificates of their own; the token is what authorises.
        tls_config: { insecure_skip_verify: true },
        // cAdvisor stamps samples when it reads the cgroup, which is what fault windows are compared with.
        honor_timestamps: true,
        kubernetes_sd_configs: [{ role: "node" }],
        relabel_configs: [copyLabel("__meta_kubernetes_node_name", "node")],
        metric_relabel_configs: [
          // One series per task state and per failure type and cgroup: the bulk of cAdvisor, of no use here.
          drop("__name__", "container_(tasks_state|memory_failures_total|blkio_device_usage_total)"),
        ],
      },
      {
        job_name: "node",
        kubernetes_sd_configs: [{ role: "node" }],
        relabel_configs: [
          copyLabel("__meta_kubernetes_node_name", "node"),
          {
            source_labels: ["__meta_kubernetes_node_address_InternalIP"],
            target_label: "__address__",
            replacement: `$1:${nodeExporterPort}`,
          },
        ],
      },
    ],
  };
}

/** The program's arguments. Neither admin API nor lifecycle endpoints: nothing in the cluster may delete or stop it. */
export function toPrometheusArgs(config: PrometheusConfig): string[] {
  return [
    "--config.file=/etc/prometheus/prometheus.yml",
    "--storage.tsdb.path=/prometheus",
    `--storage.tsdb.retention.time=${config.retention}`,
    ...(config.storageGibibytes === undefined
      ? []
      : // Leaves room for the write-ahead log, which this limit does not count.
        [`--storage.tsdb.retention.size=${Math.floor(config.storageGibibytes * 0.8 * 1024)}MB`]),
    `--web.listen-address=:${port}`,
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
            ports: [{ name: "http", containerPort: port }],
            readinessProbe: { httpGet: { path: "/-/ready", port }, periodSeconds: 2, failureThreshold: 30 },
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

/** Spec of the node exporter DaemonSet: one per node, in the node's network and process namespaces. */
export function toNodeExporterSpec(image: string): k8s.types.input.apps.v1.DaemonSetSpec {
  return {
    selector: { matchLabels: appLabels("node-exporter") },
    template: {
      metadata: { labels: objectLabels("node-exporter") },
      spec: {
        hostNetwork: true,
        hostPID: true,
        automountServiceAccountToken: false,
        tolerations: [{ operator: "Exists" }],
        securityContext: { runAsNonRoot: true, runAsUser: nobody, runAsGroup: nobody },
        containers: [
          {
            name: "node-exporter",
            image,
            args: [
              "--path.rootfs=/host",
              "--path.procfs=/host/proc",
              "--path.sysfs=/host/sys",
              `--web.listen-address=:${nodeExporterPort}`,
              // Mounts and links of pods come and go; they would be a new series each.
              "--collector.filesystem.mount-points-exclude=^/(dev|proc|run|sys|var/lib/(kubelet|rancher|containerd))($|/)",
              "--collector.netclass.ignored-devices=^(veth|cali|lxc).*$",
              "--collector.netdev.device-exclude=^(veth|cali|lxc).*$",
            ],
            ports: [{ name: "node", containerPort: nodeExporterPort, hostPort: nodeExporterPort }],
            readinessProbe: { httpGet: { path: "/", port: nodeExporterPort }, periodSeconds: 2 },
            resources: { requests: { cpu: "20m", memory: "32Mi" }, limits: { memory: "128Mi" } },
            securityContext: {
              allowPrivilegeEscalation: false,
              capabilities: { drop: ["ALL"] },
              readOnlyRootFilesystem: true,
            },
            volumeMounts: [
              { name: "root", mountPath: "/host", readOnly: true, mountPropagation: "HostToContainer" },
            ],
          },
        ],
        volumes: [{ name: "root", hostPath: { path: "/" } }],
      },
    },
  };
}

/** What Prometheus may do: find targets and read the kubelets' metrics. */
const prometheusRules: k8s.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["nodes", "pods"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["nodes/metrics"], verbs: ["get"] },
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
    const scrapeConfig = yaml.stringify(toScrapeConfig(args.config), {
      lineWidth: 0,
      aliasDuplicateObjects: false,
    });
    // The name changes with the content, so a new configuration is a new pod.
    const configMapName = `prometheus-${createHash("sha256").update(scrapeConfig).digest("hex").slice(0, 8)}`;
    const configMap = new k8s.core.v1.ConfigMap(
      `${name}-config`,
      {
        metadata: { ...metadata, name: configMapName },
        data: { "prometheus.yml": scrapeConfig },
      },
      child,
    );
    const claim = this.#claim(name, args, child);
    new k8s.apps.v1.Deployment(
      `${name}-server`,
      {
        metadata,
        spec: toPrometheusSpec(args.config, args.images.prometheus, configMapName),
      },
      childOptions(this, args, { dependsOn: [...access, configMap, ...claim] }),
    );
    new k8s.core.v1.Service(
      `${name}-service`,
      {
        // No wait for endpoints: the Deployment already waits for its pod.
        metadata: { ...metadata, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: { selector: appLabels("prometheus"), ports: [{ name: "http", port, targetPort: port }] },
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
        subjects: [{ kind: "ServiceAccount", name: metadata.name, namespace: monitoringNamespace }],
      },
      child,
    );
    return [account, role, binding];
  }

  #claim(name: string, args: PrometheusArgs, child: pulumi.CustomResourceOptions): pulumi.Resource[] {
    const size = args.config.storageGibibytes;
    if (size === undefined) {
      return [];
    }
    const claim = new k8s.core.v1.PersistentVolumeClaim(
      `${name}-data`,
      {
        metadata: {
          ...metadata,
          name: claimName,
          // A class that binds on first use stays pending until the pod exists, and the pod waits for this object.
          annotations: { "pulumi.com/skipAwait": "true" },
        },
        spec: {
          accessModes: ["ReadWriteOnce"],
          storageClassName: args.storageClass,
          resources: { requests: { storage: `${size}Gi` } },
        },
      },
      child,
    );
    return [claim];
  }
}

function podJob(job: string, selection: readonly Relabeling[]): Record<string, unknown> {
  return {
    job_name: job,
    kubernetes_sd_configs: [{ role: "pod" }],
    // Some exporters send no or an unknown content type, which Prometheus 3 refuses without this.
    fallback_scrape_protocol: "PrometheusText0.0.4",
    relabel_configs: [
      ...selection,
      // Pods that have ended keep their address for a while; their scrapes would only fail.
      keep("__meta_kubernetes_pod_phase", "Pending|Running"),
      ...podLabels,
    ],
  };
}

function copyLabel(source: string, target: string): Relabeling {
  return { source_labels: [source], target_label: target };
}

function keep(source: string, regex: string): Relabeling {
  return { action: "keep", source_labels: [source], regex };
}

function drop(source: string, regex: string): Relabeling {
  return { action: "drop", source_labels: [source], regex };
}

function portIs(regex: string): Relabeling {
  return keep("__meta_kubernetes_pod_container_port_name", regex);
}

function portIsNot(regex: string): Relabeling {
  return drop("__meta_kubernetes_pod_container_port_name", regex);
}
