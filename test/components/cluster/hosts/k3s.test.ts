// What the K3s component writes to hosts and reads from them.

import { expect, test } from "vitest";
import { K3s } from "../../../../components/cluster/hosts/k3s.ts";
import { type K3sConfig, k3sSchema } from "../../../../components/cluster/hosts/k3s-config.ts";
import {
  resolveSha256,
  toApiServer,
  toDataDir,
  toK3sConfig,
  toKubeconfig,
  toLeave,
  toRegistries,
  toUninstall,
  toUnit,
} from "../../../../components/cluster/hosts/k3s-files.ts";
import type { SshContext } from "../../../../components/cluster/hosts/ssh.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { temporaryProject } from "../../../stacks/project.ts";
import { record } from "../../../support/record.ts";

function k3s(more: Record<string, unknown> = {}): K3sConfig {
  const value = {
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
  };
  return parseConfig(k3sSchema, value, { file: "x" });
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
    "agent-token-file": "/etc/rancher/k3s/agent-token",
    "tls-san": ["10.0.0.1"],
    disable: ["servicelb", "traefik"],
    "write-kubeconfig-mode": "0600",
  });
});

test("a server's config.yaml carries every setting that was given", () => {
  const config = k3s({
    apiAddress: "api.test",
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
    "agent-token-file": "/etc/rancher/k3s/agent-token",
    "tls-san": ["10.0.0.1", "api.test", "k3s.test"],
    "cluster-cidr": "172.20.0.0/16",
    "service-cidr": "172.21.0.0/16",
    "flannel-backend": "none",
    "disable-network-policy": true,
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

const servers = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map((address, index) => ({
  name: `server-${index + 1}`,
  address,
}));

test("of three servers the first starts the cluster and the others join it; all else is the same", () => {
  const config = k3s({ servers, agents: [], tlsSans: ["k3s.test"], podCidr: "172.20.0.0/16" });
  const [first, ...others] = config.servers.map((host) => toK3sConfig(config, "server", host));
  const { "node-name": name, "cluster-init": init, ...shared } = first!;
  expect([name, init]).toEqual(["server-1", true]);
  expect(others).toEqual([
    { ...shared, "node-name": "server-2", server: "https://10.0.0.1:6443" },
    { ...shared, "node-name": "server-3", server: "https://10.0.0.1:6443" },
  ]);
  expect(shared["tls-san"]).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.3", "k3s.test"]);
});

test("agents and users come by the address in front of the servers, servers by the first one", () => {
  const config = k3s({ servers, agents: [{ name: "agent-1", address: "10.0.0.9" }], apiAddress: "api.test" });
  expect(toApiServer(config)).toBe("https://api.test:6443");
  expect(toK3sConfig(config, "agent", config.agents[0]!)["server"]).toBe("https://api.test:6443");
  expect(toK3sConfig(config, "server", config.servers[1]!)["server"]).toBe("https://10.0.0.1:6443");
  expect(toApiServer(k3s())).toBe("https://10.0.0.1:6443");
});

test("a host's own kubelet arguments and data directory", () => {
  const config = k3s({
    kubeletArgs: ["max-pods=200"],
    dataDir: "/data/k3s",
    agents: [
      { name: "a", address: "10.0.0.2", kubeletArgs: ["max-pods=50"], dataDir: "/var/lib/rancher/k3s" },
      { name: "b", address: "10.0.0.3" },
    ],
  });
  expect(config.agents.map((host) => toDataDir(config, host))).toEqual(["/var/lib/rancher/k3s", "/data/k3s"]);
  expect(config.agents.map((host) => toK3sConfig(config, "agent", host))).toMatchObject([
    { "kubelet-arg": ["max-pods=200", "max-pods=50"] },
    { "kubelet-arg": ["max-pods=200"], "data-dir": "/data/k3s" },
  ]);
  expect(toK3sConfig(config, "agent", config.agents[0]!)).not.toHaveProperty("data-dir");
});

test("how a node leaves the cluster and K3s its host", () => {
  expect(toLeave("agent-1")).toMatchInlineSnapshot(`
    "timeout 180 /usr/local/bin/k3s kubectl drain agent-1 --ignore-daemonsets --delete-emptydir-data --force --timeout=120s || true
    timeout 60 /usr/local/bin/k3s kubectl delete node agent-1 --ignore-not-found
    timeout 60 /usr/local/bin/k3s kubectl -n kube-system delete secret agent-1.node-password.k3s --ignore-not-found"
  `);
  expect(toUninstall("agent", "/data/it's")).toMatchInlineSnapshot(`
    "for script in /usr/local/bin/k3s-agent-uninstall.sh /usr/local/bin/llmeval-k3s-agent-uninstall.sh; do
      if [ -x "$script" ]; then
        K3S_DATA_DIR='/data/it'\\''s' flock -w 300 /run/llmeval-k3s.lock timeout 300 "$script" </dev/null || exit 1
      fi
    done"
  `);
});

test("an even number of servers is refused with the reason", () => {
  expect(() => k3s({ servers: servers.slice(0, 2), agents: [] })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x: 1 problem
      - servers: got 2 servers; etcd needs an odd number, since 2 servers survive the loss of no more servers than 1 do; give 1 or 3]
  `);
});

/** What the component registers for a configuration, with the given further args. */
async function recorded(config: K3sConfig, more: { token?: string } = {}) {
  const projectDir = temporaryProject({
    key: "PRIVATE",
    known_hosts: [...config.servers, ...config.agents]
      .map(({ address }) => `${address} ssh-rsa KEY\n`)
      .join(""),
  });
  const run = await record(
    () => {
      const cluster = new K3s("k3s", { clusterName: "x", config, context: context(projectDir), ...more });
      return { kubeconfig: cluster.kubeconfig, apiServer: cluster.apiServer, nodes: cluster.nodes };
    },
    { config: {}, stack: "x", preview: false },
  );
  const resources = run.resources.filter(({ type }) => !/^pulumi:|K3s$/.test(type));
  return {
    outputs: run.outputs as Record<string, unknown>,
    names: resources.map(({ type, name }) => `${type} ${name}`),
    input: (name: string, key: string) =>
      JSON.stringify(resources.find((resource) => resource.name === name)?.inputs[key]),
  };
}

test("a server and an agent are these resources; tokens are in no command", async () => {
  const { names, outputs, input } = await recorded(k3s());
  expect(names).toMatchInlineSnapshot(`
    [
      "command:local:Command k3s-preflight",
      "command:remote:Command k3s-agent-1",
      "command:remote:Command k3s-agent-1-drain",
      "command:remote:Command k3s-agent-1-ready",
      "command:remote:Command k3s-agent-1-switch",
      "command:remote:Command k3s-kubeconfig",
      "command:remote:Command k3s-server-1",
      "command:remote:Command k3s-server-1-ready",
      "random:index/randomPassword:RandomPassword k3s-agent-token",
      "random:index/randomPassword:RandomPassword k3s-token",
    ]
  `);
  expect(outputs["nodes"]).toEqual([
    { name: "server-1", address: "10.0.0.1", role: "server", accelerators: {} },
    { name: "agent-1", address: "10.0.0.2", role: "agent", accelerators: {} },
  ]);
  expect(input("k3s-agent-1", "create")).toContain("MODE='prepare'");
  expect(input("k3s-agent-1-switch", "create")).toContain("MODE='apply'");
  expect(input("k3s-server-1", "create")).toContain("MODE='apply'");
  expect(input("k3s-server-1", "create")).toContain("SNAPSHOT='1'");
  expect(input("k3s-agent-1", "stdin")).toContain("AGENT_TOKEN=''");
  expect(input("k3s-server-1", "stdin")).toContain("TOKEN='generated-k3s-token'");
  for (const name of ["k3s-agent-1", "k3s-agent-1-switch"]) {
    expect(input(name, "stdin")).toContain("TOKEN='generated-k3s-agent-token'");
    expect(input(name, "stdin")).not.toContain("generated-k3s-token");
  }
  expect(names.filter((name) => input(name.split(" ")[1] ?? "", "create")?.includes("generated-"))).toEqual(
    [],
  );
  expect(input("k3s-agent-1-ready", "create")).toContain(
    "LABELS='llmeval.io/role=gpu' TAINTS='gpu=yes:NoSchedule'",
  );
  expect(input("k3s-agent-1-ready", "delete")).toContain("delete node agent-1");
  expect(input("k3s-server-1-ready", "delete")).toBeUndefined();
});

test("three servers with a given token: the others can leave, the first stands for the cluster", async () => {
  const { names, input } = await recorded(k3s({ servers, agents: [] }), { token: "given" });
  expect(names).toMatchInlineSnapshot(`
    [
      "command:local:Command k3s-preflight",
      "command:remote:Command k3s-kubeconfig",
      "command:remote:Command k3s-server-1",
      "command:remote:Command k3s-server-1-ready",
      "command:remote:Command k3s-server-2",
      "command:remote:Command k3s-server-2-ready",
      "command:remote:Command k3s-server-3",
      "command:remote:Command k3s-server-3-ready",
      "random:index/randomPassword:RandomPassword k3s-agent-token",
    ]
  `);
  expect(input("k3s-server-2", "stdin")).toContain("TOKEN='given'");
  expect(input("k3s-server-2", "stdin")).toContain("AGENT_TOKEN='generated-k3s-agent-token'");
  expect(input("k3s-server-2", "create")).toContain("SNAPSHOT='0'");
  expect(input("k3s-server-2-ready", "delete")).toContain("delete node server-2");
  expect(input("k3s-server-1-ready", "delete")).toBeUndefined();
});

test("without K3s's own network the nodes need not be Ready", async () => {
  const { input } = await recorded(k3s({ flannelBackend: "none" }));
  expect(input("k3s-server-1", "create")).toContain("WAIT_NODE='0'");
  expect(input("k3s-agent-1-ready", "create")).toContain("WAIT_READY='0'");
});

test("registries.yaml", () => {
  expect(toRegistries(k3s())).toBe("");
  expect(
    toRegistries(k3s({ registries: { mirrors: { "docker.io": { endpoint: ["http://10.0.0.9:5000"] } } } })),
  ).toBe("mirrors:\n  docker.io:\n    endpoint:\n      - http://10.0.0.9:5000");
  const registries = {
    mirrors: { "docker.io": { endpoint: ["https://cache.example.org:5000"] } },
    configs: {
      "cache.example.org:5000": { username: "puller", caFile: "/etc/ssl/cache.pem" },
      "other.example.org": { insecureSkipVerify: true },
    },
  };
  expect(toRegistries(k3s({ registries }), { "cache.example.org:5000": "pass" })).toMatchInlineSnapshot(`
    "mirrors:
      docker.io:
        endpoint:
          - https://cache.example.org:5000
    configs:
      cache.example.org:5000:
        auth:
          username: puller
          password: pass
        tls:
          ca_file: /etc/ssl/cache.pem
      other.example.org:
        tls:
          insecure_skip_verify: true"
  `);
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
