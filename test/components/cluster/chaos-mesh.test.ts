// The Chaos Mesh part: values and inputs of its release, to the last field.

import { expect, test } from "vitest";
import {
  ChaosMesh,
  chaosMeshSchema,
  toChaosMeshRelease,
  toChaosMeshValues,
} from "../../../components/cluster/chaos-mesh.ts";
import { parseConfig } from "../../../components/config-problems.ts";
import { record } from "../../support/record.ts";

const config = parseConfig(chaosMeshSchema, {}, { file: "x" });
const images = {
  chaosController: "ghcr.io/chaos-mesh/chaos-mesh:v2.8.3",
  // As a registry of an air-gapped site may give it.
  chaosDaemon: "registry.example:5000/mirror/chaos-daemon:v2.8.3@sha256:0123abcd",
  chaosDashboard: "chaos-dashboard:v2.8.3",
  pause: "registry.k8s.io/pause:3.10.1",
};

test("off by default; the socket is that of K3s", () => {
  expect(config).toEqual({
    mode: "off",
    chart: { repository: "https://charts.chaos-mesh.org", name: "chaos-mesh", version: "2.8.3" },
    containerdSocket: "/run/k3s/containerd/containerd.sock",
    dashboard: false,
  });
  expect(() =>
    parseConfig(chaosMeshSchema, { containerdSocket: "containerd.sock" }, { file: "x.yaml" }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x.yaml: 1 problem
      - containerdSocket: expected an absolute path, got "containerd.sock"]
  `);
});

test("the Chaos Mesh release", () => {
  expect(toChaosMeshRelease(config, images)).toEqual({
    name: "chaos-mesh",
    namespace: "chaos-mesh",
    chart: ".charts/chaos-mesh-2.8.3.tgz",
    version: "2.8.3",
    values: {
      clusterScoped: true,
      enableProfiling: false,
      controllerManager: {
        image: { registry: "ghcr.io", repository: "chaos-mesh/chaos-mesh", tag: "v2.8.3" },
        replicaCount: 1,
        enableFilterNamespace: true,
        podChaos: { podFailure: { pauseImage: "registry.k8s.io/pause:3.10.1" } },
        resources: { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "512Mi" } },
        tolerations: [{ operator: "Exists" }],
      },
      chaosDaemon: {
        image: {
          registry: "registry.example:5000",
          repository: "mirror/chaos-daemon:v2.8.3@sha256",
          tag: "0123abcd",
        },
        runtime: "containerd",
        socketPath: "/run/k3s/containerd/containerd.sock",
        privileged: true,
        resources: { requests: { cpu: "20m", memory: "64Mi" }, limits: { memory: "512Mi" } },
        tolerations: [{ operator: "Exists" }],
      },
      dashboard: { create: false, securityMode: true },
      dnsServer: { create: false },
    },
    timeout: 600,
    skipCrds: false,
    atomic: false,
    maxHistory: 5,
    dependencyUpdate: false,
  });
});

test("another socket, and a dashboard that asks for a token and opens no port on the nodes", () => {
  const values = toChaosMeshValues({ ...config, containerdSocket: "/run/c.sock", dashboard: true }, images);
  expect(values.chaosDaemon.socketPath).toBe("/run/c.sock");
  expect(values.dashboard).toEqual({
    create: true,
    image: { registry: "docker.io", repository: "library/chaos-dashboard", tag: "v2.8.3" },
    securityMode: true,
    service: { type: "ClusterIP" },
    resources: { requests: { cpu: "20m", memory: "64Mi" }, limits: { memory: "256Mi" } },
  });
});

test("the component makes a privileged namespace and the release", async () => {
  const { resources } = await record(
    () => {
      new ChaosMesh("chaos-mesh", { config, images });
    },
    { config: {}, stack: "test" },
  );
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toEqual([
    "kubernetes:core/v1:Namespace chaos-mesh-namespace",
    "kubernetes:helm.sh/v3:Release chaos-mesh-release",
    "llmeval:cluster:ChaosMesh chaos-mesh",
    "pulumi:pulumi:Stack llm-serving-eval-test",
  ]);
  expect(resources[0]?.inputs["metadata"]).toEqual({
    name: "chaos-mesh",
    labels: {
      "app.kubernetes.io/name": "chaos-mesh",
      "app.kubernetes.io/part-of": "llm-serving-eval",
      "pod-security.kubernetes.io/enforce": "privileged",
    },
  });
});
