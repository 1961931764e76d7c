// The whole cluster stack under Pulumi's mock engine.

import { expect, test } from "vitest";
import { clusterStack } from "../../stacks/cluster.ts";
import { record } from "../support/record.ts";
import { temporaryProject } from "./project.ts";

const dev = { "llmeval:kind": "cluster", "llmeval:cluster": "lab" };
const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIF6";
const labFiles = {
  ".lab/ssh/id_ed25519": "test private key",
  ".lab/ssh/known_hosts": `10.89.77.11 ${hostKey}\n`,
  ".lab/k3s.sha256": `${"a".repeat(64)}  k3s\n`,
  ".lab/images.json": JSON.stringify({ prometheus: `10.89.77.1:5000/prometheus@sha256:${"b".repeat(64)}` }),
};

test("the dev stack on a fresh clone registers exactly these resources and warns of what `up` needs", async () => {
  const project = temporaryProject();
  const { resources, outputs, logged } = await record(() => clusterStack(project), {
    config: dev,
    stack: "dev",
  });
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "command:remote:Command k3s-kubeconfig",
      "command:remote:Command k3s-server-1",
      "kubernetes:apps/v1:DaemonSet prometheus-node-exporter",
      "kubernetes:apps/v1:Deployment prometheus-server",
      "kubernetes:core/v1:ConfigMap prometheus-config",
      "kubernetes:core/v1:Namespace kuberay-namespace",
      "kubernetes:core/v1:Namespace prometheus-namespace",
      "kubernetes:core/v1:Service prometheus-service",
      "kubernetes:core/v1:ServiceAccount prometheus-account",
      "kubernetes:helm.sh/v3:Release kuberay-operator",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole prometheus-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding prometheus-binding",
      "llmeval:cluster:K3s k3s",
      "llmeval:cluster:KubeRay kuberay",
      "llmeval:cluster:Prometheus prometheus",
      "pulumi:providers:kubernetes cluster",
      "pulumi:pulumi:Stack llm-serving-eval-dev",
      "random:index/randomPassword:RandomPassword k3s-token",
    ]
  `);
  expect(outputs).toMatchInlineSnapshot(`
    {
      "accelerators": {},
      "capabilities": {
        "k3s": {
          "mode": "on",
          "version": "v1.36.4+k3s1",
        },
        "kuberay": {
          "mode": "on",
          "version": "1.6.2-lab",
        },
        "prometheus": {
          "mode": "on",
          "version": "v3.14.0",
        },
        "storage": {
          "mode": "on",
          "version": "local-path",
        },
      },
      "endpoints": {
        "apiServer": "https://10.89.77.11:6443",
        "prometheus": "http://prometheus.monitoring.svc:9090",
      },
      "images": {
        "grafana": "docker.io/grafana/grafana:13.2.0",
        "kubeStateMetrics": "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.20.0",
        "kuberayOperator": "quay.io/kuberay/operator:v1.7.0",
        "load": "docker.io/llm-serving-eval/load:0.1.0",
        "loki": "docker.io/grafana/loki:3.7.6",
        "nginx": "docker.io/nginxinc/nginx-unprivileged:1.28.0-bookworm",
        "node": "docker.io/library/node:24.21.0-bookworm-slim",
        "nodeExporter": "quay.io/prometheus/node-exporter:v1.12.1",
        "otelCollector": "ghcr.io/open-telemetry/opentelemetry-collector-releases/opentelemetry-collector-contrib:0.159.0",
        "prometheus": "quay.io/prometheus/prometheus:v3.14.0",
        "rayLlm": "docker.io/rayproject/ray-llm:2.58.0-py312-cu130",
        "serveSimulator": "docker.io/llm-serving-eval/serve-simulator:0.1.0",
      },
      "kubeconfig": "apiVersion: v1
    kind: Config
    clusters:
      - name: lab
        cluster:
          server: https://10.89.77.11:6443
          certificate-authority-data: Q0E=
    users:
      - name: lab
        user:
          client-certificate-data: Q0VSVA==
          client-key-data: S0VZ
    contexts:
      - name: lab
        context:
          cluster: lab
          user: lab
    current-context: lab",
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
      "create": "ROLE='server' NODE_NAME='server-1' BINARY_URL='http://10.89.77.1:8080/k3s' BINARY_SHA256='aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' CONFIG='node-name: server-1
    token-file: /etc/rancher/k3s/token
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
    WantedBy=multi-user.target' WAIT_SECONDS='300' WAIT_NODE='1' WAIT_STORAGE_CLASS='local-path' sh -s",
      "delete": "for script in /usr/local/bin/k3s-uninstall.sh /usr/local/bin/llmeval-k3s-uninstall.sh; do
      if [ -x "$script" ]; then K3S_DATA_DIR='/var/lib/rancher/k3s' timeout 300 "$script" </dev/null || exit 1; fi
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

test("`up` without the lab's files stops before anything is registered", async () => {
  const project = temporaryProject({
    ".lab/images.json": "{}",
    ".lab/k3s.sha256": labFiles[".lab/k3s.sha256"],
  });
  const run = record(() => clusterStack(project), { config: dev, stack: "dev", preview: false });
  await expect(run).rejects.toThrowErrorMatchingInlineSnapshot(`
    [UserError: SSH is not set up
      - ssh.keyFile .lab/ssh/id_ed25519 cannot be read; it holds the private key for server-1 (10.89.77.11)
      - ssh.knownHostsFile .lab/ssh/known_hosts cannot be read; it pins the host keys of server-1 (10.89.77.11)]
  `);
});

test("the prod example adds two agents that join and leave through the server", async () => {
  const project = temporaryProject();
  const { resources, outputs } = await record(() => clusterStack(project), {
    config: { "llmeval:kind": "cluster", "llmeval:cluster": "prod" },
    stack: "cluster-prod",
  });
  const commands = resources.filter(({ type }) => type === "command:remote:Command");
  expect(commands.map(({ name }) => name)).toMatchInlineSnapshot(`
    [
      "k3s-control-1",
      "k3s-gpu-1",
      "k3s-gpu-1-ready",
      "k3s-gpu-2",
      "k3s-gpu-2-ready",
      "k3s-kubeconfig",
    ]
  `);
  expect(commands.find(({ name }) => name === "k3s-gpu-1-ready")?.inputs["delete"]).toMatchInlineSnapshot(`
    "timeout 180 /usr/local/bin/k3s kubectl drain gpu-1 --ignore-daemonsets --delete-emptydir-data --force --timeout=120s || true
    timeout 60 /usr/local/bin/k3s kubectl delete node gpu-1 --ignore-not-found
    timeout 60 /usr/local/bin/k3s kubectl -n kube-system delete secret gpu-1.node-password.k3s --ignore-not-found"
  `);
  expect((outputs as { accelerators: unknown }).accelerators).toEqual({ H100: 16 });
  expect(resources.some(({ name }) => name === "prometheus-data")).toBe(true);
});

test("an existing cluster needs no hosts", async () => {
  const project = temporaryProject({
    "my.kubeconfig": "clusters:\n- cluster:\n    server: https://10.0.0.1:6443\n",
  });
  const { resources, outputs } = await record(() => clusterStack(project), {
    config: { "llmeval:kind": "cluster", "llmeval:kubeconfig": "my.kubeconfig" },
    stack: "dev",
  });
  expect(resources.filter(({ type }) => /command|random|K3s/.test(type))).toEqual([]);
  expect(outputs).toMatchObject({
    endpoints: { apiServer: "https://10.0.0.1:6443" },
    capabilities: { k3s: { mode: "off", reason: "existing cluster, named by llmeval:kubeconfig" } },
  });
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
