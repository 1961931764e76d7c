// What the K3s component writes to hosts and reads from them.

import { expect, test } from "vitest";
import { clusterConfigSchema } from "../../../components/cluster/config.ts";
import {
  resolveSha256,
  toK3sConfig,
  toKubeconfig,
  toRegistries,
  toUnit,
} from "../../../components/cluster/k3s.ts";
import type { K3sConfig } from "../../../components/cluster/k3s-config.ts";
import type { SshContext } from "../../../components/cluster/ssh.ts";
import { parseConfig } from "../../../components/config-problems.ts";
import { temporaryProject } from "../../stacks/project.ts";

function k3s(more: Record<string, unknown> = {}): K3sConfig {
  const value = {
    k3s: {
      ssh: { keyFile: "key", knownHostsFile: "known_hosts" },
      servers: [{ name: "server-1", address: "10.0.0.1" }],
      agents: [
        {
          name: "agent-1",
          address: "10.0.0.2",
          labels: { "llmeval.io/role": "gpu" },
          taints: ["gpu=yes:NoSchedule"],
        },
      ],
      binary: { url: "https://mirror.test/v1.36.4%2Bk3s1/k3s", sha256: "a".repeat(64) },
      ...more,
    },
  };
  return parseConfig(clusterConfigSchema, value, { file: "x" }).k3s as K3sConfig;
}

function context(projectDir: string, preview = false): SshContext & { warnings: string[] } {
  const warnings: string[] = [];
  return { projectDir, preview, warn: (message) => void warnings.push(message), warnings };
}

test("a server's config.yaml leaves K3s's own defaults out", () => {
  const config = k3s();
  expect(toK3sConfig(config, "server", config.servers[0]!)).toEqual({
    "node-name": "server-1",
    "token-file": "/etc/rancher/k3s/token",
    "tls-san": ["10.0.0.1"],
    disable: ["servicelb", "traefik"],
    "write-kubeconfig-mode": "0600",
  });
});

test("a server's config.yaml carries every setting that was given", () => {
  const config = k3s({
    tlsSans: ["k3s.test", "10.0.0.1"],
    disable: [],
    kubeletArgs: ["max-pods=200"],
    podCidr: "172.20.0.0/16",
    serviceCidr: "172.21.0.0/16",
    flannelBackend: "none",
    dataDir: "/data/k3s",
  });
  expect(toK3sConfig(config, "server", config.servers[0]!)).toEqual({
    "node-name": "server-1",
    "token-file": "/etc/rancher/k3s/token",
    "data-dir": "/data/k3s",
    "kubelet-arg": ["max-pods=200"],
    "tls-san": ["10.0.0.1", "k3s.test"],
    "cluster-cidr": "172.20.0.0/16",
    "service-cidr": "172.21.0.0/16",
    "flannel-backend": "none",
    "write-kubeconfig-mode": "0600",
  });
});

test("an agent's config.yaml names the server, and kubelet and data settings like a server's", () => {
  const config = k3s({ kubeletArgs: ["max-pods=200"], dataDir: "/data/k3s", tlsSans: ["k3s.test"] });
  expect(toK3sConfig(config, "agent", config.agents[0]!)).toEqual({
    "node-name": "agent-1",
    "token-file": "/etc/rancher/k3s/token",
    "data-dir": "/data/k3s",
    "node-label": ["llmeval.io/role=gpu"],
    "node-taint": ["gpu=yes:NoSchedule"],
    "kubelet-arg": ["max-pods=200"],
    server: "https://10.0.0.1:6443",
  });
});

test("registries.yaml", () => {
  expect(toRegistries(k3s())).toBe("");
  expect(
    toRegistries(k3s({ registries: { mirrors: { "docker.io": { endpoint: ["http://10.0.0.9:5000"] } } } })),
  ).toBe("mirrors:\n  docker.io:\n    endpoint:\n      - http://10.0.0.9:5000");
});

test("the agent's unit", () => {
  expect(toUnit("agent")).toMatchInlineSnapshot(`
    "[Unit]
    Description=Lightweight Kubernetes (agent)
    Documentation=https://k3s.io
    Wants=network-online.target
    After=network-online.target

    [Service]
    Type=notify
    EnvironmentFile=-/etc/default/k3s-agent
    KillMode=process
    Delegate=yes
    LimitNOFILE=1048576
    TasksMax=infinity
    TimeoutStartSec=0
    Restart=always
    RestartSec=5s
    ExecStartPre=-/sbin/modprobe br_netfilter
    ExecStartPre=-/sbin/modprobe overlay
    ExecStart=/usr/local/bin/k3s agent

    [Install]
    WantedBy=multi-user.target"
  `);
});

test("the kubeconfig gets the reachable address and the cluster's name", () => {
  const original = `apiVersion: v1
clusters:
- cluster: {certificate-authority-data: Q0E=, server: "https://127.0.0.1:6443"}
  name: default
contexts:
- context: {cluster: default, user: default}
  name: default
current-context: default
users:
- name: default
  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}
`;
  expect(toKubeconfig(original, "lab", "https://10.0.0.1:6443")).toMatchInlineSnapshot(`
    "apiVersion: v1
    kind: Config
    clusters:
      - name: lab
        cluster:
          certificate-authority-data: Q0E=
          server: https://10.0.0.1:6443
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
    current-context: lab"
  `);
  expect(() => toKubeconfig("", "lab", "https://10.0.0.1:6443")).toThrowErrorMatchingInlineSnapshot(
    `[UserError: /etc/rancher/k3s/k3s.yaml of the server at https://10.0.0.1:6443 holds no cluster and user]`,
  );
});

test("sha256File is read in sha256sum's format, by the name in the address", () => {
  const project = temporaryProject({ sums: `${"b".repeat(64)}  k3s-arm64\n${"c".repeat(64)} *k3s\n` });
  const file = { binary: { url: "https://mirror.test/v1%2Bk3s1/k3s", sha256File: "sums" } };
  expect(resolveSha256(k3s(file), context(project))).toBe("c".repeat(64));
  expect(resolveSha256(k3s(), context(project))).toBe("a".repeat(64));
});

test.each([
  [{ url: "https://mirror.test/k3s", sha256: "0".repeat(64) }],
  [{ url: "https://mirror.test/k3s", sha256File: "absent" }],
  [{ url: "https://mirror.test/other", sha256File: "sums" }],
])("an executable that is not pinned stops `up` and only warns in a preview: %o", (binary) => {
  const project = temporaryProject({ sums: `${"c".repeat(64)}  k3s\n` });
  expect(() => resolveSha256(k3s({ binary }), context(project))).toThrowErrorMatchingSnapshot();
  const preview = context(project, true);
  expect(resolveSha256(k3s({ binary }), preview)).toBe("0".repeat(64));
  expect(preview.warnings).toHaveLength(1);
});
