// What a cluster's stack is told: its `llmeval:` keys, and the file in configs/clusters/ that one of them names.

import * as fs from "node:fs";
import * as path from "node:path";
import * as pulumi from "@pulumi/pulumi";
import * as z from "zod";
import { type ClusterConfig, clusterConfigSchema, withoutHosts } from "../components/cluster/config.ts";
import { parseConfig, parseConfigFile } from "../components/config-problems.ts";
import { UserError } from "../components/errors.ts";
import { didYouMean } from "../components/spelling.ts";

/** Every `llmeval:` key of a cluster's stack, with what it is for. */
const stackKeys: Readonly<Record<string, string>> = {
  kind: "cluster",
  cluster: "name of a file in configs/clusters/",
  kubeconfig: "path of a kubeconfig, to use an existing cluster instead of installing K3s",
  outputs:
    "file of `pulumi stack output --json` of the stack that made the cluster, to use it through llmeval:kubeconfig and make nothing",
  protectData: "false before a destroy that shall delete data too; wins over the file's protectData",
  registryPasswords: "secret; the passwords of registries as JSON, host[:port] to password",
  k3sToken: "secret; the token with which servers join, where it is not to be generated",
  grafanaPassword: "secret; the password of Grafana's user admin, where it is not to be generated",
  entryPassword: "secret; the password of the entry's user, where it is not to be generated",
};

const clustersDir = "configs/clusters";

/** Throws one error with every `llmeval:` key of the stack that there is not. */
export function checkStackKeys(): void {
  const prefix = "llmeval:";
  const known = Object.keys(stackKeys);
  const lines = Object.keys(pulumi.runtime.allConfig())
    .filter((key) => key.startsWith(prefix))
    .map((key) => key.slice(prefix.length))
    .filter((key) => !known.includes(key))
    .sort()
    .map(
      (key) =>
        `  - ${prefix}${key}: unknown key; ${didYouMean(key, known)}remove it by: pulumi config rm ${prefix}${key}`,
    );
  if (lines.length > 0) {
    const allowed = Object.entries(stackKeys).map(([key, meaning]) => `  ${prefix}${key}: ${meaning}`);
    throw new UserError(
      `Pulumi.${pulumi.getStack()}.yaml: ${lines.length} problem${lines.length === 1 ? "" : "s"}\n${lines.join("\n")}\n` +
        `allowed:\n${allowed.join("\n")}`,
    );
  }
}

/** The configuration named by `llmeval:cluster`; with an existing cluster the defaults do when none is named. */
export function readClusterConfig(
  cluster: string | undefined,
  existing: boolean,
  projectDir: string,
): { name?: string; file: string; config: ClusterConfig } {
  const known = fs
    .readdirSync(path.join(projectDir, clustersDir))
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => file.slice(0, -".yaml".length))
    .sort();
  if (cluster === undefined) {
    if (!existing) {
      throw new UserError(
        `llmeval:cluster is not set in Pulumi.${pulumi.getStack()}.yaml; run \`pulumi config set llmeval:cluster <name>\` ` +
          `with one of ${known.join(", ")} (files in ${clustersDir}/)`,
      );
    }
    const file = "(defaults)";
    return { file, config: parseConfig(clusterConfigSchema, {}, { file }) };
  }
  if (!known.includes(cluster)) {
    throw new UserError(
      `Pulumi.${pulumi.getStack()}.yaml: llmeval:cluster is "${cluster}", but there is no ${clustersDir}/${cluster}.yaml; ` +
        `${didYouMean(cluster, known)}available: ${known.join(", ")}`,
    );
  }
  const file = `${clustersDir}/${cluster}.yaml`;
  const config = parseConfigFile(clusterConfigSchema, path.join(projectDir, file), file);
  return { name: cluster, file, config: existing ? withoutHosts(config, file) : config };
}

/**
 * The passwords of the registries that have a user in `k3s.registries.configs`; undefined where none has. Throws a
 * UserError where one is missing, or is for nobody.
 */
export function readRegistryPasswords(
  config: ClusterConfig,
  file: string,
): pulumi.Output<Readonly<Record<string, string>>> | undefined {
  const key = "llmeval:registryPasswords";
  const users = Object.entries(config.k3s?.registries?.configs ?? {})
    .filter(([, { username }]) => username !== undefined)
    .map(([host]) => host);
  const text = pulumi.runtime.allConfig()[key];
  const passwords = text === undefined ? {} : parsePasswords(key, text);
  const missing = users.filter((host) => passwords[host] === undefined);
  const unused = Object.keys(passwords).filter((host) => !users.includes(host));
  const lines = [
    ...missing.map((host) => `  - ${key}: no password for ${host}, which has a user in ${file}`),
    ...unused.map((host) => `  - ${key}: ${host} has no username in k3s.registries.configs of ${file}`),
  ];
  if (lines.length > 0) {
    const give = `give all of them by: pulumi config set --secret ${key} '{"HOST[:PORT]":"PASSWORD"}'`;
    throw new UserError(
      `Pulumi.${pulumi.getStack()}.yaml: passwords of registries\n${lines.join("\n")}\n${give}`,
    );
  }
  return users.length === 0 ? undefined : pulumi.secret(passwords);
}

/** No error here shows what was given. */
function parsePasswords(key: string, text: string): Readonly<Record<string, string>> {
  try {
    return z.record(z.string(), z.string().min(1)).parse(JSON.parse(text));
  } catch {
    throw new UserError(`${key} is not a JSON object of texts: {"HOST[:PORT]":"PASSWORD"}`);
  }
}
