// The results volume and its reader; and the commands that bring T0, the load's end and the results to the user's machine.

import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import type { Summary } from "../../workloads/collector/summary.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf } from "../naming.ts";
import { serviceAccounts } from "./access.ts";
import {
  appPath,
  ports,
  type ResourceArgs,
  type RunArgs,
  resultsClaim,
  resultsPath,
  resultsService,
  resultsVolume,
  workloadPodSpec,
} from "./conventions.ts";
import type { Placement } from "./placement.ts";
import { deadlinesOf } from "./timing.ts";
import { type Sources, sourceVolume } from "./workload-source.ts";

export interface ResultsVolumeArgs {
  readonly namespace: string;
  readonly experiment: string;
  readonly storage: ResolvedExperiment["storage"];
  readonly resources: ResourceArgs;
  readonly placement: Placement;
  /** Image with Node that runs TypeScript. */
  readonly image: string;
  readonly sources: Sources;
}

export interface FetchArgs extends RunArgs {
  readonly resolved: ResolvedExperiment;
  readonly kubeconfig: pulumi.Input<string>;
  /** What must exist before T0 can come. */
  readonly t0Needs: readonly pulumi.Resource[];
  /** What must exist before the results can come. @default - no results are fetched */
  readonly resultsNeed?: readonly pulumi.Resource[];
}

export function toClaimSpec(
  storage: ResolvedExperiment["storage"],
): k8s.types.input.core.v1.PersistentVolumeClaimSpec {
  return {
    accessModes: ["ReadWriteOnce"],
    resources: { requests: { storage: storage.size } },
    ...(storage.className === null ? {} : { storageClassName: storage.className }),
  };
}

export function toReaderSpec(args: ResultsVolumeArgs): k8s.types.input.apps.v1.DeploymentSpec {
  const labels = labelsOf({ name: "reader", experiment: args.experiment });
  const pod = workloadPodSpec({
    container: "reader",
    image: args.image,
    command: ["node", `${appPath}/reader/main.ts`],
    env: { ROOT: resultsPath, PORT: String(ports.reader) },
    resources: args.resources,
    placement: args.placement,
    serviceAccount: serviceAccounts.reader,
    usesApi: false,
    volumes: [sourceVolume("reader", args.sources), resultsVolume(true)],
    ports: [{ name: "http", containerPort: ports.reader }],
    restartPolicy: "Always",
    terminationGracePeriodSeconds: 5,
  });
  const [container] = pod.containers as k8s.types.input.core.v1.Container[];
  return {
    replicas: 1,
    // One volume, one reader: the old pod goes before the new one comes.
    strategy: { type: "Recreate" },
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: {
        ...pod,
        containers: [
          { ...container, readinessProbe: { httpGet: { path: "/healthz", port: "http" }, periodSeconds: 2 } },
        ] as k8s.types.input.core.v1.Container[],
      },
    },
  };
}

/** `node cli/llmeval.ts <wait> ...`; the kubeconfig comes by stdin, never on the command line. */
export function fetchCommand(
  wait: "t0" | "load" | "results",
  args: RunArgs,
  timeoutSeconds: number,
  /** Switches beside those that every wait has. */
  switches: readonly string[] = [],
): string {
  return [
    "node cli/llmeval.ts",
    wait,
    `--namespace ${args.namespace}`,
    `--experiment-id ${args.experimentId}`,
    `--timeout-seconds ${Math.ceil(timeoutSeconds)}`,
    ...switches,
    ...(args.debug === true ? ["--debug"] : []),
  ].join(" ");
}

export class ResultsVolume extends pulumi.ComponentResource {
  readonly claim: k8s.core.v1.PersistentVolumeClaim;
  readonly reader: k8s.apps.v1.Deployment;
  readonly service: k8s.core.v1.Service;

  constructor(name: string, args: ResultsVolumeArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:ResultsVolume", name, {}, opts);
    const { namespace, experiment } = args;
    const inNamespace = { parent: this, deletedWith: opts.deletedWith };
    const labels = labelsOf({ name: "reader", experiment });

    this.claim = new k8s.core.v1.PersistentVolumeClaim(
      `${name}-claim`,
      {
        metadata: {
          name: resultsClaim,
          namespace,
          labels,
          // Bound by its first pod: waiting for that here could wait for ever.
          annotations: { "pulumi.com/skipAwait": "true" },
        },
        spec: toClaimSpec(args.storage),
      },
      inNamespace,
    );
    this.reader = new k8s.apps.v1.Deployment(
      `${name}-reader`,
      { metadata: { name: resultsService, namespace, labels }, spec: toReaderSpec(args) },
      { ...inNamespace, dependsOn: this.claim },
    );
    this.service = new k8s.core.v1.Service(
      `${name}-reader`,
      {
        metadata: { name: resultsService, namespace, labels },
        spec: { selector: labels, ports: [{ name: "http", port: ports.reader, targetPort: "http" }] },
      },
      { ...inNamespace, dependsOn: this.reader },
    );
    this.registerOutputs({});
  }
}

export type FetchedSummary = Summary & { readonly table: string };

/** What the command that waits for the load's end prints. */
export interface PlayedLoad {
  readonly requests: {
    readonly scheduled: number;
    readonly sent: number;
    readonly ok: number;
    readonly failed: number;
  };
  readonly lagP99Ms: number | null;
  readonly aborted: boolean;
  readonly abortReason: string | null;
}

export class Fetch extends pulumi.ComponentResource {
  /** timeline.json of the run. */
  readonly timeline: pulumi.Output<unknown>;
  /** How the load has ended; null where it failed and the collector saves what there is. */
  readonly load: pulumi.Output<PlayedLoad | null>;
  /** summary.json of the run, with its table for people; undefined where no results are fetched. */
  readonly summary: pulumi.Output<FetchedSummary> | undefined;

  constructor(name: string, args: FetchArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:Fetch", name, {}, opts);
    const { experimentId } = args;
    const deadlines = deadlinesOf(args.resolved);
    const run = (
      wait: "t0" | "load" | "results",
      timeoutSeconds: number,
      needs: readonly pulumi.Resource[],
      switches: readonly string[] = [],
    ) =>
      new command.local.Command(
        `${wait}-${experimentId}`,
        {
          create: fetchCommand(wait, args, timeoutSeconds, switches),
          stdin: pulumi.secret(args.kubeconfig),
          logging: "stderr",
        },
        {
          parent: this,
          deletedWith: opts.deletedWith,
          dependsOn: [...needs],
          // What was fetched stays fetched when the cluster renews its certificates or a deadline is changed.
          ignoreChanges: ["stdin", "create"],
        },
      );
    const t0 = run("t0", deadlines.t0CommandSeconds, args.t0Needs);
    // After a failed load the collector saves what there is: that must be fetched before the failure is told.
    const switches = args.resultsNeed === undefined ? [] : ["--keep-going"];
    const load = run("load", deadlines.loadCommandSeconds, [t0], switches);
    this.timeline = parsed(t0.stdout);
    this.load = parsed(load.stdout) as pulumi.Output<PlayedLoad | null>;
    const results =
      args.resultsNeed === undefined
        ? undefined
        : run("results", deadlines.resultsCommandSeconds, [...args.resultsNeed, load]);
    this.summary =
      results === undefined ? undefined : (parsed(results.stdout) as pulumi.Output<FetchedSummary>);
    this.registerOutputs({ timeline: this.timeline, load: this.load, summary: this.summary });
  }
}

/**
 * The commands print results only; the kubeconfig goes in by stdin and never comes out, but as the whole resource
 * has a secret input, some providers mark every output secret.
 */
function parsed(stdout: pulumi.Output<string>): pulumi.Output<unknown> {
  return pulumi.unsecret(stdout).apply((text) => JSON.parse(text) as unknown);
}
