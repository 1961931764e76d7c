// K3s on hosts over SSH: one server, any number of agents. Installs, configures, waits, removes; nothing inside the cluster.

import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import * as yaml from "yaml";
import { UserError } from "../errors.ts";
import { defaultPodCidr, defaultServiceCidr, type HostConfig, type K3sConfig } from "./k3s-config.ts";
import { quote, rootCommand, scriptCommand, scriptInput } from "./shell.ts";
import { connectHosts, type HostConnection, resolvePath, type SshContext } from "./ssh.ts";

export interface K3sArgs {
  /** Name of cluster, user and context in the kubeconfig. */
  readonly clusterName: string;
  readonly config: K3sConfig;
  /** Storage class that must exist before K3s counts as ready. @default none is waited for */
  readonly storageClass?: string;
  /** Where files are and whether this is a preview. */
  readonly context: SshContext;
}

type Role = "server" | "agent";

const apiPort = 6443;
const folder = "/etc/rancher/k3s";
const tokenFile = `${folder}/token`;
const defaultDataDir = "/var/lib/rancher/k3s";
/** A download that the user has not pinned yet; a preview may show it, an install may not. */
const placeholderSha256 = "0".repeat(64);

/** The content of /etc/rancher/k3s/config.yaml of one host; keys at K3s's own default are left out. */
export function toK3sConfig(config: K3sConfig, role: Role, host: HostConfig): Record<string, unknown> {
  const server = config.servers[0];
  const optional: Record<string, unknown> = {
    "data-dir": config.dataDir === defaultDataDir ? undefined : config.dataDir,
    "node-label": Object.entries(host.labels).map(([key, value]) => `${key}=${value}`),
    "node-taint": host.taints,
    "kubelet-arg": config.kubeletArgs,
    ...(role === "server"
      ? {
          "tls-san": [...new Set([...config.servers.map(({ address }) => address), ...config.tlsSans])],
          disable: config.disable,
          "cluster-cidr": config.podCidr === defaultPodCidr ? undefined : config.podCidr,
          "service-cidr": config.serviceCidr === defaultServiceCidr ? undefined : config.serviceCidr,
          "flannel-backend": config.flannelBackend,
          "write-kubeconfig-mode": "0600",
        }
      : { server: `https://${server?.address}:${apiPort}` }),
  };
  const given = Object.entries(optional).filter(
    ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
  );
  return { "node-name": host.name, "token-file": tokenFile, ...Object.fromEntries(given) };
}

/** The text of /etc/rancher/k3s/registries.yaml; empty when there are no mirrors. */
export function toRegistries(config: K3sConfig): string {
  return config.registries === undefined ? "" : toYaml(config.registries);
}

/** The systemd unit; limits above what a host grants are lowered by systemd to what it does grant. */
export function toUnit(role: Role): string {
  const service = role === "server" ? "k3s" : "k3s-agent";
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
  const { sha256, sha256File } = config.binary;
  const problem = (text: string): string => {
    if (!context.preview) {
      throw new UserError(text);
    }
    context.warn(`${text}; fine for a preview, \`pulumi up\` needs it`);
    return placeholderSha256;
  };
  if (sha256 === placeholderSha256) {
    return problem(`k3s.binary.sha256 is the placeholder; put the sha256 of ${config.binary.url} there`);
  }
  if (sha256File === undefined) {
    return sha256 ?? placeholderSha256;
  }
  let text: string;
  try {
    text = fs.readFileSync(resolvePath(sha256File, context.projectDir), "utf8");
  } catch {
    return problem(`k3s.binary.sha256File ${sha256File} cannot be read`);
  }
  const name = decodeURIComponent(path.posix.basename(new URL(config.binary.url).pathname));
  const lines = text.split("\n").map((line) => line.trim().split(/\s+\*?/));
  const found = lines.find(([, file]) => file === name)?.[0];
  if (found === undefined || !/^[0-9a-f]{64}$/.test(found)) {
    return problem(`k3s.binary.sha256File ${sha256File} has no line for ${name} (of k3s.binary.url)`);
  }
  return found;
}

/** Runs K3s's own uninstall script, then ours; what is absent is no error. */
function toUninstall(role: Role, dataDir: string): string {
  const service = role === "server" ? "k3s" : "k3s-agent";
  return `for script in /usr/local/bin/${service}-uninstall.sh /usr/local/bin/llmeval-${service}-uninstall.sh; do
  if [ -x "$script" ]; then K3S_DATA_DIR=${quote(dataDir)} timeout 300 "$script" </dev/null || exit 1; fi
done`;
}

export class K3s extends pulumi.ComponentResource {
  /** Kubeconfig with the server's reachable address; secret. */
  readonly kubeconfig: pulumi.Output<string>;
  /** Address of the API server. */
  readonly apiServer: string;
  /** What stands for the whole cluster: in-cluster objects name it in `deletedWith`. */
  readonly server: pulumi.Resource;

  readonly #name: string;
  readonly #args: K3sArgs;
  readonly #sha256: string;
  readonly #connections: Map<string, HostConnection>;

  constructor(name: string, args: K3sArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:K3s", name, {}, opts);
    this.#name = name;
    this.#args = args;
    const { config, context } = args;
    this.#sha256 = resolveSha256(config, context);
    this.#connections = connectHosts(config.ssh, [...config.servers, ...config.agents], context);

    const token = new random.RandomPassword(
      `${name}-token`,
      { length: 48, special: false },
      { parent: this },
    );
    const first = config.servers[0];
    if (first === undefined) {
      throw new UserError("k3s.servers is empty; at least one server is needed");
    }
    const server = this.#install("server", first, token.result, []);
    for (const host of config.agents) {
      const agent = this.#install("agent", host, token.result, [server]);
      this.#join(first, host, agent, server);
    }
    this.server = server;
    this.apiServer = `https://${first.address}:${apiPort}`;
    this.kubeconfig = pulumi.secret(this.#readKubeconfig(first, server));
    this.registerOutputs({ kubeconfig: this.kubeconfig, apiServer: this.apiServer });
  }

  /** Installs one host; the same script is run again on every change and does only what is needed. */
  #install(
    role: Role,
    host: HostConfig,
    token: pulumi.Output<string>,
    dependsOn: pulumi.Resource[],
  ): command.remote.Command {
    const { config, storageClass } = this.#args;
    const connection = this.#connection(host);
    const create = scriptCommand(connection.user, {
      ROLE: role,
      NODE_NAME: host.name,
      BINARY_URL: config.binary.url,
      BINARY_SHA256: this.#sha256,
      CONFIG: toYaml(toK3sConfig(config, role, host)),
      REGISTRIES: toRegistries(config),
      UNIT: toUnit(role),
      WAIT_SECONDS: String(config.readyTimeoutSeconds),
      // Without K3s's own network the nodes become Ready only when the component that brings one has run.
      WAIT_NODE: config.flannelBackend === "none" ? "0" : "1",
      WAIT_STORAGE_CLASS: role === "server" ? (storageClass ?? "") : "",
    });
    return new command.remote.Command(
      `${this.#name}-${host.name}`,
      {
        connection: connection.args,
        create,
        delete: rootCommand(connection.user, toUninstall(role, config.dataDir)),
        stdin: token.apply((value) =>
          scriptInput({ TOKEN: value, UNINSTALL: script("k3s-uninstall.sh") }, script("k3s-install.sh")),
        ),
        addPreviousOutputInEnv: false,
        // Another address or data directory is another installation: the old one is removed first.
        triggers: [host.address, config.dataDir],
      },
      this.#options(connection, { dependsOn, deleteBeforeReplace: true }),
    );
  }

  /** Waits on the server until the agent's node is Ready; when the agent goes, its node goes first. */
  #join(
    server: HostConfig,
    host: HostConfig,
    agent: command.remote.Command,
    serverInstall: command.remote.Command,
  ): void {
    const { config } = this.#args;
    const connection = this.#connection(server);
    const k3s = "/usr/local/bin/k3s kubectl";
    const leave = [
      `timeout 180 ${k3s} drain ${host.name} --ignore-daemonsets --delete-emptydir-data --force --timeout=120s || true`,
      `timeout 60 ${k3s} delete node ${host.name} --ignore-not-found`,
      // A host that joins again under this name brings a new node password.
      `timeout 60 ${k3s} -n kube-system delete secret ${host.name}.node-password.k3s --ignore-not-found`,
    ].join("\n");
    new command.remote.Command(
      `${this.#name}-${host.name}-ready`,
      {
        connection: connection.args,
        create:
          config.flannelBackend === "none"
            ? "true"
            : scriptCommand(connection.user, {
                NODE_NAME: host.name,
                WAIT_SECONDS: String(config.readyTimeoutSeconds),
                // Waits again when the agent was configured anew.
                AGENT_CONFIG: shortHash(toYaml(toK3sConfig(config, "agent", host)) + this.#sha256),
              }),
        delete: rootCommand(connection.user, leave),
        stdin: script("k3s-node-ready.sh"),
        addPreviousOutputInEnv: false,
        triggers: [agent.id],
      },
      this.#options(connection, { dependsOn: [agent], deletedWith: serverInstall }),
    );
  }

  #readKubeconfig(server: HostConfig, install: command.remote.Command): pulumi.Output<string> {
    const connection = this.#connection(server);
    const read = new command.remote.Command(
      `${this.#name}-kubeconfig`,
      {
        connection: connection.args,
        create: rootCommand(connection.user, `cat ${folder}/k3s.yaml`),
        logging: "none",
        addPreviousOutputInEnv: false,
        // A changed label must not make the kubeconfig unknown in previews, so only what issues new certificates is here.
        triggers: [install.id, this.#args.config.version],
      },
      this.#options(connection, { dependsOn: [install], additionalSecretOutputs: ["stdout"] }),
    );
    return read.stdout.apply((text) => toKubeconfig(text, this.#args.clusterName, this.apiServer));
  }

  #connection(host: HostConfig): HostConnection {
    const connection = this.#connections.get(host.name);
    if (connection === undefined) {
      throw new Error(`no connection for ${host.name}`);
    }
    return connection;
  }

  #options(connection: HostConnection, more: pulumi.CustomResourceOptions): pulumi.CustomResourceOptions {
    // A preview without the key must not show every connection as changed.
    return { parent: this, ...(connection.complete ? {} : { ignoreChanges: ["connection"] }), ...more };
  }
}

function script(file: string): string {
  return fs.readFileSync(path.join(import.meta.dirname, "scripts", file), "utf8");
}

function toYaml(value: unknown): string {
  return yaml.stringify(value, { lineWidth: 0 }).trimEnd();
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
