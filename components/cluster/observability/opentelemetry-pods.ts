// The pods of the OpenTelemetry collectors.

import type * as k8s from "@pulumi/kubernetes";
import { appPath } from "../../experiment/conventions.ts";
import { type Sources, sourceVolume } from "../../experiment/workload-source.ts";
import { appLabels, objectLabels } from "../common/part.ts";
import {
  agentFolders,
  collectorPorts,
  defaultTracesGibibytes,
  nodeNameVariable,
  type OpenTelemetryConfig,
} from "./opentelemetry-config.ts";

/** Names of the programs, and of what belongs to each. */
export const agentName = "otel-agent";
export const gatewayName = "otel-gateway";
export const tracesClaim = "otel-traces";
export const tracesPort = 8080;
const configPath = "/etc/otel";
export const tracesPath = "/traces";
/** The user of the vendor's image. */
const userId = 10001;

export interface CollectorImages {
  readonly otelCollector: string;
  /** With Node that runs TypeScript. */
  readonly node: string;
}

type Container = k8s.types.input.core.v1.Container;

interface Resources {
  readonly cpuRequestMillicores: number;
  readonly memoryRequestMebibytes: number;
  readonly memoryLimitMebibytes: number;
}

function collectorContainer(image: string, resources: Resources): Container & { name: string } {
  return {
    name: "collector",
    image,
    args: [`--config=${configPath}/collector.yaml`],
    env: [{ name: "GOMEMLIMIT", value: `${Math.floor(resources.memoryLimitMebibytes * 0.8)}MiB` }],
    ports: [{ name: "metrics", containerPort: collectorPorts.metrics }],
    readinessProbe: {
      httpGet: { path: "/", port: collectorPorts.health },
      periodSeconds: 2,
      failureThreshold: 30,
    },
    resources: {
      requests: {
        cpu: `${resources.cpuRequestMillicores}m`,
        memory: `${resources.memoryRequestMebibytes}Mi`,
      },
      limits: { memory: `${resources.memoryLimitMebibytes}Mi` },
    },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      readOnlyRootFilesystem: true,
    },
    volumeMounts: [{ name: "config", mountPath: configPath, readOnly: true }],
  };
}

/** Spec of the agent DaemonSet. */
export function toAgentSpec(
  config: OpenTelemetryConfig["logs"],
  image: string,
  configMapName: string,
): k8s.types.input.apps.v1.DaemonSetSpec {
  const container = collectorContainer(image, config);
  const folders = agentFolders(config);
  return {
    selector: { matchLabels: appLabels(agentName) },
    // The files wait; all nodes at once are done sooner.
    updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: "100%" } },
    template: {
      metadata: { labels: objectLabels(agentName) },
      spec: {
        serviceAccountName: agentName,
        enableServiceLinks: false,
        terminationGracePeriodSeconds: 30,
        tolerations: [{ operator: "Exists" }],
        // The host's log files are root's, and a pod's files are whoever's runs in it: reading all of them is the one
        // right that is left.
        securityContext: { runAsUser: 0, runAsGroup: 0 },
        containers: [
          {
            ...container,
            env: [
              ...(container.env as k8s.types.input.core.v1.EnvVar[]),
              { name: nodeNameVariable, valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
            ],
            securityContext: {
              allowPrivilegeEscalation: false,
              capabilities: { drop: ["ALL"], add: ["DAC_READ_SEARCH"] },
              readOnlyRootFilesystem: true,
            },
            volumeMounts: [
              ...(container.volumeMounts as k8s.types.input.core.v1.VolumeMount[]),
              { name: "pod-logs", mountPath: folders.podLogs, readOnly: true },
              { name: "pods", mountPath: folders.pods, readOnly: true },
              { name: "state", mountPath: folders.state },
            ],
          },
        ],
        volumes: [
          { name: "config", configMap: { name: configMapName } },
          { name: "pod-logs", hostPath: { path: folders.podLogs } },
          { name: "pods", hostPath: { path: folders.pods } },
          { name: "state", hostPath: { path: folders.state, type: "DirectoryOrCreate" } },
        ],
      },
    },
  };
}

/** Spec of the gateway Deployment: the collector that writes trace files, and the reader that serves them. */
export function toGatewaySpec(
  config: OpenTelemetryConfig["traces"],
  images: CollectorImages,
  configMapName: string,
  reader: Sources,
): k8s.types.input.apps.v1.DeploymentSpec {
  const container = collectorContainer(images.otelCollector, config);
  const source = sourceVolume("reader", reader);
  return {
    replicas: 1,
    // Two pods must not write to one volume.
    strategy: { type: "Recreate" },
    selector: { matchLabels: appLabels(gatewayName) },
    template: {
      metadata: { labels: objectLabels(gatewayName) },
      spec: {
        serviceAccountName: gatewayName,
        enableServiceLinks: false,
        terminationGracePeriodSeconds: 30,
        // One user for both: the files are readable for who wrote them alone.
        securityContext: { runAsNonRoot: true, runAsUser: userId, runAsGroup: userId, fsGroup: userId },
        containers: [
          {
            ...container,
            ports: [
              { name: "otlp-grpc", containerPort: collectorPorts.otlpGrpc },
              { name: "otlp-http", containerPort: collectorPorts.otlpHttp },
              { name: "metrics", containerPort: collectorPorts.metrics },
            ],
            volumeMounts: [
              ...(container.volumeMounts as k8s.types.input.core.v1.VolumeMount[]),
              { name: "traces", mountPath: tracesPath },
            ],
          },
          {
            name: "reader",
            image: images.node,
            command: ["node", `${appPath}/reader/main.ts`],
            env: [
              { name: "ROOT", value: tracesPath },
              { name: "PORT", value: String(tracesPort) },
            ],
            ports: [{ name: "traces", containerPort: tracesPort }],
            readinessProbe: { httpGet: { path: "/healthz", port: tracesPort }, periodSeconds: 2 },
            resources: { requests: { cpu: "10m", memory: "64Mi" }, limits: { memory: "256Mi" } },
            securityContext: {
              allowPrivilegeEscalation: false,
              capabilities: { drop: ["ALL"] },
              readOnlyRootFilesystem: true,
            },
            volumeMounts: [
              { name: source.volume.name, ...source.mount },
              { name: "traces", mountPath: tracesPath, readOnly: true },
            ],
          },
        ],
        volumes: [
          { name: "config", configMap: { name: configMapName } },
          source.volume,
          config.storageGibibytes === undefined
            ? { name: "traces", emptyDir: { sizeLimit: `${defaultTracesGibibytes}Gi` } }
            : { name: "traces", persistentVolumeClaim: { claimName: tracesClaim } },
        ],
      },
    },
  };
}
