// The Istio part: values of its charts, its Telemetry, and waypoints. Keys were checked by rendering the charts of 1.31.0-rc.0.

import { expect, test } from "vitest";
import {
  Istio,
  istioSchema,
  toAmbientLabels,
  toIstioValues,
  toTelemetrySpec,
  toWaypoint,
} from "../../../../components/cluster/network/istio.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { record } from "../../../support/record.ts";

const parse = (section: unknown) => parseConfig(istioSchema, section, { file: "istio" });

test("off unless asked for", () => {
  expect(parse({}).mode).toBe("off");
});

test("the values at their defaults", () => {
  expect(toIstioValues(parse({}))).toMatchInlineSnapshot(`
    {
      "base": {
        "global": {
          "enableReaderRBAC": false,
        },
      },
      "cni": {
        "cniBinDir": "/opt/cni/bin",
        "cniConfDir": "/etc/cni/net.d",
        "profile": "ambient",
        "resources": {
          "limits": {
            "memory": "512Mi",
          },
          "requests": {
            "cpu": "50m",
            "memory": "100Mi",
          },
        },
      },
      "istiod": {
        "autoscaleEnabled": false,
        "global": {
          "enableReaderRBAC": false,
          "waypoint": {
            "resources": {
              "limits": {
                "cpu": "4000m",
                "memory": "1024Mi",
              },
              "requests": {
                "cpu": "200m",
                "memory": "128Mi",
              },
            },
          },
        },
        "profile": "ambient",
        "replicaCount": 1,
        "resources": {
          "limits": {
            "memory": "1Gi",
          },
          "requests": {
            "cpu": "100m",
            "memory": "256Mi",
          },
        },
      },
      "ztunnel": {
        "profile": "ambient",
        "resources": {
          "limits": {
            "memory": "1Gi",
          },
          "requests": {
            "cpu": "100m",
            "memory": "256Mi",
          },
        },
      },
    }
  `);
});

test("the control plane's copies and a waypoint's share", () => {
  const { istiod } = toIstioValues(
    parse({
      controlPlaneReplicas: 2,
      waypoint: {
        cpuRequestMillicores: 1,
        cpuLimitMillicores: 2,
        memoryRequestMebibytes: 65,
        memoryLimitMebibytes: 129,
      },
    }),
  );
  expect(istiod.replicaCount).toBe(2);
  expect(istiod.global.waypoint.resources).toEqual({
    requests: { cpu: "1m", memory: "65Mi" },
    limits: { cpu: "2m", memory: "129Mi" },
  });
});

test("metrics without labels of addresses; pods only when asked for", () => {
  expect(toTelemetrySpec(parse({}))).toMatchInlineSnapshot(`
    {
      "metrics": [
        {
          "overrides": [
            {
              "match": {
                "metric": "ALL_METRICS",
                "mode": "CLIENT_AND_SERVER",
              },
              "tagOverrides": {
                "destination_canonical_revision": {
                  "operation": "REMOVE",
                },
                "destination_cluster": {
                  "operation": "REMOVE",
                },
                "destination_principal": {
                  "operation": "REMOVE",
                },
                "destination_version": {
                  "operation": "REMOVE",
                },
                "source_canonical_revision": {
                  "operation": "REMOVE",
                },
                "source_cluster": {
                  "operation": "REMOVE",
                },
                "source_principal": {
                  "operation": "REMOVE",
                },
                "source_version": {
                  "operation": "REMOVE",
                },
              },
            },
          ],
          "providers": [
            {
              "name": "prometheus",
            },
          ],
        },
      ],
    }
  `);
  const perPod = toTelemetrySpec(parse({ metricsPerPod: true }));
  expect(JSON.stringify(perPod)).not.toMatch(/address|port/);
  expect((perPod["metrics"] as { overrides: unknown[] }[])[0]?.overrides[1]).toMatchObject({
    match: { metric: "ALL_METRICS", mode: "SERVER" },
    tagOverrides: {
      source_pod: { value: "filter_state.downstream_peer.name" },
      destination_pod: { value: "filter_state.upstream_peer.name" },
    },
  });
});

test("one version for all four charts", () => {
  const chart = { version: "1.31.1" };
  expect(() =>
    parse({ charts: { base: chart, istiod: chart, ztunnel: chart } }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: istio: 1 problem
      - charts.cni.version: got 1.31.0, but base has 1.31.1; give all four charts one version]
  `);
  const all = parse({ charts: { base: chart, istiod: chart, cni: chart, ztunnel: chart } }).charts;
  expect(Object.values(all).map(({ name, version }) => `${name} ${version}`)).toEqual([
    "base 1.31.1",
    "istiod 1.31.1",
    "cni 1.31.1",
    "ztunnel 1.31.1",
  ]);
});

test("labels of a namespace in the mesh", () => {
  expect(toAmbientLabels({ waypoint: false })).toEqual({ "istio.io/dataplane-mode": "ambient" });
  expect(toAmbientLabels({ waypoint: true })).toEqual({
    "istio.io/dataplane-mode": "ambient",
    "istio.io/use-waypoint": "waypoint",
  });
});

test("the waypoint of a namespace", () => {
  expect(toWaypoint("exp-1")).toMatchInlineSnapshot(`
    {
      "apiVersion": "gateway.networking.k8s.io/v1",
      "kind": "Gateway",
      "metadata": {
        "annotations": {
          "pulumi.com/waitFor": "condition=Programmed",
        },
        "labels": {
          "app.kubernetes.io/name": "waypoint",
          "app.kubernetes.io/part-of": "llm-serving-eval",
          "istio.io/waypoint-for": "service",
        },
        "name": "waypoint",
        "namespace": "exp-1",
      },
      "spec": {
        "gatewayClassName": "istio-waypoint",
        "listeners": [
          {
            "name": "mesh",
            "port": 15008,
            "protocol": "HBONE",
          },
        ],
      },
    }
  `);
  expect(toWaypoint("exp-1", "all").metadata.labels["istio.io/waypoint-for"]).toBe("all");
});

test("four releases, what they wait for, and the Telemetry", async () => {
  const { resources } = await record(() => void new Istio("istio", { config: parse({ mode: "on" }) }));
  expect(
    resources.map(({ type, name, inputs }) => [type, name, inputs["chart"] ?? ""].join(" ").trim()),
  ).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:DaemonSetPatch istio-cni-ready",
      "kubernetes:apps/v1:DaemonSetPatch istio-ztunnel-ready",
      "kubernetes:core/v1:Namespace istio-namespace",
      "kubernetes:helm.sh/v3:Release istio-base .charts/base-1.31.0.tgz",
      "kubernetes:helm.sh/v3:Release istio-cni .charts/cni-1.31.0.tgz",
      "kubernetes:helm.sh/v3:Release istio-istiod .charts/istiod-1.31.0.tgz",
      "kubernetes:helm.sh/v3:Release istio-ztunnel .charts/ztunnel-1.31.0.tgz",
      "kubernetes:telemetry.istio.io/v1:Telemetry istio-telemetry",
      "llmeval:cluster:Istio istio",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
  const named = (name: string) => resources.find((resource) => resource.name === name)?.inputs;
  expect(named("istio-cni")).toMatchObject({ name: "istio-cni", namespace: "istio-system", timeout: 600 });
  expect(named("istio-cni-ready")?.["metadata"]).toMatchObject({
    name: "istio-cni-node",
    namespace: "istio-system",
  });
  expect(named("istio-ztunnel-ready")?.["metadata"]).toMatchObject({ name: "ztunnel" });
  expect(named("istio-telemetry")).toMatchObject({
    apiVersion: "telemetry.istio.io/v1",
    kind: "Telemetry",
    metadata: { name: "mesh", namespace: "istio-system" },
  });
});
