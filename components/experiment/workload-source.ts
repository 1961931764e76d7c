// The TypeScript sources of the programs that run in the cluster, as one ConfigMap per program; Node runs them as they are.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import * as k8s from "../kubernetes.ts";
import { contentHash, labelsOf, physicalName } from "../naming.ts";
import { appPath, type WorkloadPodArgs } from "./conventions.ts";

export type Workload = "gate" | "collector" | "conductor" | "reader";

export interface WorkloadSourceArgs {
  readonly namespace: string;
  readonly experiment: string;
  /** Folder that holds the programs, normally workloads/ of the project. */
  readonly workloadsDir: string;
  /** Programs that the run has no part for. @default none */
  readonly without?: readonly Workload[];
}

/** A program's files: path below /app to text. */
export type Sources = Readonly<Record<string, string>>;

const workloads: readonly Workload[] = ["gate", "collector", "conductor", "reader"];

/** The program's own files and the shared ones. */
export function readSources(workloadsDir: string, workload: Workload): Sources {
  const sources: Record<string, string> = { "package.json": '{ "type": "module" }\n' };
  for (const folder of [workload, "shared"]) {
    for (const file of readdirSync(join(workloadsDir, folder)).sort()) {
      if (file.endsWith(".ts"))
        sources[`${folder}/${file}`] = readFileSync(join(workloadsDir, folder, file), "utf8");
    }
  }
  return sources;
}

/** A ConfigMap's keys hold no slash; the volume puts each file back where it belongs. */
function keyOf(path: string): string {
  return path.replaceAll("/", "__");
}

/** Another content is another ConfigMap, so that a running program keeps the files that it started with. */
export function sourceName(workload: Workload, sources: Sources): string {
  return physicalName(["source", workload, contentHash(JSON.stringify(sources))]);
}

/** Mounts a program at /app; it is run by `node /app/<workload>/main.ts`. */
export function sourceVolume(workload: Workload, sources: Sources): WorkloadPodArgs["volumes"][number] {
  return {
    volume: {
      name: "app",
      configMap: {
        name: sourceName(workload, sources),
        items: Object.keys(sources).map((path) => ({ key: keyOf(path), path })),
      },
    },
    mount: { mountPath: appPath, readOnly: true },
  };
}

export class WorkloadSources extends pulumi.ComponentResource {
  readonly sources: Readonly<Record<Workload, Sources>>;

  constructor(name: string, args: WorkloadSourceArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:WorkloadSources", name, {}, opts);
    const sources = Object.fromEntries(
      workloads.map((workload) => [workload, readSources(args.workloadsDir, workload)]),
    ) as Record<Workload, Sources>;
    for (const workload of workloads.filter((name) => args.without?.includes(name) !== true)) {
      new k8s.core.v1.ConfigMap(
        `${name}-${workload}`,
        {
          metadata: {
            name: sourceName(workload, sources[workload]),
            namespace: args.namespace,
            labels: labelsOf({ name: `source-${workload}`, experiment: args.experiment }),
          },
          immutable: true,
          data: Object.fromEntries(
            Object.entries(sources[workload]).map(([path, text]) => [keyOf(path), text]),
          ),
        },
        { parent: this, deletedWith: opts.deletedWith },
      );
    }
    this.sources = sources;
    this.registerOutputs({});
  }
}
