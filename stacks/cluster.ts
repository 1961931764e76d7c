// The cluster stack: hosts -> K3s -> parts inside the cluster. Composition only.

import * as fs from "node:fs";
import * as path from "node:path";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { type ClusterConfig, clusterConfigSchema, toAccelerators } from "../components/cluster/config.ts";
import { resolveImages } from "../components/cluster/images.ts";
import { K3s } from "../components/cluster/k3s.ts";
import { k3sStorageClass } from "../components/cluster/k3s-config.ts";
import { KubeRay } from "../components/cluster/kuberay.ts";
import type { PartMode } from "../components/cluster/part.ts";
import { Prometheus, prometheusUrl } from "../components/cluster/prometheus.ts";
import { resolvePath, type SshContext } from "../components/cluster/ssh.ts";
import { didYouMean, parseConfig, parseConfigFile } from "../components/config-problems.ts";
import { UserError } from "../components/errors.ts";
import { images as defaultImages } from "../components/versions.ts";

/** Every `llmeval:` key of a cluster's stack, with what it is for. */
const stackKeys: Readonly<Record<string, string>> = {
  kind: "cluster",
  cluster: "name of a file in configs/clusters/",
  kubeconfig: "path of a kubeconfig, to use an existing cluster instead of installing K3s",
};

/** Whether a part is in the cluster, and which version of it. */
export interface Capability {
  readonly mode: PartMode;
  readonly version?: string;
  /** Why it is off, or where it comes from. */
  readonly reason?: string;
}

export interface ClusterOutputs {
  readonly kubeconfig: pulumi.Output<string>;
  readonly endpoints: { readonly apiServer: pulumi.Input<string>; readonly prometheus?: string };
  readonly capabilities: Readonly<Record<string, Capability>>;
  readonly storageClass: string;
  readonly images: Readonly<Record<string, string>>;
  readonly accelerators: Readonly<Record<string, number>>;
}

const clustersDir = "configs/clusters";
const partOff = "switched off in the cluster's configuration";

/** Builds the stack and returns its outputs. Paths in the configuration are relative to the project's folder. */
export function clusterStack(projectDir = path.resolve(import.meta.dirname, "..")): ClusterOutputs {
  checkStackKeys();
  const stackConfig = new pulumi.Config("llmeval");
  const context: SshContext = {
    projectDir,
    preview: pulumi.runtime.isDryRun(),
    warn: (message) => void pulumi.log.warn(message),
  };
  const kubeconfigFile = stackConfig.get("kubeconfig");
  const { name, file, config } = readClusterConfig(
    stackConfig.get("cluster"),
    kubeconfigFile !== undefined,
    projectDir,
  );
  const images = resolveImages({
    ...(config.imagesFile === undefined
      ? {}
      : { absolutePath: resolvePath(config.imagesFile, projectDir), file: config.imagesFile }),
    preview: context.preview,
    warn: context.warn,
  });
  const hasStorage = config.k3s === undefined || !config.k3s.disable.includes("local-storage");

  const cluster =
    kubeconfigFile === undefined
      ? installCluster(name, file, config, hasStorage, context)
      : existingCluster(kubeconfigFile, context);
  const provider = new k8s.Provider("cluster", {
    kubeconfig: cluster.kubeconfig,
    // Without it a kubeconfig that is unknown for one preview would replace everything in the cluster.
    clusterIdentifier: `llmeval-${pulumi.getStack()}`,
    kubeClientSettings: { timeout: 20 },
  });
  const part = { deletedWith: cluster.server };
  const options = { provider };
  if (config.prometheus.mode === "on") {
    new Prometheus(
      "prometheus",
      { ...part, config: config.prometheus, images, storageClass: config.storage.className },
      options,
    );
  }
  if (config.kuberay.mode === "on") {
    new KubeRay("kuberay", { ...part, config: config.kuberay, image: images.kuberayOperator }, options);
  }
  return {
    kubeconfig: pulumi.secret(cluster.kubeconfig),
    endpoints: {
      apiServer: cluster.apiServer,
      ...(config.prometheus.mode === "on" ? { prometheus: prometheusUrl } : {}),
    },
    capabilities: {
      k3s: cluster.capability,
      kuberay:
        config.kuberay.mode === "on"
          ? { mode: "on", version: config.kuberay.version }
          : { mode: "off", reason: partOff },
      prometheus:
        config.prometheus.mode === "on"
          ? { mode: "on", version: versionOf(images.prometheus) }
          : { mode: "off", reason: partOff },
      storage: hasStorage
        ? { mode: "on", version: config.storage.className }
        : { mode: "off", reason: "k3s.disable holds local-storage" },
    },
    storageClass: config.storage.className,
    images,
    accelerators: toAccelerators(config),
  };
}

interface Cluster {
  readonly kubeconfig: pulumi.Output<string>;
  readonly apiServer: pulumi.Input<string>;
  readonly capability: Capability;
  readonly server?: pulumi.Resource;
}

function installCluster(
  name: string,
  file: string,
  config: ClusterConfig,
  hasStorage: boolean,
  context: SshContext,
): Cluster {
  if (config.k3s === undefined) {
    throw new UserError(
      `${file}: k3s is missing; describe the hosts there, or set llmeval:kubeconfig to use an existing cluster`,
    );
  }
  const k3s = new K3s("k3s", {
    clusterName: name,
    config: config.k3s,
    // A class of another name comes from elsewhere, and later.
    ...(hasStorage && config.storage.className === k3sStorageClass ? { storageClass: k3sStorageClass } : {}),
    context,
  });
  return {
    kubeconfig: k3s.kubeconfig,
    apiServer: k3s.apiServer,
    capability: { mode: "on", version: config.k3s.version },
    server: k3s.server,
  };
}

function existingCluster(kubeconfigFile: string, context: SshContext): Cluster {
  const capability: Capability = { mode: "off", reason: "existing cluster, named by llmeval:kubeconfig" };
  try {
    const text = fs.readFileSync(resolvePath(kubeconfigFile, context.projectDir), "utf8");
    return {
      kubeconfig: pulumi.secret(text),
      apiServer: /^\s*server:\s*(\S+)/m.exec(text)?.[1] ?? "unknown",
      capability,
    };
  } catch {
    const message = `llmeval:kubeconfig ${kubeconfigFile} cannot be read`;
    if (!context.preview) {
      throw new UserError(`${message}; give the path of a kubeconfig, or unset it to install K3s on hosts`);
    }
    context.warn(`${message}; fine for a preview, \`pulumi up\` needs it`);
    // Unknown, as before the first install; an empty one would stand for whatever cluster kubectl points at.
    const unknown = pulumi.output(pulumi.unknown as unknown as string);
    return { kubeconfig: unknown, apiServer: unknown, capability };
  }
}

function checkStackKeys(): void {
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
function readClusterConfig(
  cluster: string | undefined,
  existing: boolean,
  projectDir: string,
): { name: string; file: string; config: ClusterConfig } {
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
    return { name: pulumi.getStack(), file, config: parseConfig(clusterConfigSchema, {}, { file }) };
  }
  if (!known.includes(cluster)) {
    throw new UserError(
      `Pulumi.${pulumi.getStack()}.yaml: llmeval:cluster is "${cluster}", but there is no ${clustersDir}/${cluster}.yaml; ` +
        `${didYouMean(cluster, known)}available: ${known.join(", ")}`,
    );
  }
  const file = `${clustersDir}/${cluster}.yaml`;
  return {
    name: cluster,
    file,
    config: parseConfigFile(clusterConfigSchema, path.join(projectDir, file), file),
  };
}

/** A tag is the version; a reference by digest has none, so the default's tag stands for what it was built from. */
function versionOf(reference: string): string {
  const tag = /:([^:/@]+)$/.exec(reference.replace(/@sha256:.*$/, ""))?.[1];
  return tag ?? /:([^:/@]+)$/.exec(defaultImages.prometheus)?.[1] ?? "unknown";
}
