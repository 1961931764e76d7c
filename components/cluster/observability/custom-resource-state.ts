// What kube-state-metrics tells of Ray's and Chaos Mesh's objects: its custom resource state configuration.

/** Parts whose objects are described. */
interface Parts {
  readonly kuberay: boolean;
  readonly chaosMesh: boolean;
}

interface CustomResource {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly metrics: readonly Record<string, unknown>[];
}

/** Every object is told by these labels. */
const identity = { name: ["metadata", "name"], namespace: ["metadata", "namespace"] };

const rayResources: readonly CustomResource[] = [
  {
    group: "ray.io",
    version: "v1",
    kind: "RayService",
    plural: "rayservices",
    metrics: [
      conditions("ray_condition", "Whether a condition of a Ray object is true."),
      gauge("ray_service_endpoints", "Pods behind the service of a RayService.", [
        "status",
        "numServeEndpoints",
      ]),
    ],
  },
  {
    group: "ray.io",
    version: "v1",
    kind: "RayCluster",
    plural: "rayclusters",
    metrics: [
      conditions("ray_condition", "Whether a condition of a Ray object is true."),
      gauge("ray_cluster_desired_workers", "Worker pods that a RayCluster asks for.", [
        "status",
        "desiredWorkerReplicas",
      ]),
      gauge("ray_cluster_ready_workers", "Worker pods of a RayCluster that are ready.", [
        "status",
        "readyWorkerReplicas",
      ]),
    ],
  },
];

/** Kinds of faults; each becomes the label `kind`. */
const faultKinds = ["DNSChaos", "IOChaos", "NetworkChaos", "PodChaos", "StressChaos", "TimeChaos"];

const faultMetrics: CustomResource["metrics"] = [
  {
    name: "fault_info",
    help: "What a fault is, and which phase it shall be in.",
    each: {
      type: "Info",
      info: {
        labelsFromPath: {
          action: ["spec", "action"],
          duration: ["spec", "duration"],
          desired_phase: ["status", "experiment", "desiredPhase"],
          experiment: ["metadata", "labels", "llmeval/experiment"],
          experiment_id: ["metadata", "labels", "llmeval/experiment-id"],
        },
      },
    },
  },
  // AllRecovered is true before the injection too, so AllInjected is what tells of a fault that acts.
  conditions(
    "fault_condition",
    "Whether a condition of a fault is true: Selected, AllInjected, AllRecovered, Paused.",
  ),
  gauge("fault_created_timestamp_seconds", "When a fault was created.", ["metadata", "creationTimestamp"]),
  {
    name: "fault_target_injections",
    help: "How often a fault was injected into one target, a container or a pod.",
    each: {
      type: "Gauge",
      gauge: {
        path: ["status", "experiment", "containerRecords"],
        labelsFromPath: { target: ["id"] },
        valueFrom: ["injectedCount"],
      },
    },
  },
];

const faultResources: readonly CustomResource[] = faultKinds.map((kind) => ({
  group: "chaos-mesh.org",
  version: "v1alpha1",
  kind,
  plural: kind.toLowerCase(),
  metrics: faultMetrics,
}));

function resourcesOf(parts: Parts): readonly CustomResource[] {
  return [...(parts.kuberay ? rayResources : []), ...(parts.chaosMesh ? faultResources : [])];
}

/** The configuration file as an object. */
export function toCustomResourceState(parts: Parts): Record<string, unknown> {
  return {
    kind: "CustomResourceStateMetrics",
    spec: {
      resources: resourcesOf(parts).map(({ group, version, kind, plural, metrics }) => ({
        groupVersionKind: { group, version, kind },
        resourcePlural: plural,
        // An object has no status yet when it is new; that is no error.
        errorLogV: 4,
        metricNamePrefix: "llmeval",
        commonLabels: { kind },
        labelsFromPath: identity,
        metrics,
      })),
    },
  };
}

/** The described kinds by API group, and their definitions: they may appear later than the program. */
export function toCustomResourceRules(parts: Parts): { apiGroups: string[]; resources: string[] }[] {
  const groups = new Map<string, string[]>();
  for (const { group, plural } of resourcesOf(parts)) {
    groups.set(group, [...(groups.get(group) ?? []), plural]);
  }
  if (groups.size === 0) return [];
  return [
    { apiGroups: ["apiextensions.k8s.io"], resources: ["customresourcedefinitions"] },
    ...[...groups].map(([group, resources]) => ({ apiGroups: [group], resources })),
  ];
}

function gauge(name: string, help: string, path: readonly string[]): Record<string, unknown> {
  return { name, help, each: { type: "Gauge", gauge: { path, nilIsZero: true } } };
}

function conditions(name: string, help: string): Record<string, unknown> {
  return {
    name,
    help,
    each: {
      type: "Gauge",
      gauge: {
        path: ["status", "conditions"],
        labelsFromPath: { condition: ["type"] },
        valueFrom: ["status"],
      },
    },
  };
}
