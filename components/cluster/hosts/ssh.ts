// SSH connections to hosts: private key from a file, the host's key always pinned.

import { createHmac } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import type * as command from "@pulumi/command";
import { UserError } from "../../errors.ts";
import type { HostConfig, K3sConfig } from "./k3s-config.ts";

/** How files are found and how missing ones are treated. */
export interface SshContext {
  /** Folder that relative paths start from. */
  readonly projectDir: string;
  /** In a preview missing files only warn, so that a fresh clone can preview without keys. */
  readonly preview: boolean;
  readonly warn: (message: string) => void;
}

/** Where an SSH server is, who logs in, and the key that it must show. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Missing only in previews. */
  readonly hostKey?: string;
}

/** A host's connection; `complete` is false in previews that lack a key or a pinned host key. */
export interface HostConnection {
  readonly args: command.types.input.remote.ConnectionArgs;
  readonly user: string;
  readonly complete: boolean;
}

/** All connections of a cluster, by the host's name, and what they go through. */
export interface Connections {
  readonly hosts: ReadonlyMap<string, HostConnection>;
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly jump?: Endpoint;
}

// The provider tries again by itself; the preflight has told before whether a host can be reached at all.
const dialling = { dialErrorLimit: 10, perDialTimeout: 15 };

/** Connections of all hosts by name. All missing files and host keys are reported at once. */
export function connectHosts(
  ssh: K3sConfig["ssh"],
  hosts: readonly HostConfig[],
  context: SshContext,
): Connections {
  const problems: string[] = [];
  const names = hosts.map((host) => `${host.name} (${host.address})`).join(", ");
  const privateKey = readOptional(ssh.keyFile, context.projectDir);
  if (privateKey === undefined) {
    problems.push(`ssh.keyFile ${ssh.keyFile} cannot be read; it holds the private key for ${names}`);
  }
  const { jumpHost } = ssh;
  const jumpKey =
    jumpHost?.keyFile === undefined ? privateKey : readOptional(jumpHost.keyFile, context.projectDir);
  if (jumpKey === undefined && jumpHost?.keyFile !== undefined) {
    problems.push(
      `ssh.jumpHost.keyFile ${jumpHost.keyFile} cannot be read; it holds the private key for ${jumpHost.address}`,
    );
  }
  const unpinned = [
    ...hosts.filter((host) => host.hostKey === undefined).map((host) => `${host.name} (${host.address})`),
    ...(jumpHost !== undefined && jumpHost.hostKey === undefined
      ? [`the jump host (${jumpHost.address})`]
      : []),
  ];
  const knownHosts =
    ssh.knownHostsFile === undefined ? "" : readOptional(ssh.knownHostsFile, context.projectDir);
  if (knownHosts === undefined && unpinned.length > 0) {
    problems.push(
      `ssh.knownHostsFile ${ssh.knownHostsFile} cannot be read; it pins the host keys of ${unpinned.join(", ")}`,
    );
  }
  const pin = (
    what: string,
    address: string,
    port: number,
    given: string | undefined,
  ): string | undefined => {
    const hostKey = given ?? findHostKey(knownHosts ?? "", address, port);
    if (hostKey === undefined && knownHosts !== undefined) {
      problems.push(
        `ssh.knownHostsFile ${ssh.knownHostsFile} has no key of ${what} (${address}, port ${port}); ` +
          "compare the fingerprint, then add the line of ssh-keyscan",
      );
    }
    return hostKey;
  };
  const jump = jumpHost && {
    host: jumpHost.address,
    port: jumpHost.port,
    user: jumpHost.user ?? ssh.user,
    hostKey: pin("the jump host", jumpHost.address, jumpHost.port, jumpHost.hostKey),
  };
  const proxy = jump && { ...jump, privateKey: jumpKey, ...dialling };
  const connections = new Map<string, HostConnection>();
  const endpoints = new Map<string, Endpoint>();
  for (const host of hosts) {
    const port = host.port ?? ssh.port;
    const endpoint: Endpoint = {
      host: host.address,
      port,
      user: host.user ?? ssh.user,
      hostKey: pin(host.name, host.address, port, host.hostKey),
    };
    const keys = [privateKey, endpoint.hostKey, ...(jump === undefined ? [] : [jumpKey, jump.hostKey])];
    connections.set(host.name, {
      args: { ...endpoint, privateKey, ...dialling, ...(proxy === undefined ? {} : { proxy }) },
      user: endpoint.user,
      complete: keys.every((key) => key !== undefined),
    });
    endpoints.set(host.name, endpoint);
  }
  if (problems.length > 0) {
    const text = problems.map((problem) => `  - ${problem}`).join("\n");
    if (!context.preview) {
      throw new UserError(`SSH is not set up\n${text}`);
    }
    context.warn(`SSH is not set up; fine for a preview, \`pulumi up\` needs it\n${text}`);
  }
  return { hosts: connections, endpoints, ...(jump === undefined ? {} : { jump }) };
}

/** Absolute path of a path in the configuration. */
export function resolvePath(file: string, projectDir: string): string {
  return file.startsWith("~/") ? path.join(os.homedir(), file.slice(2)) : path.resolve(projectDir, file);
}

function readOptional(file: string, projectDir: string): string | undefined {
  try {
    return fs.readFileSync(resolvePath(file, projectDir), "utf8");
  } catch {
    return undefined;
  }
}

// The SSH client takes one fixed key and negotiates these types in this order, so the first one present is the one
// that a server with several keys shows.
const keyTypes = [
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "ssh-rsa",
  "ssh-ed25519",
];

/** The `<type> <base64>` of a host in the text of an OpenSSH known_hosts file. */
export function findHostKey(knownHosts: string, address: string, port: number): string | undefined {
  const wanted = port === 22 ? address : `[${address}]:${port}`;
  const keys = knownHosts
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    // Markers (@revoked, @cert-authority) shift the fields, so their lines fall out here.
    .filter(
      ([names, type, key]) =>
        key !== undefined && keyTypes.includes(type ?? "") && matches(names ?? "", wanted),
    )
    .map(([, type, key]) => ({ type: type ?? "", key: key ?? "" }))
    .sort((left, right) => keyTypes.indexOf(left.type) - keyTypes.indexOf(right.type));
  return keys[0] === undefined ? undefined : `${keys[0].type} ${keys[0].key}`;
}

function matches(names: string, wanted: string): boolean {
  if (names.startsWith("|1|")) {
    const [, , salt = "", hash = ""] = names.split("|");
    return createHmac("sha1", Buffer.from(salt, "base64")).update(wanted).digest("base64") === hash;
  }
  return names.split(",").includes(wanted);
}
