// The whole cluster stack under Pulumi's mock engine.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { clusterStack } from "../../stacks/cluster.ts";
import { record } from "../support/record.ts";
import { temporaryProject } from "./project.ts";

const dev = { "llmeval:kind": "cluster", "llmeval:cluster": "lab" };
const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIF6";
const labFiles = {
  ".lab/ssh/id_ed25519": "test private key",
  ".lab/ssh/known_hosts": `10.89.77.11 ${hostKey}\n`,
  ".lab/k3s.sha256": `${"a".repeat(64)}  k3s\n`,
  ".lab/gateway-api.sha256": `${"c".repeat(64)}  standard-install.yaml\n`,
  ".lab/images.json": JSON.stringify({ prometheus: `10.89.77.1:5000/prometheus@sha256:${"b".repeat(64)}` }),
  ...chartFiles(),
};

/** The lab's charts in the cache, with the sums that pin them. */
function chartFiles(): Record<string, string> {
  const charts = ["kuberay-operator-1.6.2-lab", "chaos-mesh-2.8.3-lab"];
  const sums = charts.map((chart) => `${createHash("sha256").update(chart).digest("hex")}  ${chart}.tgz\n`);
  return {
    ...Object.fromEntries(charts.map((chart) => [`.charts/${chart}.tgz`, chart])),
    ".lab/charts.sha256": sums.join(""),
  };
}

test("the dev stack on a fresh clone registers exactly these resources and warns of what `up` needs", async () => {
  const project = temporaryProject();
  const { resources, outputs, logged } = await record(() => clusterStack(project), {
    config: dev,
    stack: "dev",
  });
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "command:local:Command k3s-preflight",
      "command:remote:Command gateway-api-crds",
      "command:remote:Command k3s-kubeconfig",
      "command:remote:Command k3s-server-1",
      "command:remote:Command k3s-server-1-ready",
      "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy rbac-policy",
      "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding rbac-policy",
      "kubernetes:apps/v1:DaemonSet opentelemetry-agent",
      "kubernetes:apps/v1:DaemonSet prometheus-node-exporter",
      "kubernetes:apps/v1:Deployment entry-server",
      "kubernetes:apps/v1:Deployment kube-state-metrics-server",
      "kubernetes:apps/v1:Deployment loki-server",
      "kubernetes:apps/v1:Deployment opentelemetry-gateway",
      "kubernetes:apps/v1:Deployment prometheus-server",
      "kubernetes:core/v1:ConfigMap entry-config",
      "kubernetes:core/v1:ConfigMap kube-state-metrics-config",
      "kubernetes:core/v1:ConfigMap loki-config",
      "kubernetes:core/v1:ConfigMap opentelemetry-agent-config",
      "kubernetes:core/v1:ConfigMap opentelemetry-gateway-config",
      "kubernetes:core/v1:ConfigMap opentelemetry-reader",
      "kubernetes:core/v1:ConfigMap prometheus-config",
      "kubernetes:core/v1:Namespace chaos-mesh-namespace",
      "kubernetes:core/v1:Namespace entry-namespace",
      "kubernetes:core/v1:Namespace kube-state-metrics-namespace",
      "kubernetes:core/v1:Namespace kuberay-namespace",
      "kubernetes:core/v1:Namespace loki-namespace",
      "kubernetes:core/v1:Namespace opentelemetry-namespace",
      "kubernetes:core/v1:Namespace prometheus-namespace",
      "kubernetes:core/v1:Secret entry-auth",
      "kubernetes:core/v1:Service entry-inside",
      "kubernetes:core/v1:Service entry-service",
      "kubernetes:core/v1:Service loki-service",
      "kubernetes:core/v1:Service opentelemetry-gateway-service",
      "kubernetes:core/v1:Service prometheus-service",
      "kubernetes:core/v1:ServiceAccount kube-state-metrics-account",
      "kubernetes:core/v1:ServiceAccount opentelemetry-otel-agent-account",
      "kubernetes:core/v1:ServiceAccount opentelemetry-otel-gateway-account",
      "kubernetes:core/v1:ServiceAccount prometheus-account",
      "kubernetes:helm.sh/v3:Release chaos-mesh-release",
      "kubernetes:helm.sh/v3:Release kuberay-operator",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole kube-state-metrics-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole opentelemetry-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole prometheus-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole rbac-experiment",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole rbac-nodeReader",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole rbac-operator",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole rbac-viewer",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding kube-state-metrics-binding",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding opentelemetry-binding",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding prometheus-binding",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding rbac-nodeReader",
      "kubernetes:rbac.authorization.k8s.io/v1:Role prometheus-api-server-role",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding prometheus-api-server-binding",
      "llmeval:cluster:ChaosMesh chaos-mesh",
      "llmeval:cluster:Entry entry",
      "llmeval:cluster:GatewayApi gateway-api",
      "llmeval:cluster:K3s k3s",
      "llmeval:cluster:KubeRay kuberay",
      "llmeval:cluster:KubeStateMetrics kube-state-metrics",
      "llmeval:cluster:Loki loki",
      "llmeval:cluster:OpenTelemetry opentelemetry",
      "llmeval:cluster:Prometheus prometheus",
      "llmeval:cluster:Rbac rbac",
      "pulumi:providers:kubernetes cluster",
      "pulumi:pulumi:Stack llm-serving-eval-dev",
      "random:index/randomPassword:RandomPassword entry-password",
      "random:index/randomPassword:RandomPassword entry-salt",
      "random:index/randomPassword:RandomPassword k3s-agent-token",
      "random:index/randomPassword:RandomPassword k3s-token",
    ]
  `);
  expect(outputs).toMatchInlineSnapshot(`
    {
      "accelerators": {},
      "capabilities": {
        "chaosMesh": {
          "mode": "on",
          "version": "2.8.3-lab",
        },
        "cilium": {
          "mode": "off",
          "reason": "switched off in the cluster's configuration",
        },
        "deepflow": {
          "mode": "off",
          "reason": "switched off in the cluster's configuration",
        },
        "entry": {
          "mode": "on",
          "version": "1.28.0-bookworm",
        },
        "gatewayApi": {
          "mode": "on",
          "version": "v1.6.1",
        },
        "gpuOperator": {
          "mode": "off",
          "reason": "switched off in the cluster's configuration",
        },
        "grafana": {
          "mode": "off",
          "reason": "switched off in the cluster's configuration",
        },
        "istio": {
          "mode": "off",
          "reason": "switched off in the cluster's configuration",
        },
        "k3s": {
          "mode": "on",
          "version": "v1.36.4+k3s1",
        },
        "kubeStateMetrics": {
          "mode": "on",
          "version": "v2.20.0",
        },
        "kuberay": {
          "mode": "on",
          "version": "1.6.2-lab",
        },
        "loki": {
          "mode": "on",
          "version": "3.7.6",
        },
        "opentelemetry": {
          "mode": "on",
          "version": "0.159.0",
        },
        "prometheus": {
          "mode": "on",
          "version": "v3.14.0",
        },
        "rbac": {
          "mode": "on",
        },
        "storage": {
          "mode": "on",
          "version": "local-path",
        },
      },
      "endpoints": {
        "apiServer": "https://10.89.77.11:6443",
        "entry": "http://entry.entry.svc",
        "loki": "http://loki.logging.svc:3100",
        "otlpGrpc": "http://otel-gateway.opentelemetry.svc:4317",
        "otlpHttp": "http://otel-gateway.opentelemetry.svc:4318",
        "prometheus": "http://prometheus.monitoring.svc:9090",
        "traces": "http://otel-gateway.opentelemetry.svc:8080",
      },
      "images": {
        "chaosController": "ghcr.io/chaos-mesh/chaos-mesh:v2.8.3",
        "chaosDaemon": "ghcr.io/chaos-mesh/chaos-daemon:v2.8.3",
        "chaosDashboard": "ghcr.io/chaos-mesh/chaos-dashboard:v2.8.3",
        "grafana": "docker.io/grafana/grafana:13.2.0",
        "kubeStateMetrics": "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.20.0",
        "kuberayOperator": "quay.io/kuberay/operator:v1.7.0",
        "load": "docker.io/llm-serving-eval/load:0.1.0",
        "loki": "docker.io/grafana/loki:3.7.6",
        "nginx": "docker.io/nginxinc/nginx-unprivileged:1.28.0-bookworm",
        "node": "docker.io/library/node:24.21.0-bookworm-slim",
        "nodeExporter": "quay.io/prometheus/node-exporter:v1.12.1",
        "otelCollector": "ghcr.io/open-telemetry/opentelemetry-collector-releases/opentelemetry-collector-contrib:0.159.0",
        "pause": "registry.k8s.io/pause:3.10",
        "prometheus": "quay.io/prometheus/prometheus:v3.14.0",
        "rayLlm": "docker.io/rayproject/ray-llm:2.58.0-py312-cu130",
        "serveSimulator": "docker.io/llm-serving-eval/serve-simulator:0.1.0",
      },
      "kubeconfig": Unknown {
        "__pulumiUnknown": true,
      },
      "operators": [],
      "passwords": {
        "entry": "generated-entry-password",
        "grafana": undefined,
      },
      "storageClass": "local-path",
    }
  `);
  expect(logged).toMatchInlineSnapshot(`
    [
      "warning: [runtime] imagesFile .lab/images.json cannot be read (ENOENT); this preview shows the default images",
      "warning: [runtime] k3s.binary.sha256File .lab/k3s.sha256 cannot be read; fine for a preview, \`pulumi up\` needs it",
      "warning: [runtime] SSH is not set up; fine for a preview, \`pulumi up\` needs it
      - ssh.keyFile .lab/ssh/id_ed25519 cannot be read; it holds the private key for server-1 (10.89.77.11)
      - ssh.knownHostsFile .lab/ssh/known_hosts cannot be read; it pins the host keys of server-1 (10.89.77.11)",
      "warning: [runtime] gatewayApi.sha256File .lab/gateway-api.sha256 cannot be read; fine for a preview, \`pulumi up\` needs it",
    ]
  `);
});

test("with the lab's files the server is installed with pinned key, checked binary and no secret in its command", async () => {
  const project = temporaryProject(labFiles);
  const { resources, outputs, logged } = await record(() => clusterStack(project), {
    config: dev,
    stack: "dev",
    preview: false,
  });
  expect(logged).toEqual([]);
  const server = resources.find(({ name }) => name === "k3s-server-1");
  expect({ ...server?.inputs, stdin: "" }).toMatchInlineSnapshot(`
    {
      "addPreviousOutputInEnv": false,
      "connection": {
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        "value": {
          "dialErrorLimit": 10,
          "host": "10.89.77.11",
          "hostKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIF6",
          "perDialTimeout": 15,
          "port": 22,
          "privateKey": "test private key",
          "user": "root",
        },
      },
      "create": "MODE='apply' ROLE='server' NODE_NAME='server-1' DATA_DIR='/var/lib/rancher/k3s' BINARY_URL='http://10.89.77.1:8080/k3s' BINARY_SHA256='aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' CONFIG='node-name: server-1
    token-file: /etc/rancher/k3s/token
    kubelet-arg:
      - housekeeping-interval=2s
    agent-token-file: /etc/rancher/k3s/agent-token
    tls-san:
      - 10.89.77.11
    disable:
      - servicelb
      - traefik
    write-kubeconfig-mode: "0600"' REGISTRIES='mirrors:
      docker.io:
        endpoint:
          - http://10.89.77.1:5000
      quay.io:
        endpoint:
          - http://10.89.77.1:5000
      ghcr.io:
        endpoint:
          - http://10.89.77.1:5000
      registry.k8s.io:
        endpoint:
          - http://10.89.77.1:5000' UNIT='[Unit]
    Description=Lightweight Kubernetes (server)
    Documentation=https://k3s.io
    Wants=network-online.target
    After=network-online.target

    [Service]
    Type=notify
    EnvironmentFile=-/etc/default/k3s
    KillMode=process
    Delegate=yes
    LimitNOFILE=1048576
    TasksMax=infinity
    TimeoutStartSec=0
    Restart=always
    RestartSec=5s
    ExecStartPre=-/sbin/modprobe br_netfilter
    ExecStartPre=-/sbin/modprobe overlay
    ExecStart=/usr/local/bin/k3s server

    [Install]
    WantedBy=multi-user.target' WAIT_SECONDS='300' WAIT_KUBELET='1' WAIT_NODE='1' WAIT_STORAGE_CLASS='local-path' SNAPSHOT='1' sh -s",
      "delete": "for script in /usr/local/bin/k3s-uninstall.sh /usr/local/bin/llmeval-k3s-uninstall.sh; do
      if [ -x "$script" ]; then
        K3S_DATA_DIR='/var/lib/rancher/k3s' flock -w 300 /run/llmeval-k3s.lock timeout 300 "$script" </dev/null || exit 1
      fi
    done",
      "stdin": "",
      "triggers": [
        "10.89.77.11",
        "/var/lib/rancher/k3s",
      ],
    }
  `);
  expect(JSON.stringify(server?.inputs["create"])).not.toContain("generated-k3s-token");
  expect(JSON.stringify(server?.inputs["stdin"])).toContain("TOKEN='generated-k3s-token'");
  const images = (outputs as { images: Record<string, string> }).images;
  expect(images["prometheus"]).toBe(`10.89.77.1:5000/prometheus@sha256:${"b".repeat(64)}`);
});

test("passwords of registries are secrets of the stack, and go to the hosts by stdin only", async () => {
  const registries = {
    mirrors: { "docker.io": { endpoint: ["https://cache.example.org"] } },
    configs: { "cache.example.org": { username: "puller" } },
  };
  const lab = parse(readFileSync("configs/clusters/lab.yaml", "utf8"));
  const own = stringify({ ...lab, k3s: { ...lab.k3s, registries } });
  const project = temporaryProject({ ...labFiles, "configs/clusters/own.yaml": own });
  const run = (passwords: Record<string, string>) =>
    record(() => clusterStack(project), {
      config: { ...dev, "llmeval:cluster": "own", ...passwords },
      stack: "dev",
      preview: false,
    });
  const { resources } = await run({ "llmeval:registryPasswords": '{"cache.example.org":"pass-of-puller"}' });
  const server = resources.find(({ name }) => name === "k3s-server-1");
  expect(JSON.stringify(server?.inputs["create"])).not.toMatch(/pass-of-puller|REGISTRIES/);
  expect(JSON.stringify(server?.inputs["stdin"])).toContain("password: pass-of-puller");

  const errorOf = (passwords: Record<string, string>): Promise<string> =>
    run(passwords).then(
      () => "none",
      (error: Error) => error.message,
    );
  expect(
    await errorOf({ "llmeval:registryPasswords": '{"cache.example.com":"hush"}' }),
  ).toMatchInlineSnapshot(`
    "Pulumi.dev.yaml: passwords of registries
      - llmeval:registryPasswords: no password for cache.example.org, which has a user in configs/clusters/own.yaml
      - llmeval:registryPasswords: cache.example.com has no username in k3s.registries.configs of configs/clusters/own.yaml
    give all of them by: pulumi config set --secret llmeval:registryPasswords '{"HOST[:PORT]":"PASSWORD"}'"
  `);
  expect(await errorOf({ "llmeval:registryPasswords": "hush" })).toMatchInlineSnapshot(
    `"llmeval:registryPasswords is not a JSON object of texts: {"HOST[:PORT]":"PASSWORD"}"`,
  );
});

test("faults may act on the entry where the cluster has both parts", async () => {
  const own = temporaryProject({
    "my.kubeconfig": "clusters:\n- cluster:\n    server: https://10.0.0.1:6443\n",
    "configs/clusters/own.yaml": "kuberay: { mode: external }\n",
  });
  const annotations = async (project: string, config: Record<string, string>) => {
    const { resources } = await record(() => clusterStack(project), { config, stack: "dev" });
    const namespace = resources.find(({ name }) => name === "entry-namespace");
    expect(namespace).toBeDefined();
    return (namespace?.inputs["metadata"] as { annotations?: unknown } | undefined)?.annotations;
  };
  expect(await annotations(temporaryProject(), dev)).toEqual({ "chaos-mesh.org/inject": "enabled" });
  // Chaos Mesh is off unless a configuration says otherwise.
  const existing = {
    "llmeval:kind": "cluster",
    "llmeval:cluster": "own",
    "llmeval:kubeconfig": "my.kubeconfig",
  };
  expect(await annotations(own, existing)).toBeUndefined();
});

test("`up` without the lab's files stops before anything is registered", async () => {
  const project = temporaryProject({
    ".lab/images.json": "{}",
    ".lab/k3s.sha256": labFiles[".lab/k3s.sha256"],
    ...chartFiles(),
  });
  const run = record(() => clusterStack(project), { config: dev, stack: "dev", preview: false });
  await expect(run).rejects.toThrowErrorMatchingInlineSnapshot(`
    [UserError: SSH is not set up
      - ssh.keyFile .lab/ssh/id_ed25519 cannot be read; it holds the private key for server-1 (10.89.77.11)
      - ssh.knownHostsFile .lab/ssh/known_hosts cannot be read; it pins the host keys of server-1 (10.89.77.11)]
  `);
});

test("the prod example: every part is on, data is protected unless the stack says otherwise", async () => {
  const project = temporaryProject();
  const { resources, outputs } = await record(() => clusterStack(project), {
    config: { "llmeval:kind": "cluster", "llmeval:cluster": "prod" },
    stack: "cluster-prod",
  });
  const { accelerators, capabilities } = outputs as {
    accelerators: unknown;
    capabilities: Record<string, { mode: string }>;
  };
  expect(accelerators).toEqual({ H100: 16 });
  expect(Object.entries(capabilities).filter(([, { mode }]) => mode !== "on")).toEqual([]);
  expect(
    resources.filter(({ type }) => type === "kubernetes:helm.sh/v3:Release").map(({ name }) => name),
  ).toEqual([
    "chaos-mesh-release",
    "cilium-release",
    "deepflow-release",
    "gpu-operator-release",
    "istio-base",
    "istio-cni",
    "istio-istiod",
    "istio-ztunnel",
    "kuberay-operator",
  ]);
  expect(
    resources
      .filter(({ type }) => type === "kubernetes:core/v1:PersistentVolumeClaim")
      .map(({ name }) => name),
  ).toEqual(["loki-data", "opentelemetry-traces", "prometheus-data"]);
});

test("an existing cluster needs no hosts", async () => {
  const project = temporaryProject({
    "my.kubeconfig": "clusters:\n- cluster:\n    server: https://10.0.0.1:6443\n",
    "configs/clusters/own.yaml":
      "kuberay: { mode: external }\nloki: { mode: external, url: http://loki.logs:3100 }\n",
  });
  const { resources, outputs } = await record(() => clusterStack(project), {
    config: { "llmeval:kind": "cluster", "llmeval:cluster": "own", "llmeval:kubeconfig": "my.kubeconfig" },
    stack: "dev",
  });
  expect(resources.filter(({ type }) => /command|K3s|Release/.test(type))).toEqual([]);
  expect(outputs).toMatchObject({
    endpoints: { apiServer: "https://10.0.0.1:6443", loki: "http://loki.logs:3100" },
    capabilities: {
      k3s: { mode: "external", reason: "existing cluster, named by llmeval:kubeconfig" },
      kuberay: { mode: "external", reason: "there already, the stack does not install it" },
      istio: { mode: "off", reason: "switched off in the cluster's configuration" },
    },
  });
});

const kubeconfigOfCi = "clusters:\n- cluster:\n    server: https://10.0.0.2:6443\n";
type Outputs = Readonly<Record<string, unknown>> & { readonly endpoints: Readonly<Record<string, string>> };
const described = { "llmeval:kind": "cluster", "llmeval:outputs": "prod.json" };

test("a cluster is what the stack that made it says, behind a kubeconfig of one's own; nothing is made", async () => {
  const made = await record(() => clusterStack(temporaryProject(labFiles)), { config: dev, stack: "dev" });
  const { kubeconfig: _kubeconfig, passwords: _passwords, endpoints, ...said } = made.outputs as Outputs;
  const written = { ...said, endpoints: { ...endpoints, apiServer: "https://10.0.0.1:6443" } };
  const masked = { ...written, kubeconfig: "[secret]", passwords: { entry: "[secret]" } };
  const project = temporaryProject({
    "ci.kubeconfig": kubeconfigOfCi,
    "prod.json": JSON.stringify(masked),
  });
  const { resources, outputs } = await record(() => clusterStack(project), {
    config: { ...described, "llmeval:kubeconfig": "ci.kubeconfig" },
    stack: "ci",
  });
  expect(resources.map(({ type }) => type)).toEqual(["pulumi:pulumi:Stack"]);
  const { kubeconfig, ...others } = outputs as Outputs;
  expect(JSON.stringify(kubeconfig)).toContain("10.0.0.2");
  expect(others).toEqual({
    ...said,
    endpoints: { ...endpoints, apiServer: "https://10.0.0.2:6443" },
    passwords: {},
  });
});

test("what cannot describe a cluster is one clear error", async () => {
  const project = temporaryProject({
    "ci.kubeconfig": kubeconfigOfCi,
    "prod.json": '{"namespace":"exp-smoke","endpoints":{"loki":3}}',
  });
  const errorOf = (config: Record<string, string>): Promise<string> =>
    record(() => clusterStack(project), { config: { ...described, ...config }, stack: "ci" }).then(
      () => "none",
      (error: Error) => error.message,
    );
  const kubeconfig = { "llmeval:kubeconfig": "ci.kubeconfig" };
  expect(await errorOf({})).toMatchInlineSnapshot(
    `"llmeval:outputs needs llmeval:kubeconfig, your own way into that cluster; set it by: pulumi config set llmeval:kubeconfig FILE"`,
  );
  expect(await errorOf({ ...kubeconfig, "llmeval:cluster": "prod" })).toMatchInlineSnapshot(
    `"llmeval:outputs describes the cluster already; remove the other description by: pulumi config rm llmeval:cluster"`,
  );
  expect(await errorOf({ ...kubeconfig, "llmeval:outputs": "nosuch.json" })).toMatchInlineSnapshot(
    `"nosuch.json: cannot be read (ENOENT)"`,
  );
  expect(await errorOf(kubeconfig)).toMatchInlineSnapshot(`
    "prod.json: 5 problems
      - endpoints.loki: expected a string, got 3
      - capabilities: missing; expected a map
      - storageClass: missing; expected a string
      - images: missing; expected a map
      - accelerators: missing; expected a map"
  `);
});

test.each<{ config: Record<string, string> }>([
  { config: { "llmeval:cluster": "labb" } },
  { config: {} },
  { config: { "llmeval:cluster": "lab", "llmeval:kubeconf": "x", "llmeval:run": "2" } },
])("a wrong stack configuration is one clear error: $config", async ({ config }) => {
  const project = temporaryProject();
  const run = record(() => clusterStack(project), {
    config: { "llmeval:kind": "cluster", ...config },
    stack: "dev",
  });
  await expect(run).rejects.toThrowErrorMatchingSnapshot();
});
