// NVIDIA GPU operator from its Helm chart: container toolkit, device plugin, DCGM exporter; driver and MIG when asked for.

import * as fs from "node:fs";
import * as path from "node:path";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as yaml from "yaml";
import { contentHash } from "../../naming.ts";
import { toRelease } from "../charts/chart.ts";
import { checkTimeouts, toCheckJobSpec } from "../common/check-job.ts";
import { childOptions, objectLabels, type PartArgs } from "../common/part.ts";
import {
  type GpuFacts,
  type GpuOperatorConfig,
  toDcgmFields,
  toExpectedGpus,
  toGpuOperatorValues,
  toSharing,
} from "./gpu-operator-config.ts";

export interface GpuOperatorArgs extends PartArgs {
  readonly config: GpuOperatorConfig;
  readonly facts: GpuFacts;
  /** Image with Node, for the Job that waits for the GPUs. */
  readonly image: string;
}

const gpuNamespace = "gpu-operator";
const checkName = "gpu-ready";
/** How long everything must stay ready: after an upgrade the old status stands for a moment. */
const steadySeconds = 15;
/** What the waiting Job may read. */
const checkRules: k8s.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: ["nvidia.com"], resources: ["clusterpolicies"], verbs: ["get"] },
  { apiGroups: [""], resources: ["nodes"], verbs: ["get"] },
];

/** The program of the waiting Job. */
export const gpuReadyScript = fs.readFileSync(
  path.join(import.meta.dirname, "scripts/gpu-ready.mjs"),
  "utf8",
);

const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

export class GpuOperator extends pulumi.ComponentResource {
  /** Complete when every node offers its GPUs. */
  readonly ready: pulumi.Resource;

  constructor(name: string, args: GpuOperatorArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:GpuOperator", name, {}, opts);
    const { config } = args;
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: gpuNamespace,
          labels: {
            ...objectLabels("gpu-operator"),
            "pod-security.kubernetes.io/enforce": "privileged",
          },
        },
      },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    const dcgm = this.#configMap(
      `${name}-dcgm`,
      "dcgm-metrics",
      "dcgm-metrics.csv",
      toDcgmFields(config),
      child,
    );
    const sharing = toSharing(config);
    const plugin =
      sharing === undefined
        ? undefined
        : this.#configMap(`${name}-sharing`, "device-plugin", "default", yaml.stringify(sharing), child);
    const values = toGpuOperatorValues(config, { dcgm: dcgm.name, sharing: plugin?.name });
    const release = new k8s.helm.v3.Release(
      `${name}-release`,
      toRelease({ chart: config.chart, name: "gpu-operator", namespace: gpuNamespace, values }),
      childOptions(this, args, {
        dependsOn: [dcgm.resource, ...(plugin === undefined ? [] : [plugin.resource])],
      }),
    );
    this.ready = this.#ready(name, args, values, child, release);
    this.registerOutputs({});
  }

  /** A ConfigMap whose name changes with its content: then the operator rolls out the pods that read it. */
  #configMap(
    name: string,
    prefix: string,
    key: string,
    content: string,
    child: pulumi.CustomResourceOptions,
  ): { name: string; resource: pulumi.Resource } {
    const physicalName = `${prefix}-${contentHash(content)}`;
    const metadata = { name: physicalName, namespace: gpuNamespace, labels: objectLabels("gpu-operator") };
    return {
      name: physicalName,
      resource: new k8s.core.v1.ConfigMap(name, { metadata, data: { [key]: content } }, child),
    };
  }

  #ready(
    name: string,
    args: GpuOperatorArgs,
    values: Record<string, unknown>,
    child: pulumi.CustomResourceOptions,
    release: pulumi.Resource,
  ): pulumi.Resource {
    const { config } = args;
    const metadata = { name: checkName, namespace: gpuNamespace, labels: objectLabels(checkName) };
    const clusterName = `llmeval-${checkName}`;
    const account = new k8s.core.v1.ServiceAccount(`${name}-ready-account`, { metadata }, child);
    const role = new k8s.rbac.v1.ClusterRole(
      `${name}-ready-role`,
      { metadata: { name: clusterName, labels: metadata.labels }, rules: checkRules },
      child,
    );
    const binding = new k8s.rbac.v1.ClusterRoleBinding(
      `${name}-ready-binding`,
      {
        metadata: { name: clusterName, labels: metadata.labels },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterName },
        subjects: [{ kind: "ServiceAccount", name: checkName, namespace: gpuNamespace }],
      },
      child,
    );
    const program = this.#configMap(`${name}-ready-program`, checkName, "main.mjs", gpuReadyScript, child);
    const spec = toCheckJobSpec({
      name: checkName,
      image: args.image,
      configMapName: program.name,
      env: {
        API_URL: "https://kubernetes.default.svc",
        NODE_EXTRA_CA_CERTS: `${tokenFolder}/ca.crt`,
        TOKEN_FILE: `${tokenFolder}/token`,
        EXPECTED_GPUS: JSON.stringify(toExpectedGpus(config, args.facts)),
        TIMEOUT_SECONDS: String(config.readyTimeoutSeconds),
        STEADY_SECONDS: String(steadySeconds),
        POLL_SECONDS: "5",
      },
      timeoutSeconds: config.readyTimeoutSeconds,
      serviceAccount: checkName,
    });
    const revision = contentHash(JSON.stringify([config.chart, values, spec]));
    return new k8s.batch.v1.Job(
      `${name}-ready`,
      {
        metadata: {
          ...metadata,
          // What is asked for is checked anew whenever it changes.
          name: `${checkName}-${revision}`,
          // A failed check is made again by the next `up`, and not just looked at.
          annotations: { "pulumi.com/replaceUnready": "true" },
        },
        spec,
      },
      childOptions(this, args, {
        dependsOn: [release, account, role, binding, program.resource],
        customTimeouts: checkTimeouts(config.readyTimeoutSeconds),
      }),
    );
  }
}
