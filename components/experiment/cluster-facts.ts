// What an experiment needs to know of its cluster, as the cluster's stack states it in its outputs.

import { createHash } from "node:crypto";
import { get } from "node:https";
import { parse } from "yaml";
import { isGpuFault, targetsEntry } from "../../experiments/faults.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import type { Subject } from "../cluster/rbac-rules.ts";
import { UserError } from "../errors.ts";
import { images as defaultImages, type Images } from "../versions.ts";
import type { StandIn } from "./run-config.ts";

/** A part of the cluster: installed by its stack, off, or there already. */
interface Capability {
  readonly mode: "on" | "off" | "external";
  readonly version?: string;
  readonly reason?: string;
}

export interface ClusterFacts {
  readonly kubeconfig: string;
  readonly prometheusUrl: string;
  readonly capabilities: Readonly<Record<string, Capability>>;
  /** Addresses inside the cluster of the parts that have one. */
  readonly endpoints: Readonly<Record<string, string>>;
  readonly images: Images;
  /** Storage class of the cluster's own storage, or undefined where its default does. */
  readonly storageClass?: string;
  /** Accelerators by type, or undefined where nobody knows. */
  readonly accelerators?: Readonly<Record<string, number>>;
  /** Who may run experiments, or undefined where the cluster has no roles for people. */
  readonly operators?: readonly Subject[];
}

/** Address of Prometheus where the cluster's stack does not tell. */
export const defaultPrometheusUrl = "http://prometheus.monitoring.svc:9090";

/** The parts of a cluster that an experiment cannot do without. */
export function neededParts({
  engine,
  parallelism,
  serve,
  faults,
}: Pick<ResolvedExperiment, "engine" | "parallelism" | "serve" | "faults">): string[] {
  const onNvidia = engine === "vllm" && parallelism.acceleratorResource.startsWith("nvidia.com/");
  const withChaos = faults.some((fault) => !isGpuFault(fault));
  return [
    ...(engine === "existing" ? [] : ["kuberay"]),
    "prometheus",
    "storage",
    ...(onNvidia ? ["gpuOperator"] : []),
    ...(withChaos ? ["chaosMesh"] : []),
    ...(serve.via === "entry" || targetsEntry(faults) ? ["entry"] : []),
  ];
}

const answerSeconds = 5;

/** The facts in a cluster stack's outputs, or undefined where the stack has no kubeconfig (not deployed, or destroyed). */
export function toClusterFacts(outputs: Readonly<Record<string, unknown>>): ClusterFacts | undefined {
  const { kubeconfig } = outputs;
  if (typeof kubeconfig !== "string" || kubeconfig === "") return undefined;
  const endpoints = (outputs["endpoints"] ?? {}) as Readonly<Record<string, string>>;
  const accelerators = outputs["accelerators"] as Readonly<Record<string, number>> | undefined;
  const storageClass = outputs["storageClass"];
  const operators = outputs["operators"] as readonly Subject[] | undefined;
  return {
    kubeconfig,
    prometheusUrl: endpoints["prometheus"] ?? defaultPrometheusUrl,
    endpoints,
    capabilities: (outputs["capabilities"] ?? {}) as Readonly<Record<string, Capability>>,
    images: { ...defaultImages, ...(outputs["images"] as Partial<Images> | undefined) },
    ...(typeof storageClass === "string" ? { storageClass } : {}),
    ...(accelerators === undefined ? {} : { accelerators }),
    ...(operators === undefined ? {} : { operators }),
  };
}

/** Throws one UserError that names every needed part that the cluster lacks. */
export function checkCapabilities(cluster: string, facts: ClusterFacts, needed: readonly string[]): void {
  const off = needed.filter((part) => {
    const mode = facts.capabilities[part]?.mode ?? "off";
    // Where another entry is, and whether it asks for a password, is not known.
    return mode === "off" || (part === "entry" && mode === "external");
  });
  if (off.length === 0) return;
  const lines = off.map((part) => {
    const { mode, reason = "the stack does not state it as on" } = facts.capabilities[part] ?? {};
    return `  - ${part}: ${reason}${mode === "external" ? "; it must be on" : ""}`;
  });
  throw new UserError(
    `cluster ${cluster} lacks what this experiment needs:\n${lines.join("\n")}\n` +
      "set the part's mode in the cluster's configuration to on, or to external where the cluster has it already, " +
      `then: pulumi up -s ${cluster}`,
  );
}

/** Throws a UserError unless the API server answers within 5 s; nothing has been created by then. */
export async function checkApiServer(cluster: string, kubeconfig: string): Promise<void> {
  // Heavy, and needed in `up` only: a preview must not pay for it.
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromString(kubeconfig);
  const server = config.getCurrentCluster()?.server ?? "(none in the kubeconfig)";
  try {
    const url = new URL("/version", server);
    const options = { timeout: answerSeconds * 1000, signal: AbortSignal.timeout(answerSeconds * 1000) };
    await config.applyToHTTPSOptions(options);
    const status = await new Promise<number>((resolve, reject) => {
      get(url, options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      }).on("error", reject);
    });
    if (status !== 200) throw new Error(`HTTP status ${status}`);
  } catch (error) {
    const reason =
      (error as Error).name === "AbortError" || (error as Error).name === "TimeoutError"
        ? `no answer within ${answerSeconds} s`
        : (error as Error).message;
    throw new UserError(
      `the API server ${server} of cluster ${cluster} cannot be used: ${reason}; nothing was created. ` +
        `Start the cluster, or bring its stack up to date: pulumi up -s ${cluster}`,
    );
  }
}

/**
 * Identity of the cluster behind a kubeconfig: its certificate authority. Renewed client certificates leave it as it
 * is; a cluster that was built anew is another one, even at the same address.
 */
export function clusterIdentifier(cluster: string, kubeconfig: string): string {
  const parsed = parse(kubeconfig) as {
    readonly "current-context"?: string;
    readonly contexts?: readonly { readonly name: string; readonly context: { readonly cluster: string } }[];
    readonly clusters?: readonly {
      readonly name: string;
      readonly cluster: { readonly server?: string; readonly "certificate-authority-data"?: string };
    }[];
  };
  const context = parsed.contexts?.find(({ name }) => name === parsed["current-context"]);
  const entry =
    parsed.clusters?.find(({ name }) => name === context?.context.cluster) ?? parsed.clusters?.[0];
  const identity = entry?.cluster["certificate-authority-data"] ?? entry?.cluster.server;
  if (identity === undefined) return cluster;
  return `${cluster}-${createHash("sha256").update(identity).digest("hex").slice(0, 12)}`;
}

/** Parts of the cluster whose version says that they stand in for the real one. */
export function standInsOf(capabilities: ClusterFacts["capabilities"]): StandIn[] {
  return Object.entries(capabilities).flatMap(([part, { mode, version }]) =>
    mode !== "off" && version !== undefined && /stand-?in/i.test(version)
      ? [{ part, name: part, version }]
      : [],
  );
}
