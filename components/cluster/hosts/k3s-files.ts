// What the K3s component writes to hosts and reads from them: plain functions of the configuration.

import * as yaml from "yaml";
import { UserError } from "../../errors.ts";
import { fileNameOf, resolvePin } from "../common/pin.ts";
import {
  defaultDataDir,
  defaultPodCidr,
  defaultServiceCidr,
  type HostConfig,
  hasEmbeddedEtcd,
  type K3sConfig,
} from "./k3s-config.ts";
import { quote } from "./shell.ts";
import type { SshContext } from "./ssh.ts";

export type Role = "server" | "agent";

const apiPort = 6443;
/** Where K3s looks for its configuration. */
export const folder = "/etc/rancher/k3s";
const tokenFile = `${folder}/token`;
const agentTokenFile = `${folder}/agent-token`;
/** Held by whatever changes K3s on a host. */
const lockFile = "/run/llmeval-k3s.lock";

/** The content of /etc/rancher/k3s/config.yaml of one host; keys at K3s's own default are left out. */
export function toK3sConfig(config: K3sConfig, role: Role, host: HostConfig): Record<string, unknown> {
  const first = config.servers[0];
  const dataDir = toDataDir(config, host);
  const optional: Record<string, unknown> = {
    "data-dir": dataDir === defaultDataDir ? undefined : dataDir,
    // Read only when the node registers; later changes are made by k3s-node.sh.
    "node-label": Object.entries(host.labels).map(([key, value]) => `${key}=${value}`),
    "node-taint": host.taints,
    "kubelet-arg": [...config.kubeletArgs, ...host.kubeletArgs],
    ...(role === "server"
      ? {
          // All servers must agree on what follows; only who starts the cluster differs.
          "agent-token-file": agentTokenFile,
          "cluster-init": hasEmbeddedEtcd(config) && host === first ? true : undefined,
          server: host === first ? undefined : serverUrl(first?.address),
          "tls-san": toTlsSans(config),
          disable: config.disable,
          "cluster-cidr": config.podCidr === defaultPodCidr ? undefined : config.podCidr,
          "service-cidr": config.serviceCidr === defaultServiceCidr ? undefined : config.serviceCidr,
          "flannel-backend": config.flannelBackend,
          // K3s's own enforcement of network policies works on flannel's network only.
          "disable-network-policy": config.flannelBackend === "none" ? true : undefined,
          "disable-kube-proxy": config.kubeProxy ? undefined : true,
          "write-kubeconfig-mode": "0600",
        }
      : { server: toApiServer(config) }),
  };
  const given = Object.entries(optional).filter(
    ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
  );
  return { "node-name": host.name, "token-file": tokenFile, ...Object.fromEntries(given) };
}

/** Where a host keeps K3s's data. */
export function toDataDir(config: K3sConfig, host: HostConfig): string {
  return host.dataDir ?? config.dataDir;
}

/** Address of the API server for users and for agents. */
export function toApiServer(config: K3sConfig): string {
  return serverUrl(config.apiAddress ?? config.servers[0]?.address);
}

function serverUrl(address: string | undefined): string {
  return `https://${address}:${apiPort}`;
}

function toTlsSans(config: K3sConfig): string[] {
  const addresses = config.servers.map(({ address }) => address);
  const api = config.apiAddress === undefined ? [] : [config.apiAddress];
  return [...new Set([...addresses, ...api, ...config.tlsSans])];
}

/** The text of /etc/rancher/k3s/registries.yaml, with the passwords by host[:port]; empty when there are no mirrors. */
export function toRegistries(
  { registries }: Pick<K3sConfig, "registries">,
  passwords: Readonly<Record<string, string>> = {},
): string {
  if (registries === undefined) return "";
  const { mirrors, configs } = registries;
  if (configs === undefined) return toYaml({ mirrors });
  const hosts = Object.entries(configs).map(([host, { username, caFile, insecureSkipVerify }]) => [
    host,
    {
      ...(username === undefined ? {} : { auth: { username, password: passwords[host] } }),
      ...(caFile === undefined && insecureSkipVerify === undefined
        ? {}
        : { tls: { ca_file: caFile, insecure_skip_verify: insecureSkipVerify } }),
    },
  ]);
  return toYaml({ mirrors, configs: Object.fromEntries(hosts) });
}

/** The systemd unit; limits above what a host grants are lowered by systemd to what it does grant. */
export function toUnit(role: Role): string {
  const service = toService(role);
  return `[Unit]
Description=Lightweight Kubernetes (${role})
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
EnvironmentFile=-/etc/default/${service}
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s ${role}

[Install]
WantedBy=multi-user.target`;
}

/** Turns K3s's own kubeconfig into one that works from outside and can be merged with others. */
export function toKubeconfig(text: string, clusterName: string, server: string): string {
  const parsed = yaml.parse(text) as {
    clusters?: { name: string; cluster: Record<string, unknown> }[];
    users?: { name: string; user: Record<string, unknown> }[];
  } | null;
  const cluster = parsed?.clusters?.[0]?.cluster;
  const user = parsed?.users?.[0]?.user;
  if (cluster === undefined || user === undefined) {
    throw new UserError(`${folder}/k3s.yaml of the server at ${server} holds no cluster and user`);
  }
  return toYaml({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: clusterName, cluster: { ...cluster, server } }],
    users: [{ name: clusterName, user }],
    contexts: [{ name: clusterName, context: { cluster: clusterName, user: clusterName } }],
    "current-context": clusterName,
  });
}

/** The expected sha256 of the executable, from the configuration or from a file in sha256sum's format. */
export function resolveSha256(config: K3sConfig, context: SshContext): string {
  const { url, sha256, sha256File } = config.binary;
  const pin = { prefix: "k3s.binary.", fileName: fileNameOf(url), address: url, sha256, sha256File };
  return resolvePin(pin, context);
}

/** Runs K3s's own uninstall script, then ours; what is absent is no error. */
export function toUninstall(role: Role, dataDir: string): string {
  const service = toService(role);
  // An install whose `up` was killed may still be at work.
  return `for script in /usr/local/bin/${service}-uninstall.sh /usr/local/bin/llmeval-${service}-uninstall.sh; do
  if [ -x "$script" ]; then
    K3S_DATA_DIR=${quote(dataDir)} flock -w 300 ${lockFile} timeout 300 "$script" </dev/null || exit 1
  fi
done`;
}

/** Takes a node out of the cluster, on a server: moves its pods away, then forgets it. */
export function toLeave(node: string): string {
  const kubectl = "/usr/local/bin/k3s kubectl";
  return [
    `timeout 180 ${kubectl} drain ${node} --ignore-daemonsets --delete-emptydir-data --force --timeout=120s || true`,
    `timeout 60 ${kubectl} delete node ${node} --ignore-not-found`,
    // A host that joins again under this name brings a new node password.
    `timeout 60 ${kubectl} -n kube-system delete secret ${node}.node-password.k3s --ignore-not-found`,
  ].join("\n");
}

function toService(role: Role): string {
  return role === "server" ? "k3s" : "k3s-agent";
}

export function toYaml(value: unknown): string {
  return yaml.stringify(value, { lineWidth: 0 }).trimEnd();
}
