// The section `opentelemetry` of a cluster's configuration, and what it makes of the collectors: the agent ships logs, the gateway keeps traces.

import * as z from "zod";
import { partSchema } from "../common/part.ts";

/** Section `opentelemetry` of a cluster's configuration. */
export const opentelemetrySchema = partSchema({
  /** Container logs, and the log files of Ray and Serve; they go to Loki, and are not read where Loki is off. */
  logs: z
    .strictObject({
      enabled: z.boolean().default(true),
      /** The kubelet's folder on each host (K3s: `kubelet-arg: root-dir=...`). */
      kubeletRootDir: z
        .string()
        .regex(/^(\/[^/]+)+$/, "expected an absolute path such as /var/lib/kubelet")
        .default("/var/lib/kubelet"),
      cpuRequestMillicores: z.int().min(1).default(50),
      memoryRequestMebibytes: z.int().min(64).default(128),
      memoryLimitMebibytes: z.int().min(128).default(512),
    })
    .prefault({}),
  /** Spans sent by OTLP, kept as files of OTLP JSON. */
  traces: z
    .strictObject({
      enabled: z.boolean().default(true),
      /** Size of the volume; the oldest files go when it is full. @default no volume: 2 GiB, lost when the pod moves */
      storageGibibytes: z.int().min(1).optional(),
      cpuRequestMillicores: z.int().min(1).default(50),
      memoryRequestMebibytes: z.int().min(64).default(128),
      memoryLimitMebibytes: z.int().min(128).default(512),
    })
    .prefault({}),
});

export type OpenTelemetryConfig = z.output<typeof opentelemetrySchema>;

/** Ports of both collectors. */
export const collectorPorts = { otlpGrpc: 4317, otlpHttp: 4318, metrics: 8888, health: 13133 } as const;

/** Folders of a node that the agent works on. */
export interface AgentFolders {
  /** The kubelet's folder of container logs. */
  readonly podLogs: string;
  /** The kubelet's folder of pods with their volumes. */
  readonly pods: string;
  /** Where the agent remembers how far it has read, and what it has not sent yet; outlives its pod. */
  readonly state: string;
}

/** The same in the agent's container as on its host. */
export function agentFolders(config: OpenTelemetryConfig["logs"]): AgentFolders {
  return {
    podLogs: "/var/log/pods",
    pods: `${config.kubeletRootDir}/pods`,
    state: "/var/lib/otel-agent",
  };
}

/** Environment variable with the node's name. */
export const nodeNameVariable = "NODE_NAME";

/** Volume of Ray pods that holds Ray's and Serve's log files. */
const rayVolume = "ray-logs";

/** Pod labels that are worth keeping with each line and span: key to attribute. */
const podLabels = {
  "app.kubernetes.io/name": "app",
  "ray.io/cluster": "ray_io_cluster",
  "ray.io/node-type": "ray_io_node_type",
  "llmeval/experiment": "experiment",
  "llmeval/experiment-id": "experiment_id",
  "llmeval/replica": "replica",
} as const;

/** Names in Loki are those that metrics carry too. */
const resourceNames = {
  namespace: "k8s.namespace.name",
  pod: "k8s.pod.name",
  pod_uid: "k8s.pod.uid",
  container: "k8s.container.name",
  restart_count: "k8s.container.restart_count",
  node: "k8s.node.name",
} as const;

type Config = Record<string, unknown>;

/** The agent's configuration: container logs and Ray's log files of one node, to Loki. */
export function toAgentConfig(lokiUrl: string, folders: AgentFolders): Config {
  return {
    extensions: {
      ...healthCheck,
      file_storage: {
        directory: folders.state,
        create_directory: true,
        recreate: true,
        compaction: { on_start: true, on_rebound: true, directory: folders.state },
      },
    },
    receivers: {
      "file_log/containers": {
        ...fileDefaults,
        include: [`${folders.podLogs}/*/*/*.log`],
        // What the agent or Loki say about lines would be lines again.
        exclude: [`${folders.podLogs}/opentelemetry_*/*/*.log`, `${folders.podLogs}/logging_*/*/*.log`],
        operators: [{ type: "container" }],
      },
      "file_log/ray": {
        ...fileDefaults,
        // The digit leaves out the link session_latest.
        include: [
          `${folders.pods}/*/volumes/kubernetes.io~empty-dir/${rayVolume}/session_2*/logs/**/*.{log,out,err}`,
        ],
        operators: rayOperators,
      },
    },
    processors: { ...memoryLimiter, k8s_attributes: podAttributes(true), "transform/loki": lokiNames },
    exporters: {
      "otlp_http/loki": toLoki(lokiUrl, { storage: "file_storage" }),
    },
    service: {
      extensions: ["health_check", "file_storage"],
      telemetry,
      pipelines: {
        logs: {
          receivers: ["file_log/containers", "file_log/ray"],
          processors: ["memory_limiter", "k8s_attributes", "transform/loki"],
          exporters: ["otlp_http/loki"],
        },
      },
    },
  };
}

const traceFileMebibytes = 64;
/** Without a volume of its own. */
export const defaultTracesGibibytes = 2;

/**
 * The gateway's configuration: traces by OTLP into files, logs by OTLP to Loki where there is one. There is no
 * pipeline for metrics, so that whoever sends some is told so instead of losing them.
 */
export function toGatewayConfig(
  config: OpenTelemetryConfig["traces"],
  folder: string,
  lokiUrl: string | undefined,
): Config {
  const { otlpGrpc, otlpHttp } = collectorPorts;
  const spaceMebibytes = (config.storageGibibytes ?? defaultTracesGibibytes) * 1024;
  return {
    extensions: healthCheck,
    receivers: {
      otlp: {
        protocols: {
          grpc: { endpoint: `0.0.0.0:${otlpGrpc}`, max_recv_msg_size_mib: 16 },
          http: { endpoint: `0.0.0.0:${otlpHttp}` },
        },
      },
    },
    processors: {
      ...memoryLimiter,
      k8s_attributes: podAttributes(false),
      ...(lokiUrl === undefined ? {} : { "transform/loki": lokiNames }),
    },
    exporters: {
      file: {
        path: `${folder}/traces.jsonl`,
        rotation: {
          max_megabytes: traceFileMebibytes,
          // Beside the one that is being written, and one to spare.
          max_backups: spaceMebibytes / traceFileMebibytes - 2,
        },
      },
      ...(lokiUrl === undefined ? {} : { "otlp_http/loki": toLoki(lokiUrl) }),
    },
    service: {
      extensions: ["health_check"],
      telemetry,
      pipelines: {
        // No batches: a client's request is answered when its spans are in the file.
        traces: {
          receivers: ["otlp"],
          processors: ["memory_limiter", "k8s_attributes"],
          exporters: ["file"],
        },
        ...(lokiUrl === undefined
          ? {}
          : {
              logs: {
                receivers: ["otlp"],
                processors: ["memory_limiter", "k8s_attributes", "transform/loki"],
                exporters: ["otlp_http/loki"],
              },
            }),
      },
    },
  };
}

const healthCheck = { health_check: { endpoint: `0.0.0.0:${collectorPorts.health}` } };

const telemetry = {
  metrics: {
    level: "normal",
    readers: [{ pull: { exporter: { prometheus: { host: "0.0.0.0", port: collectorPorts.metrics } } } }],
  },
};

const memoryLimiter = {
  memory_limiter: { check_interval: "1s", limit_percentage: 80, spike_limit_percentage: 20 },
};

const fileDefaults = {
  include_file_path: true,
  include_file_name: false,
  preserve_leading_whitespaces: true,
  preserve_trailing_whitespaces: true,
  start_at: "beginning",
  // Each poll lists every folder; five times a second, the default, is CPU time taken from what is measured.
  poll_interval: "1s",
  storage: "file_storage",
  // While Loki is away the lines wait in their files.
  retry_on_failure: { enabled: true, max_elapsed_time: "0s" },
  // Known without the API server.
  resource: { "k8s.node.name": `EXPR(env("${nodeNameVariable}"))` },
};

/** From the path of a Ray file to its pod and its name inside the container; from the line to its time. */
const rayOperators = [
  {
    type: "regex_parser",
    id: "path",
    parse_from: 'attributes["log.file.path"]',
    regex: `/(?P<uid>[^/]+)/volumes/kubernetes\\.io~empty-dir/${rayVolume}/(?P<file>.+)$`,
  },
  { type: "move", from: "attributes.uid", to: 'resource["k8s.pod.uid"]' },
  { type: "remove", field: 'attributes["log.file.path"]' },
  { type: "add", field: 'attributes["log.file.path"]', value: 'EXPR("/tmp/ray/" + attributes.file)' },
  { type: "remove", field: "attributes.file" },
  {
    type: "regex_parser",
    id: "time",
    // `[2026-01-31 12:00:00,123 I ...` of C++, `2026-01-31 12:00:00,123 INFO ...` of Python, `INFO 2026-...` of Serve.
    // Other lines, such as those of a traceback, get the time at which they are read.
    regex: "^(\\[|[A-Z]+ +)?(?P<time>\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d,\\d{3})",
    on_error: "send_quiet",
    timestamp: {
      parse_from: "attributes.time",
      layout_type: "strptime",
      layout: "%Y-%m-%d %H:%M:%S,%L",
      location: "UTC",
    },
  },
  { type: "remove", field: "attributes.time", if: "attributes.time != nil" },
];

/** Finds the pod: of a file by the uid in its path, of a client by what it says or by its address. */
function podAttributes(ofOwnNode: boolean): Config {
  const by = (name: string) => ({ sources: [{ from: "resource_attribute", name }] });
  return {
    ...(ofOwnNode ? { filter: { node_from_env_var: nodeNameVariable } } : {}),
    // Lines that come before the pods are known would stay without their labels.
    wait_for_metadata: true,
    wait_for_metadata_timeout: "60s",
    watch_sync_period: "0s",
    extract: {
      metadata: ["k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid", "k8s.node.name"],
      labels: Object.entries(podLabels).map(([key, tag]) => ({ from: "pod", key, tag_name: tag })),
    },
    pod_association: ofOwnNode
      ? [by("k8s.pod.uid")]
      : [by("k8s.pod.uid"), by("k8s.pod.ip"), { sources: [{ from: "connection" }] }],
  };
}

/** Resource and line attributes under the names that Loki shows. */
const lokiNames = {
  // A line that a statement cannot deal with goes on as it is.
  error_mode: "ignore",
  log_statements: [
    // Apart from the statements on lines, which run for each line and would find what is deleted here gone.
    {
      context: "resource",
      statements: [
        // A Ray pod has one container of Ray's, named after what the node is.
        'set(resource.attributes["k8s.container.name"], Concat(["ray", resource.attributes["ray_io_node_type"]], "-")) ' +
          'where resource.attributes["k8s.container.name"] == nil and resource.attributes["ray_io_node_type"] != nil',
        ...Object.entries(resourceNames).map(
          ([name, source]) => `set(resource.attributes["${name}"], resource.attributes["${source}"])`,
        ),
        // Of a sender that is no pod. Loki refuses lines without any label.
        'set(resource.attributes["namespace"], "unknown") where resource.attributes["namespace"] == nil',
        'delete_matching_keys(resource.attributes, "^k8s\\\\.")',
      ],
    },
    {
      context: "log",
      statements: [
        'set(log.attributes["file"], log.attributes["log.file.path"])',
        'set(log.attributes["stream"], log.attributes["log.iostream"])',
        'delete_matching_keys(log.attributes, "^(log\\\\..*|logtag)$")',
      ],
    },
  ],
};

function toLoki(lokiUrl: string, queue: Config = {}): Config {
  return {
    endpoint: `${lokiUrl}/otlp`,
    compression: "zstd",
    retry_on_failure: { enabled: true, max_elapsed_time: "0s" },
    sending_queue: {
      enabled: true,
      num_consumers: 2,
      sizer: "items",
      queue_size: 20000,
      // Who sends waits; nothing is dropped.
      block_on_overflow: true,
      batch: { flush_timeout: "1s", min_size: 1000, max_size: 5000 },
      ...queue,
    },
  };
}
