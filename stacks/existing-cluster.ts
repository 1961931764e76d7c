// A cluster that is there already: through its kubeconfig alone, or as the stack that made it describes it.

import * as fs from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import * as z from "zod";
import type { Capability } from "../components/cluster/capabilities.ts";
import { resolvePath, type SshContext } from "../components/cluster/hosts/ssh.ts";
import type { Subject } from "../components/cluster/rbac-rules.ts";
import { parseConfigFile } from "../components/config-problems.ts";
import { UserError } from "../components/errors.ts";
import type { Images } from "../components/versions.ts";
import type { ClusterOutputs } from "./cluster-outputs.ts";

interface ExistingCluster {
  readonly kubeconfig: pulumi.Output<string>;
  readonly apiServer: pulumi.Input<string>;
}

/** A preview goes on without the kubeconfig; `up` throws a UserError. */
export function existingCluster(kubeconfigFile: string, context: SshContext): ExistingCluster {
  try {
    const text = fs.readFileSync(resolvePath(kubeconfigFile, context.projectDir), "utf8");
    return {
      kubeconfig: pulumi.secret(text),
      apiServer: /\bserver["']?:\s*["']?([^\s"',}]+)/.exec(text)?.[1] ?? "unknown",
    };
  } catch {
    const message = `llmeval:kubeconfig ${kubeconfigFile} cannot be read`;
    if (!context.preview) {
      throw new UserError(`${message}; give the path of a kubeconfig, or unset it to install K3s on hosts`);
    }
    context.warn(`${message}; fine for a preview, \`pulumi up\` needs it`);
    // Unknown, as before the first install; an empty one would stand for whatever cluster kubectl points at.
    const unknown = pulumi.output(pulumi.unknown as unknown as string);
    return { kubeconfig: unknown, apiServer: unknown };
  }
}

/** What `pulumi stack output --json` prints of a cluster's stack; secrets are not in it. */
const describedSchema = z.object({
  endpoints: z.record(z.string(), z.string()),
  capabilities: z.record(
    z.string(),
    z.object({
      mode: z.enum(["on", "off", "external"]),
      version: z.string().optional(),
      reason: z.string().optional(),
    }),
  ),
  storageClass: z.string(),
  images: z.record(z.string(), z.string()),
  accelerators: z.record(z.string(), z.number()),
  operators: z.array(z.looseObject({ kind: z.string(), name: z.string() })).optional(),
});

/**
 * The outputs of the stack that made a cluster, from a file, with another kubeconfig: for those who may use the cluster
 * and shall not have its administrator's. Makes nothing. Throws a UserError where the file is not such outputs.
 */
export function describedCluster(
  outputsFile: string,
  stackConfig: pulumi.Config,
  context: SshContext,
): ClusterOutputs {
  const kubeconfigFile = stackConfig.get("kubeconfig");
  if (kubeconfigFile === undefined) {
    throw new UserError(
      "llmeval:outputs needs llmeval:kubeconfig, your own way into that cluster; set it by: pulumi config set llmeval:kubeconfig FILE",
    );
  }
  if (stackConfig.get("cluster") !== undefined) {
    throw new UserError(
      "llmeval:outputs describes the cluster already; remove the other description by: pulumi config rm llmeval:cluster",
    );
  }
  const described = parseConfigFile(
    describedSchema,
    resolvePath(outputsFile, context.projectDir),
    outputsFile,
  );
  const { kubeconfig, apiServer } = existingCluster(kubeconfigFile, context);
  return {
    kubeconfig,
    endpoints: { ...described.endpoints, apiServer },
    capabilities: described.capabilities as Record<string, Capability>,
    storageClass: described.storageClass,
    images: described.images as unknown as Images,
    accelerators: described.accelerators,
    ...(described.operators === undefined
      ? {}
      : { operators: described.operators as unknown as readonly Subject[] }),
    passwords: {},
  };
}
