// SSH connections to hosts: private key from a file, the host's key always pinned.

import { createHmac } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import type * as command from "@pulumi/command";
import { UserError } from "../errors.ts";
import type { HostConfig, K3sConfig } from "./k3s-config.ts";

/** How files are found and how missing ones are treated. */
export interface SshContext {
  /** Folder that relative paths start from. */
  readonly projectDir: string;
  /** In a preview missing files only warn, so that a fresh clone can preview without keys. */
  readonly preview: boolean;
  readonly warn: (message: string) => void;
}

/** A host's connection; `complete` is false in previews that lack a key or a pinned host key. */
export interface HostConnection {
  readonly args: command.types.input.remote.ConnectionArgs;
  readonly user: string;
  readonly complete: boolean;
}

/** Connections of all hosts by name. All missing files and host keys are reported at once. */
export function connectHosts(
  ssh: K3sConfig["ssh"],
  hosts: readonly HostConfig[],
  context: SshContext,
): Map<string, HostConnection> {
  const problems: string[] = [];
  const names = hosts.map((host) => `${host.name} (${host.address})`).join(", ");
  const privateKey = readOptional(ssh.keyFile, context.projectDir);
  if (privateKey === undefined) {
    problems.push(`ssh.keyFile ${ssh.keyFile} cannot be read; it holds the private key for ${names}`);
  }
  const unpinned = hosts.filter((host) => host.hostKey === undefined);
  const knownHosts =
    ssh.knownHostsFile === undefined ? "" : readOptional(ssh.knownHostsFile, context.projectDir);
  if (knownHosts === undefined && unpinned.length > 0) {
    problems.push(
      `ssh.knownHostsFile ${ssh.knownHostsFile} cannot be read; it pins the host keys of ` +
        unpinned.map((host) => `${host.name} (${host.address})`).join(", "),
    );
  }
  const connections = new Map<string, HostConnection>();
  for (const host of hosts) {
    const user = host.user ?? ssh.user;
    const port = host.port ?? ssh.port;
    const hostKey = host.hostKey ?? findHostKey(knownHosts ?? "", host.address, port);
    if (hostKey === undefined && knownHosts !== undefined) {
      problems.push(
        `ssh.knownHostsFile ${ssh.knownHostsFile} has no key of ${host.name} (${host.address}, port ${port}); ` +
          "compare the fingerprint, then add the line of ssh-keyscan",
      );
    }
    connections.set(host.name, {
      args: { host: host.address, port, user, privateKey, hostKey, dialErrorLimit: 10, perDialTimeout: 15 },
      user,
      complete: privateKey !== undefined && hostKey !== undefined,
    });
  }
  if (problems.length > 0) {
    const text = problems.map((problem) => `  - ${problem}`).join("\n");
    if (!context.preview) {
      throw new UserError(`SSH is not set up\n${text}`);
    }
    context.warn(`SSH is not set up; fine for a preview, \`pulumi up\` needs it\n${text}`);
  }
  return connections;
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
