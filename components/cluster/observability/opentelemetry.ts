// OpenTelemetry collectors: an agent per node that ships logs to Loki, and a gateway that keeps the traces of whoever sends them.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as yaml from "yaml";
import { readSources, type Sources, sourceName, sourceVolume } from "../../experiment/workload-source.ts";
import { contentHash } from "../../naming.ts";
import { appLabels, childOptions, objectLabels, type PartArgs } from "../common/part.ts";
import { dataVolume } from "../common/volume.ts";
import {
  agentFolders,
  collectorPorts,
  type OpenTelemetryConfig,
  toAgentConfig,
  toGatewayConfig,
} from "./opentelemetry-config.ts";
import {
  agentName,
  type CollectorImages,
  gatewayName,
  toAgentSpec,
  toGatewaySpec,
  tracesClaim,
  tracesPath,
  tracesPort,
} from "./opentelemetry-pods.ts";

export interface OpenTelemetryArgs extends PartArgs {
  readonly config: OpenTelemetryConfig;
  /** Image references. */
  readonly images: CollectorImages;
  /** Address of Loki inside the cluster. @default none: no logs are read, and none are taken */
  readonly lokiUrl?: string;
  /** Folder that holds the programs, normally workloads/ of the project. */
  readonly workloadsDir: string;
  /** Storage class of the volume, when the configuration asks for one. */
  readonly storageClass: string;
  /** Whether a destroy must refuse to delete the volume. */
  readonly protect: boolean;
}

const otelNamespace = "opentelemetry";
const gatewayHost = `${gatewayName}.${otelNamespace}.svc`;
/** Where pods send spans (and logs, where there is Loki), by gRPC and by HTTP. */
export const otlpGrpcUrl = `http://${gatewayHost}:${collectorPorts.otlpGrpc}`;
export const otlpHttpUrl = `http://${gatewayHost}:${collectorPorts.otlpHttp}`;
/** Where the trace files are read: `/` lists them. */
export const tracesUrl = `http://${gatewayHost}:${tracesPort}`;

const clusterRoleName = "llmeval-opentelemetry";

/** What collectors may do: find the pod that a line or a span comes from. */
const podReaderRules: k8s.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"] },
];

/** Names of a program's objects: its pods, its account and, followed by a hash, its configuration. */
function metadataOf(name: string) {
  return { name, namespace: otelNamespace, labels: objectLabels(name) };
}

export class OpenTelemetry extends pulumi.ComponentResource {
  constructor(name: string, args: OpenTelemetryArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:OpenTelemetry", name, {}, opts);
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: otelNamespace, labels: objectLabels("opentelemetry") } },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    const { logs, traces } = args.config;
    const lokiUrl = logs.enabled ? args.lokiUrl : undefined;
    const programs = [
      ...(lokiUrl === undefined ? [] : [agentName]),
      ...(traces.enabled ? [gatewayName] : []),
    ];
    const access = this.#access(name, programs, child);
    if (lokiUrl !== undefined) this.#agent(name, args, lokiUrl, child, access);
    if (traces.enabled) this.#gateway(name, args, lokiUrl, child, access);
    this.registerOutputs({});
  }

  #access(name: string, programs: readonly string[], child: pulumi.CustomResourceOptions): pulumi.Resource[] {
    const labels = objectLabels("opentelemetry");
    const accounts = programs.map(
      (program) =>
        new k8s.core.v1.ServiceAccount(
          `${name}-${program}-account`,
          { metadata: metadataOf(program) },
          child,
        ),
    );
    const role = new k8s.rbac.v1.ClusterRole(
      `${name}-role`,
      { metadata: { name: clusterRoleName, labels }, rules: podReaderRules },
      child,
    );
    const binding = new k8s.rbac.v1.ClusterRoleBinding(
      `${name}-binding`,
      {
        metadata: { name: clusterRoleName, labels },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterRoleName },
        subjects: programs.map((program) => ({
          kind: "ServiceAccount",
          name: program,
          namespace: otelNamespace,
        })),
      },
      child,
    );
    return [...accounts, role, binding];
  }

  #agent(
    name: string,
    args: OpenTelemetryArgs,
    lokiUrl: string,
    child: pulumi.CustomResourceOptions,
    access: readonly pulumi.Resource[],
  ): void {
    const { logs } = args.config;
    const configMap = collectorConfig(
      `${name}-agent-config`,
      agentName,
      toAgentConfig(lokiUrl, agentFolders(logs)),
      child,
    );
    new k8s.apps.v1.DaemonSet(
      `${name}-agent`,
      {
        metadata: metadataOf(agentName),
        spec: toAgentSpec(logs, args.images.otelCollector, configMap.name),
      },
      childOptions(this, args, { dependsOn: [...access, configMap.resource] }),
    );
  }

  #gateway(
    name: string,
    args: OpenTelemetryArgs,
    lokiUrl: string | undefined,
    child: pulumi.CustomResourceOptions,
    access: readonly pulumi.Resource[],
  ): void {
    const { traces } = args.config;
    const configMap = collectorConfig(
      `${name}-gateway-config`,
      gatewayName,
      toGatewayConfig(traces, tracesPath, lokiUrl),
      child,
    );
    const sources = readSources(args.workloadsDir, "reader");
    const reader = new k8s.core.v1.ConfigMap(
      `${name}-reader`,
      {
        metadata: { ...metadataOf(gatewayName), name: sourceName("reader", sources) },
        immutable: true,
        data: toSourceData(sources),
      },
      child,
    );
    const claim = dataVolume(
      `${name}-traces`,
      {
        metadata: { ...metadataOf(gatewayName), name: tracesClaim },
        sizeGibibytes: args.config.traces.storageGibibytes,
        storageClass: args.storageClass,
      },
      { ...child, protect: args.protect },
    );
    new k8s.apps.v1.Deployment(
      `${name}-gateway`,
      {
        metadata: metadataOf(gatewayName),
        spec: toGatewaySpec(traces, args.images, configMap.name, sources),
      },
      childOptions(this, args, { dependsOn: [...access, configMap.resource, reader, ...claim] }),
    );
    new k8s.core.v1.Service(
      `${name}-gateway-service`,
      {
        // No wait for endpoints: the Deployment already waits for its pod.
        metadata: { ...metadataOf(gatewayName), annotations: { "pulumi.com/skipAwait": "true" } },
        spec: {
          selector: appLabels(gatewayName),
          ports: [
            servicePort("otlp-grpc", collectorPorts.otlpGrpc),
            servicePort("otlp-http", collectorPorts.otlpHttp),
            servicePort("traces", tracesPort),
          ],
        },
      },
      child,
    );
  }
}

/** A collector's configuration under a name that changes with it, so that a new configuration is a new pod. */
function collectorConfig(
  resourceName: string,
  program: string,
  config: Record<string, unknown>,
  child: pulumi.CustomResourceOptions,
): { name: string; resource: pulumi.Resource } {
  const text = yaml.stringify(config, { lineWidth: 0, aliasDuplicateObjects: false });
  const name = `${program}-${contentHash(text)}`;
  const resource = new k8s.core.v1.ConfigMap(
    resourceName,
    { metadata: { ...metadataOf(program), name }, data: { "collector.yaml": text } },
    child,
  );
  return { name, resource };
}

/** The ConfigMap behind sourceVolume: its items say which key holds which file. */
function toSourceData(sources: Sources): Record<string, string> {
  const { items } = sourceVolume("reader", sources).volume.configMap as {
    readonly items: readonly { readonly key: string; readonly path: string }[];
  };
  return Object.fromEntries(items.map(({ key, path }) => [key, sources[path] as string]));
}

function servicePort(name: string, port: number) {
  return { name, port, targetPort: port };
}
