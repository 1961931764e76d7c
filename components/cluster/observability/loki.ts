// Loki as one program with its files on one volume: logs come in by OTLP, and go out by its query API. No gateway, no caches.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as yaml from "yaml";
import * as z from "zod";
import { contentHash } from "../../naming.ts";
import { addressedPartSchema, appLabels, childOptions, objectLabels, type PartArgs } from "../common/part.ts";
import { dataVolume } from "../common/volume.ts";

/** Section `loki` of a cluster's configuration. */
export const lokiSchema = addressedPartSchema({
  /** How long logs are kept. Loki knows no less than a day. */
  retention: z
    .string()
    .regex(/^[1-9]\d*[dw]$/, "expected whole days or weeks such as 7d or 2w")
    .default("7d"),
  /** Size of the volume. @default no volume: logs are lost when the pod moves */
  storageGibibytes: z.int().min(1).optional(),
  cpuRequestMillicores: z.int().min(1).default(100),
  memoryRequestMebibytes: z.int().min(64).default(256),
  memoryLimitMebibytes: z.int().min(256).default(2048),
});

export type LokiConfig = z.output<typeof lokiSchema>;

export interface LokiArgs extends PartArgs {
  readonly config: LokiConfig;
  /** Image reference. */
  readonly image: string;
  /** Storage class of the volume, when the configuration asks for one. */
  readonly storageClass: string;
  /** Whether a destroy must refuse to delete the volume. */
  readonly protect: boolean;
}

const lokiNamespace = "logging";
const port = 3100;
/** Address inside the cluster; logs go to its `/otlp`. */
export const lokiUrl = `http://loki.${lokiNamespace}.svc:${port}`;
const claimName = "loki-data";
const dataPath = "/loki";
const metadata = { name: "loki", namespace: lokiNamespace, labels: objectLabels("loki") } as const;
/** The user of the vendor's image. */
const userId = 10001;

/**
 * Resource attributes that select streams: few values each. All others, the pod's name and the file's path among
 * them, are structured metadata of each line.
 */
export const lokiLabels = ["namespace", "container", "app", "node"] as const;

/** The configuration file of Loki as an object. */
export function toLokiConfig(config: LokiConfig): Record<string, unknown> {
  return {
    target: "all",
    auth_enabled: false,
    analytics: { reporting_enabled: false },
    server: {
      http_listen_port: port,
      log_level: "warn",
      // A whole window of logs is one answer.
      http_server_read_timeout: "10m",
      http_server_write_timeout: "10m",
      grpc_server_max_recv_msg_size: 128 * 1024 * 1024,
      grpc_server_max_send_msg_size: 128 * 1024 * 1024,
    },
    common: {
      instance_addr: "127.0.0.1",
      path_prefix: dataPath,
      replication_factor: 1,
      ring: { kvstore: { store: "inmemory" } },
      storage: {
        filesystem: { chunks_directory: `${dataPath}/chunks`, rules_directory: `${dataPath}/rules` },
      },
    },
    schema_config: {
      configs: [
        {
          from: "2024-01-01",
          store: "tsdb",
          object_store: "filesystem",
          schema: "v13",
          index: { prefix: "index_", period: "24h" },
        },
      ],
    },
    ingester: {
      // A stream takes lines up to half of this behind its newest one. Pods share streams, so that after a pause the
      // lines of one pod come in long after newer ones of another.
      max_chunk_age: "24h",
      // A single ingester has nobody to wait for.
      lifecycler: { min_ready_duration: "0s", final_sleep: "0s" },
      wal: { replay_memory_ceiling: `${Math.floor(config.memoryLimitMebibytes / 2)}MB` },
    },
    // How often these look for the scheduler inside the same program; Loki is not ready before they have.
    frontend: { scheduler_dns_lookup_period: "1s" },
    frontend_worker: { dns_lookup_duration: "1s" },
    compactor: {
      working_directory: `${dataPath}/compactor`,
      retention_enabled: true,
      delete_request_store: "filesystem",
    },
    limits_config: {
      retention_period: config.retention,
      // The defaults protect a shared service from its tenants; here they would lose lines of the one that matters.
      ingestion_rate_mb: 64,
      ingestion_burst_size_mb: 128,
      per_stream_rate_limit: "64MB",
      per_stream_rate_limit_burst: "128MB",
      max_global_streams_per_user: 0,
      max_line_size: "2MB",
      reject_old_samples: false,
      max_entries_limit_per_query: 100000,
      max_query_length: "0s",
      max_query_series: 10000,
      query_timeout: "5m",
      allow_structured_metadata: true,
      // Neither labels of its own making nor streams that are cut in several.
      discover_service_name: [],
      shard_streams: { enabled: false },
      otlp_config: {
        resource_attributes: {
          ignore_defaults: true,
          attributes_config: [{ action: "index_label", attributes: [...lokiLabels] }],
        },
      },
    },
  };
}

/** Spec of the Loki Deployment. */
export function toLokiSpec(
  config: LokiConfig,
  image: string,
  configMapName: string,
): k8s.types.input.apps.v1.DeploymentSpec {
  return {
    replicas: 1,
    // Two pods must not write to one volume.
    strategy: { type: "Recreate" },
    selector: { matchLabels: appLabels("loki") },
    template: {
      metadata: { labels: objectLabels("loki") },
      spec: {
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        // Writes what it holds in memory to the volume before it ends.
        terminationGracePeriodSeconds: 60,
        securityContext: { runAsNonRoot: true, runAsUser: userId, runAsGroup: userId, fsGroup: userId },
        containers: [
          {
            name: "loki",
            image,
            args: ["-config.file=/etc/loki/loki.yaml"],
            env: [{ name: "GOMEMLIMIT", value: `${Math.floor(config.memoryLimitMebibytes * 0.8)}MiB` }],
            ports: [{ name: "http-metrics", containerPort: port }],
            readinessProbe: { httpGet: { path: "/ready", port }, periodSeconds: 2, failureThreshold: 30 },
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
            volumeMounts: [
              { name: "config", mountPath: "/etc/loki", readOnly: true },
              { name: "data", mountPath: dataPath },
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

export class Loki extends pulumi.ComponentResource {
  constructor(name: string, args: LokiArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:Loki", name, {}, opts);
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: lokiNamespace, labels: objectLabels("logging") } },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    const lokiConfig = yaml.stringify(toLokiConfig(args.config), { lineWidth: 0 });
    // The name changes with the content, so a new configuration is a new pod.
    const configMapName = `loki-${contentHash(lokiConfig)}`;
    const configMap = new k8s.core.v1.ConfigMap(
      `${name}-config`,
      { metadata: { ...metadata, name: configMapName }, data: { "loki.yaml": lokiConfig } },
      child,
    );
    const claim = dataVolume(
      `${name}-data`,
      {
        metadata: { ...metadata, name: claimName },
        sizeGibibytes: args.config.storageGibibytes,
        storageClass: args.storageClass,
      },
      { ...child, protect: args.protect },
    );
    new k8s.apps.v1.Deployment(
      `${name}-server`,
      { metadata, spec: toLokiSpec(args.config, args.image, configMapName) },
      childOptions(this, args, { dependsOn: [configMap, ...claim] }),
    );
    new k8s.core.v1.Service(
      `${name}-service`,
      {
        // No wait for endpoints: the Deployment already waits for its pod.
        metadata: { ...metadata, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: { selector: appLabels("loki"), ports: [{ name: "http", port, targetPort: port }] },
      },
      child,
    );
    this.registerOutputs({});
  }
}
