// Grafana: its objects to the last field; its password stays out of everything but its Secret.

import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import { dashboards } from "../../../../components/cluster/observability/dashboards/index.ts";
import {
  Grafana,
  type GrafanaArgs,
  grafanaSchema,
  toGrafanaSpec,
  toPasswordMark,
  toReaderBinding,
  toReaderRole,
} from "../../../../components/cluster/observability/grafana.ts";
import {
  toDataSources,
  toGrafanaEnv,
} from "../../../../components/cluster/observability/grafana-settings.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { record } from "../../../support/record.ts";

const config = parseConfig(grafanaSchema, {}, { file: "x" });
const sources = { prometheusUrl: "http://prometheus.monitoring.svc:9090", scrapeIntervalSeconds: 5 };

function recordGrafana(more: Partial<GrafanaArgs> = {}) {
  return record(() => {
    const grafana = new Grafana("grafana", { config, image: "grafana:test", sources, ...more });
    return { adminPassword: grafana.adminPassword, url: grafana.url };
  });
}

test("the settings", () => {
  expect(toGrafanaEnv(config)).toMatchInlineSnapshot(`
    {
      "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
      "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
      "GF_ANALYTICS_FEEDBACK_LINKS_ENABLED": "false",
      "GF_ANALYTICS_REPORTING_ENABLED": "false",
      "GF_AUTH_ANONYMOUS_ENABLED": "false",
      "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
      "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": "/etc/grafana/dashboards/llmeval-cluster.json",
      "GF_DASHBOARDS_MIN_REFRESH_INTERVAL": "1s",
      "GF_NEWS_NEWS_FEED_ENABLED": "false",
      "GF_PLUGINS_PLUGIN_ADMIN_ENABLED": "false",
      "GF_PLUGINS_PREINSTALL_AUTO_UPDATE": "false",
      "GF_PLUGINS_PREINSTALL_DISABLED": "true",
      "GF_SECURITY_ADMIN_PASSWORD__FILE": "/run/secrets/grafana/password",
      "GF_SECURITY_ADMIN_USER": "admin",
      "GF_SECURITY_DISABLE_GRAVATAR": "true",
      "GF_SERVER_ROOT_URL": "%(protocol)s://%(domain)s/grafana/",
      "GF_SERVER_SERVE_FROM_SUB_PATH": "true",
      "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
      "GF_USERS_ALLOW_SIGN_UP": "false",
    }
  `);
});

test("links carry the address that people use, and looking may be free", () => {
  expect(
    toGrafanaEnv({ ...config, publicUrl: "https://eval.example.org/", anonymousRead: true }),
  ).toMatchObject({
    GF_SERVER_ROOT_URL: "https://eval.example.org/grafana/",
    GF_AUTH_ANONYMOUS_ENABLED: "true",
    GF_AUTH_ANONYMOUS_ORG_ROLE: "Viewer",
  });
});

test("the data sources, with and without logs", () => {
  expect(toDataSources({ ...sources, lokiUrl: "http://loki.logging.svc:3100" })).toMatchInlineSnapshot(`
    {
      "apiVersion": 1,
      "datasources": [
        {
          "access": "proxy",
          "editable": false,
          "isDefault": true,
          "jsonData": {
            "httpMethod": "POST",
            "timeInterval": "5s",
          },
          "name": "Prometheus",
          "type": "prometheus",
          "uid": "prometheus",
          "url": "http://prometheus.monitoring.svc:9090",
        },
        {
          "access": "proxy",
          "editable": false,
          "name": "Loki",
          "type": "loki",
          "uid": "loki",
          "url": "http://loki.logging.svc:3100",
        },
      ],
      "prune": true,
    }
  `);
  expect((toDataSources(sources)["datasources"] as { uid: string }[]).map(({ uid }) => uid)).toEqual([
    "prometheus",
  ]);
});

test("the Deployment", () => {
  expect(
    toGrafanaSpec(
      config,
      "grafana:test",
      { provisioning: "provisioning-1", dashboards: ["a-1", "b-1"] },
      "mark",
    ),
  ).toMatchInlineSnapshot(`
    {
      "replicas": 1,
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "grafana",
        },
      },
      "template": {
        "metadata": {
          "annotations": {
            "llmeval/admin-password": "mark",
          },
          "labels": {
            "app.kubernetes.io/name": "grafana",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "automountServiceAccountToken": false,
          "containers": [
            {
              "env": [
                {
                  "name": "GF_SERVER_ROOT_URL",
                  "value": "%(protocol)s://%(domain)s/grafana/",
                },
                {
                  "name": "GF_SERVER_SERVE_FROM_SUB_PATH",
                  "value": "true",
                },
                {
                  "name": "GF_SECURITY_ADMIN_USER",
                  "value": "admin",
                },
                {
                  "name": "GF_SECURITY_ADMIN_PASSWORD__FILE",
                  "value": "/run/secrets/grafana/password",
                },
                {
                  "name": "GF_SECURITY_DISABLE_GRAVATAR",
                  "value": "true",
                },
                {
                  "name": "GF_USERS_ALLOW_SIGN_UP",
                  "value": "false",
                },
                {
                  "name": "GF_AUTH_ANONYMOUS_ENABLED",
                  "value": "false",
                },
                {
                  "name": "GF_AUTH_ANONYMOUS_ORG_ROLE",
                  "value": "Viewer",
                },
                {
                  "name": "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH",
                  "value": "/etc/grafana/dashboards/llmeval-cluster.json",
                },
                {
                  "name": "GF_DASHBOARDS_MIN_REFRESH_INTERVAL",
                  "value": "1s",
                },
                {
                  "name": "GF_ANALYTICS_REPORTING_ENABLED",
                  "value": "false",
                },
                {
                  "name": "GF_ANALYTICS_CHECK_FOR_UPDATES",
                  "value": "false",
                },
                {
                  "name": "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
                  "value": "false",
                },
                {
                  "name": "GF_ANALYTICS_FEEDBACK_LINKS_ENABLED",
                  "value": "false",
                },
                {
                  "name": "GF_NEWS_NEWS_FEED_ENABLED",
                  "value": "false",
                },
                {
                  "name": "GF_SNAPSHOTS_EXTERNAL_ENABLED",
                  "value": "false",
                },
                {
                  "name": "GF_PLUGINS_PLUGIN_ADMIN_ENABLED",
                  "value": "false",
                },
                {
                  "name": "GF_PLUGINS_PREINSTALL_DISABLED",
                  "value": "true",
                },
                {
                  "name": "GF_PLUGINS_PREINSTALL_AUTO_UPDATE",
                  "value": "false",
                },
              ],
              "image": "grafana:test",
              "name": "grafana",
              "ports": [
                {
                  "containerPort": 3000,
                  "name": "http",
                },
              ],
              "readinessProbe": {
                "failureThreshold": 60,
                "httpGet": {
                  "path": "/api/health",
                  "port": 3000,
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "512Mi",
                },
                "requests": {
                  "cpu": "50m",
                  "memory": "192Mi",
                },
              },
              "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {
                  "drop": [
                    "ALL",
                  ],
                },
                "readOnlyRootFilesystem": true,
              },
              "volumeMounts": [
                {
                  "mountPath": "/var/lib/grafana",
                  "name": "data",
                },
                {
                  "mountPath": "/tmp",
                  "name": "tmp",
                },
                {
                  "mountPath": "/run/secrets/grafana",
                  "name": "admin",
                  "readOnly": true,
                },
                {
                  "mountPath": "/etc/grafana/provisioning",
                  "name": "provisioning",
                  "readOnly": true,
                },
                {
                  "mountPath": "/etc/grafana/dashboards",
                  "name": "dashboards",
                  "readOnly": true,
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "securityContext": {
            "fsGroup": 472,
            "runAsGroup": 472,
            "runAsNonRoot": true,
            "runAsUser": 472,
          },
          "volumes": [
            {
              "emptyDir": {},
              "name": "data",
            },
            {
              "emptyDir": {},
              "name": "tmp",
            },
            {
              "name": "admin",
              "secret": {
                "secretName": "grafana-admin",
              },
            },
            {
              "configMap": {
                "items": [
                  {
                    "key": "datasources.yaml",
                    "path": "datasources/datasources.yaml",
                  },
                  {
                    "key": "dashboards.yaml",
                    "path": "dashboards/dashboards.yaml",
                  },
                ],
                "name": "provisioning-1",
              },
              "name": "provisioning",
            },
            {
              "name": "dashboards",
              "projected": {
                "sources": [
                  {
                    "configMap": {
                      "name": "a-1",
                    },
                  },
                  {
                    "configMap": {
                      "name": "b-1",
                    },
                  },
                ],
              },
            },
          ],
        },
      },
    }
  `);
});

test("the objects: one ConfigMap for each dashboard", async () => {
  const { resources, outputs } = await recordGrafana();
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:Deployment grafana-server",
      "kubernetes:core/v1:ConfigMap grafana-llmeval-cluster",
      "kubernetes:core/v1:ConfigMap grafana-llmeval-faults",
      "kubernetes:core/v1:ConfigMap grafana-llmeval-gpu",
      "kubernetes:core/v1:ConfigMap grafana-llmeval-load",
      "kubernetes:core/v1:ConfigMap grafana-llmeval-ray",
      "kubernetes:core/v1:ConfigMap grafana-llmeval-vllm",
      "kubernetes:core/v1:ConfigMap grafana-provisioning",
      "kubernetes:core/v1:Namespace grafana-namespace",
      "kubernetes:core/v1:Secret grafana-admin",
      "kubernetes:core/v1:Service grafana-service",
      "kubernetes:rbac.authorization.k8s.io/v1:Role grafana-reader",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding grafana-reader",
      "llmeval:cluster:Grafana grafana",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
      "random:index/randomPassword:RandomPassword grafana-admin-password",
    ]
  `);
  expect(outputs).toEqual({
    adminPassword: "generated-grafana-admin-password",
    url: "http://grafana.grafana.svc:3000/grafana",
  });
  for (const { uid } of dashboards) {
    const map = resources.find(({ name }) => name === `grafana-${uid}`);
    const data = (map?.inputs["data"] ?? {}) as Record<string, string>;
    const json = JSON.parse(data[`${uid}.json`] ?? "{}") as { uid?: string };
    expect(json.uid).toBe(uid);
    expect(JSON.stringify(map).length, `${uid} must fit a ConfigMap`).toBeLessThan(900_000);
  }
});

test("a given password is used, and no other made", async () => {
  const { resources, outputs } = await recordGrafana({ adminPassword: pulumi.secret("correct horse") });
  expect(resources.filter(({ type }) => type.startsWith("random:"))).toEqual([]);
  expect(outputs).toMatchObject({ adminPassword: "correct horse" });
});

test("the password is in the Secret as a secret, and nowhere else", async () => {
  const { resources } = await recordGrafana({ adminPassword: pulumi.secret("correct horse") });
  const holders = resources.filter((resource) => JSON.stringify(resource).includes("correct horse"));
  expect(holders.map(({ name }) => name)).toEqual(["grafana-admin"]);
  // The engine's mark of a secret value around the data.
  expect(JSON.stringify(holders[0]?.inputs["stringData"])).toContain("4dabf18193072939515e22adb298388d");
});

test("another password is another pod; the mark does not tell it", async () => {
  const mark = toPasswordMark("correct horse");
  expect(mark).toMatch(/^[0-9a-f]{8}$/);
  expect(toPasswordMark("correct horse")).toBe(mark);
  expect(toPasswordMark("battery staple")).not.toBe(mark);
  const { resources } = await recordGrafana({ adminPassword: pulumi.secret("correct horse") });
  const server = resources.find(({ name }) => name === "grafana-server");
  expect(JSON.stringify(server?.inputs)).toContain(`"llmeval/admin-password":"${mark}"`);
});

test("experiments may read dashboards and data sources", () => {
  const { metadata } = toReaderRole();
  expect(metadata).toMatchObject({ name: "configuration-reader", namespace: "grafana" });
  const apiGroup = "rbac.authorization.k8s.io";
  expect([toReaderRole(), toReaderBinding()]).toEqual([
    { metadata, rules: [{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list"] }] },
    {
      metadata,
      subjects: [{ kind: "Group", name: "system:serviceaccounts", apiGroup }],
      roleRef: { apiGroup, kind: "Role", name: "configuration-reader" },
    },
  ]);
});
