// Grafana: stateless, with data sources and dashboards from this repository; nothing is downloaded when it starts.

import { scryptSync } from "node:crypto";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import * as z from "zod";
import { contentHash } from "../../naming.ts";
import {
  addressedPartSchema,
  appLabels,
  childOptions,
  objectLabels,
  type PartArgs,
  urlSchema,
} from "../common/part.ts";
import { toDashboardJson } from "./dashboards/build.ts";
import { dashboards } from "./dashboards/index.ts";
import {
  dashboardProvider,
  dashboardsFolder,
  type GrafanaSources,
  grafanaPath,
  secretsFolder,
  toDataSources,
  toGrafanaEnv,
} from "./grafana-settings.ts";

/** Section `grafana` of a cluster's configuration. */
export const grafanaSchema = addressedPartSchema({
  /** Whether everybody who reaches Grafana may look at all of it. */
  anonymousRead: z.boolean().default(false),
  /** Address that people use, without Grafana's path; for the links that Grafana makes. @default no host in links */
  publicUrl: urlSchema.optional(),
  cpuRequestMillicores: z.int().min(1).default(50),
  memoryRequestMebibytes: z.int().min(64).default(192),
  memoryLimitMebibytes: z.int().min(128).default(512),
});

export type GrafanaConfig = z.output<typeof grafanaSchema>;

export interface GrafanaArgs extends PartArgs {
  readonly config: GrafanaConfig;
  /** Image reference. */
  readonly image: string;
  readonly sources: GrafanaSources;
  /** Password of user `admin`. @default generated */
  readonly adminPassword?: pulumi.Input<string>;
}

const port = 3000;
/** Address inside the cluster. */
export const grafanaUrl = `http://grafana.grafana.svc:${port}${grafanaPath}`;
const metadata = { name: "grafana", namespace: "grafana", labels: objectLabels("grafana") } as const;
const adminSecret = "grafana-admin";
/** User of the official image. */
const userId = 472;
const passwordAnnotation = "llmeval/admin-password";

interface Names {
  /** ConfigMap with the provisioning files. */
  readonly provisioning: string;
  /** ConfigMaps with one dashboard each. */
  readonly dashboards: readonly string[];
}

/** Spec of the Deployment. The annotation changes with the password, which Grafana reads once. */
export function toGrafanaSpec(
  config: GrafanaConfig,
  image: string,
  names: Names,
  passwordMark: pulumi.Input<string>,
): k8s.types.input.apps.v1.DeploymentSpec {
  return {
    replicas: 1,
    selector: { matchLabels: appLabels("grafana") },
    template: {
      metadata: { labels: objectLabels("grafana"), annotations: { [passwordAnnotation]: passwordMark } },
      spec: {
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, runAsUser: userId, runAsGroup: userId, fsGroup: userId },
        containers: [
          {
            name: "grafana",
            image,
            env: Object.entries(toGrafanaEnv(config)).map(([name, value]) => ({ name, value })),
            ports: [{ name: "http", containerPort: port }],
            readinessProbe: {
              httpGet: { path: "/api/health", port },
              periodSeconds: 2,
              failureThreshold: 60,
            },
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
              { name: "data", mountPath: "/var/lib/grafana" },
              { name: "tmp", mountPath: "/tmp" },
              { name: "admin", mountPath: secretsFolder, readOnly: true },
              { name: "provisioning", mountPath: "/etc/grafana/provisioning", readOnly: true },
              { name: "dashboards", mountPath: dashboardsFolder, readOnly: true },
            ],
          },
        ],
        volumes: [
          { name: "data", emptyDir: {} },
          { name: "tmp", emptyDir: {} },
          { name: "admin", secret: { secretName: adminSecret } },
          {
            name: "provisioning",
            configMap: {
              name: names.provisioning,
              items: [
                { key: "datasources.yaml", path: "datasources/datasources.yaml" },
                { key: "dashboards.yaml", path: "dashboards/dashboards.yaml" },
              ],
            },
          },
          {
            name: "dashboards",
            projected: { sources: names.dashboards.map((name) => ({ configMap: { name } })) },
          },
        ],
      },
    },
  };
}

/** The name changes with the content, so a changed file is a new pod and a preview shows just that. */
function toConfigMap(name: string, data: Record<string, string>) {
  return { metadata: { ...metadata, name: `${name}-${contentHash(JSON.stringify(data))}` }, data };
}

const readerMetadata = { ...metadata, name: "configuration-reader" };

/** Lets the dashboards and data sources be read. */
export function toReaderRole() {
  return {
    metadata: readerMetadata,
    rules: [{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list"] }],
  };
}

/** To every account of a program: which experiments there will be is not known here. */
export function toReaderBinding() {
  const apiGroup = "rbac.authorization.k8s.io";
  return {
    metadata: readerMetadata,
    subjects: [{ kind: "Group", name: "system:serviceaccounts", apiGroup }],
    roleRef: { apiGroup, kind: "Role", name: readerMetadata.name },
  };
}

/** Says whether a password has changed, and takes long to guess from. */
export function toPasswordMark(password: string): string {
  return scryptSync(password, "llmeval/grafana", 4).toString("hex");
}

export class Grafana extends pulumi.ComponentResource {
  /** Password of user `admin`; secret. */
  readonly adminPassword: pulumi.Output<string>;
  /** Address inside the cluster. */
  readonly url: string;

  constructor(name: string, args: GrafanaArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:Grafana", name, {}, opts);
    this.url = grafanaUrl;
    this.adminPassword = pulumi.secret(
      args.adminPassword ??
        new random.RandomPassword(`${name}-admin-password`, { length: 24, special: false }, { parent: this })
          .result,
    );
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: metadata.namespace, labels: metadata.labels } },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    // Every experiment's collector copies the dashboards. No secret is in a ConfigMap here.
    const role = new k8s.rbac.v1.Role(`${name}-reader`, toReaderRole(), child);
    new k8s.rbac.v1.RoleBinding(
      `${name}-reader`,
      toReaderBinding(),
      childOptions(this, args, { dependsOn: [namespace, role] }),
    );
    const secret = new k8s.core.v1.Secret(
      `${name}-admin`,
      { metadata: { ...metadata, name: adminSecret }, stringData: { password: this.adminPassword } },
      child,
    );
    // JSON is YAML too.
    const provisioning = toConfigMap("provisioning", {
      "datasources.yaml": JSON.stringify(toDataSources(args.sources), undefined, 2),
      "dashboards.yaml": JSON.stringify(dashboardProvider, undefined, 2),
    });
    const boards = dashboards.map((dashboard) => ({
      uid: dashboard.uid,
      map: toConfigMap(dashboard.uid, {
        [`${dashboard.uid}.json`]: JSON.stringify(toDashboardJson(dashboard), undefined, 2),
      }),
    }));
    const files = [
      new k8s.core.v1.ConfigMap(`${name}-provisioning`, provisioning, child),
      ...boards.map(({ uid, map }) => new k8s.core.v1.ConfigMap(`${name}-${uid}`, map, child)),
    ];
    const names = {
      provisioning: provisioning.metadata.name,
      dashboards: boards.map(({ map }) => map.metadata.name),
    };
    const passwordMark = pulumi.unsecret(this.adminPassword.apply(toPasswordMark));
    new k8s.apps.v1.Deployment(
      `${name}-server`,
      { metadata, spec: toGrafanaSpec(args.config, args.image, names, passwordMark) },
      childOptions(this, args, { dependsOn: [secret, ...files] }),
    );
    new k8s.core.v1.Service(
      `${name}-service`,
      {
        // No wait for endpoints: the Deployment already waits for its pod.
        metadata: { ...metadata, annotations: { "pulumi.com/skipAwait": "true" } },
        spec: { selector: appLabels("grafana"), ports: [{ name: "http", port, targetPort: port }] },
      },
      child,
    );
    this.registerOutputs({ adminPassword: this.adminPassword, url: this.url });
  }
}
