// K3s on hosts over SSH: servers and agents. Checks, installs, configures, upgrades, waits, removes; nothing inside
// the cluster.

import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { UserError } from "../../errors.ts";
import { type HostConfig, hostsOf, type K3sConfig } from "./k3s-config.ts";
import {
  folder,
  type Role,
  resolveSha256,
  toApiServer,
  toDataDir,
  toK3sConfig,
  toKubeconfig,
  toLeave,
  toRegistries,
  toUninstall,
  toUnit,
  toYaml,
} from "./k3s-files.ts";
import { toPreflightPlan } from "./preflight.ts";
import { rootCommand, scriptCommand, scriptInput } from "./shell.ts";
import { type Connections, connectHosts, type HostConnection, type SshContext } from "./ssh.ts";

export interface K3sArgs {
  /** Name of cluster, user and context in the kubeconfig. */
  readonly clusterName: string;
  readonly config: K3sConfig;
  /** Token with which servers join; secret. It cannot be changed later. @default a generated one */
  readonly token?: pulumi.Input<string>;
  /** Passwords of registries by host[:port]; secret. @default none is asked for one */
  readonly registryPasswords?: pulumi.Output<Readonly<Record<string, string>>>;
  /** Storage class that must exist before K3s counts as ready. @default none is waited for */
  readonly storageClass?: string;
  /** Where files are and whether this is a preview. */
  readonly context: SshContext;
}

/** A node of the cluster. */
export interface K3sNode {
  readonly name: string;
  readonly address: string;
  readonly role: Role;
  /** Accelerators by type. */
  readonly accelerators: Readonly<Record<string, number>>;
}

interface Tokens {
  readonly server: pulumi.Output<string>;
  readonly agent: pulumi.Output<string>;
}

const preflightProgram = "node components/cluster/hosts/preflight-run.ts";

export class K3s extends pulumi.ComponentResource {
  /** Kubeconfig with the API server's reachable address; secret. */
  readonly kubeconfig: pulumi.Output<string>;
  /** Address of the API server. */
  readonly apiServer: string;
  /** What stands for the whole cluster: in-cluster objects name it in `deletedWith`. */
  readonly server: pulumi.Resource;
  /** All nodes, servers first. */
  readonly nodes: readonly K3sNode[];
  /** The first server, over SSH. */
  readonly firstConnection: HostConnection;

  readonly #name: string;
  readonly #args: K3sArgs;
  readonly #sha256: string;
  readonly #connections: Connections;
  readonly #first: HostConfig;

  constructor(name: string, args: K3sArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:K3s", name, {}, opts);
    const { config, context } = args;
    const [first, ...others] = config.servers;
    if (first === undefined) {
      throw new UserError("k3s.servers is empty; at least one server is needed");
    }
    this.#name = name;
    this.#args = args;
    this.#first = first;
    this.#sha256 = resolveSha256(config, context);
    this.#connections = connectHosts(config.ssh, hostsOf(config), context);

    const tokens = this.#tokens();
    const preflight = this.#preflight();
    const server = this.#install("server", first, tokens, [preflight]);
    // Servers join, restart and are upgraded strictly one after the other.
    let last = this.#ready("server", first, server, [server], server);
    for (const host of others) {
      const install = this.#install("server", host, tokens, [last]);
      last = this.#ready("server", host, install, [install], server);
    }
    // Agents are installed side by side, but changed one after the other: see #switch.
    const serversReady = last;
    for (const host of config.agents) {
      const install = this.#install("agent", host, tokens, [serversReady]);
      const drain = this.#drain(host, [install, last], server);
      const switched = this.#switch(host, tokens, [drain]);
      last = this.#ready("agent", host, install, [switched], server);
    }
    this.server = server;
    this.firstConnection = this.#connection(first);
    this.apiServer = toApiServer(config);
    this.kubeconfig = pulumi.secret(this.#readKubeconfig(server));
    this.nodes = [
      ...config.servers.map((host) => toNode(host, "server")),
      ...config.agents.map((host) => toNode(host, "agent")),
    ];
    this.registerOutputs({ kubeconfig: this.kubeconfig, apiServer: this.apiServer, nodes: this.nodes });
  }

  #tokens(): Tokens {
    const generate = (role: string): pulumi.Output<string> =>
      new random.RandomPassword(`${this.#name}-${role}`, { length: 48, special: false }, { parent: this })
        .result;
    const { token } = this.#args;
    return {
      server: token === undefined ? generate("token") : pulumi.secret(token),
      agent: generate("agent-token"),
    };
  }

  /** One report of what is wrong with any host. It runs again when hosts or checks change, or when it failed. */
  #preflight(): pulumi.Resource {
    const plan = toPreflightPlan(this.#args.config, this.#connections, script("preflight.sh"));
    const complete = [...this.#connections.hosts.values()].every((connection) => connection.complete);
    return new command.local.Command(
      `${this.#name}-preflight`,
      { create: preflightProgram, stdin: JSON.stringify(plan, undefined, 1), addPreviousOutputInEnv: false },
      { parent: this, ...(complete ? {} : { ignoreChanges: ["stdin"] }) },
    );
  }

  /**
   * Installs a host. A server gets every later change here too; an agent only fetches the executable, and #switch
   * makes the change when its turn has come.
   */
  #install(
    role: Role,
    host: HostConfig,
    tokens: Tokens,
    dependsOn: pulumi.Resource[],
  ): command.remote.Command {
    const connection = this.#connection(host);
    const dataDir = toDataDir(this.#args.config, host);
    return new command.remote.Command(
      `${this.#name}-${host.name}`,
      {
        ...this.#installArgs(role, role === "server" ? "apply" : "prepare", host, tokens),
        delete: rootCommand(connection.user, toUninstall(role, dataDir)),
        // Another address or data directory is another installation: the old one is removed first.
        triggers: [host.address, dataDir],
      },
      this.#options(connection, { dependsOn, deleteBeforeReplace: true }),
    );
  }

  /** Changes an agent when the agents before it are done; nothing is left to do after its installation. */
  #switch(host: HostConfig, tokens: Tokens, dependsOn: pulumi.Resource[]): pulumi.Resource {
    return new command.remote.Command(
      `${this.#name}-${host.name}-switch`,
      this.#installArgs("agent", "apply", host, tokens),
      this.#options(this.#connection(host), { dependsOn }),
    );
  }

  #installArgs(
    role: Role,
    mode: "apply" | "prepare",
    host: HostConfig,
    tokens: Tokens,
  ): command.remote.CommandArgs {
    const { config, storageClass, registryPasswords } = this.#args;
    const connection = this.#connection(host);
    const isServer = role === "server";
    const create = scriptCommand(connection.user, {
      MODE: mode,
      ROLE: role,
      NODE_NAME: host.name,
      DATA_DIR: toDataDir(config, host),
      BINARY_URL: config.binary.url,
      BINARY_SHA256: this.#sha256,
      CONFIG: toYaml(toK3sConfig(config, role, host)),
      ...(registryPasswords === undefined ? { REGISTRIES: toRegistries(config) } : {}),
      UNIT: toUnit(role),
      WAIT_SECONDS: String(config.readyTimeoutSeconds),
      WAIT_KUBELET: hasDefaultHealthPort(config, host) ? "1" : "0",
      // Without K3s's own network the nodes become Ready only when the component that brings one has run.
      WAIT_NODE: config.flannelBackend === "none" ? "0" : "1",
      WAIT_STORAGE_CLASS: isServer ? (storageClass ?? "") : "",
      SNAPSHOT: host === this.#first ? "1" : "0",
    });
    const stdin = pulumi
      .all([tokens.server, tokens.agent, registryPasswords])
      .apply(([server, agent, passwords]) =>
        scriptInput(
          {
            TOKEN: isServer ? server : agent,
            AGENT_TOKEN: isServer ? agent : "",
            ...(passwords === undefined ? {} : { REGISTRIES: toRegistries(config, passwords) }),
            UNINSTALL: script("k3s-uninstall.sh"),
          },
          script("k3s-install.sh"),
        ),
      );
    return { connection: connection.args, create, stdin, addPreviousOutputInEnv: false };
  }

  /** Moves an agent's pods away before it is upgraded; changes without a new executable keep them. */
  #drain(host: HostConfig, dependsOn: pulumi.Resource[], server: pulumi.Resource): pulumi.Resource {
    return this.#onServer(
      `${host.name}-drain`,
      "k3s-drain.sh",
      {
        NODE_NAME: host.name,
        DRAIN_SECONDS: String(this.#args.config.drainTimeoutSeconds),
        BINARY_SHA256: this.#sha256,
      },
      { dependsOn, deletedWith: server },
    );
  }

  /** Waits until a node is Ready and has its labels and taints; when a host goes, its node goes first. */
  #ready(
    role: Role,
    host: HostConfig,
    install: command.remote.Command,
    dependsOn: pulumi.Resource[],
    server: pulumi.Resource,
  ): pulumi.Resource {
    const { config } = this.#args;
    return this.#onServer(
      `${host.name}-ready`,
      "k3s-node.sh",
      {
        NODE_NAME: host.name,
        WAIT_SECONDS: String(config.readyTimeoutSeconds),
        WAIT_READY: config.flannelBackend === "none" ? "0" : "1",
        LABELS: Object.entries(host.labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(" "),
        TAINTS: host.taints.join(" "),
        // Waits again when the host was configured anew.
        HOST_CONFIG: shortHash(toYaml(toK3sConfig(config, role, host)) + this.#sha256),
      },
      { dependsOn, deletedWith: server },
      { triggers: [install.id], ...(host === this.#first ? {} : { delete: toLeave(host.name) }) },
    );
  }

  /** A script that runs on the first server, where the cluster can be administered. */
  #onServer(
    suffix: string,
    file: string,
    parameters: Readonly<Record<string, string>>,
    options: pulumi.CustomResourceOptions,
    more: { readonly triggers?: pulumi.Input<string>[]; readonly delete?: string } = {},
  ): pulumi.Resource {
    const connection = this.#connection(this.#first);
    return new command.remote.Command(
      `${this.#name}-${suffix}`,
      {
        connection: connection.args,
        create: scriptCommand(connection.user, parameters),
        stdin: script(file),
        addPreviousOutputInEnv: false,
        ...more,
        ...(more.delete === undefined ? {} : { delete: rootCommand(connection.user, more.delete) }),
      },
      this.#options(connection, options),
    );
  }

  #readKubeconfig(install: command.remote.Command): pulumi.Output<string> {
    const connection = this.#connection(this.#first);
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
    const connection = this.#connections.hosts.get(host.name);
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

function toNode(host: HostConfig, role: Role): K3sNode {
  return { name: host.name, address: host.address, role, accelerators: host.accelerators };
}

function hasDefaultHealthPort(config: K3sConfig, host: HostConfig): boolean {
  return ![...config.kubeletArgs, ...host.kubeletArgs].some((argument) => argument.startsWith("healthz-"));
}

function script(file: string): string {
  return fs.readFileSync(path.join(import.meta.dirname, "scripts", file), "utf8");
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
