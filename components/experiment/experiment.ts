// One run of one experiment: everything that its namespace holds, in the order in which it happens.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { isGpuFault, targetsEntry } from "../../experiments/faults.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import type { Step } from "../../experiments/settings.ts";
import { type Subject, toOperatorsBinding } from "../cluster/rbac-rules.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf } from "../naming.ts";
import type { Images } from "../versions.ts";
import { Access, ClusterAccess, serviceAccounts } from "./access.ts";
import { Collector } from "./collector.ts";
import type { RunArgs } from "./conventions.ts";
import { EntryAccess } from "./entry-access.ts";
import { Faults } from "./faults.ts";
import { Gate } from "./gate.ts";
import { Load } from "./load.ts";
import { placementOf } from "./placement.ts";
import { RayService } from "./ray-service.ts";
import { Fetch, type FetchedSummary, type PlayedLoad, ResultsVolume } from "./results.ts";
import { RunConfig, type StackInfo, type StandIn } from "./run-config.ts";
import { type Workload, WorkloadSources } from "./workload-source.ts";

export interface ExperimentArgs extends RunArgs {
  /** Folder of the Pulumi project. */
  readonly projectDir: string;
  readonly resolved: ResolvedExperiment;
  /** How far to go. @default "collect" */
  readonly steps?: Step;
  readonly images: Images;
  /**
   * Storage class for the results where the experiment names none.
   * @default - the cluster's default class
   */
  readonly storageClass?: string;
  /** Ray version of the image that serves; see RayServiceArgs. */
  readonly rayVersion: string;
  readonly kubeconfig: pulumi.Input<string>;
  /** Address of Prometheus inside the cluster. */
  readonly prometheusUrl: string;
  readonly standIns: readonly StandIn[];
  readonly stackInfo: StackInfo;
  /** Who may run experiments, where the cluster has roles for people. @default the cluster has none */
  readonly operators?: readonly Subject[];
  /** @default - none; only models that are free to download */
  readonly huggingFaceToken?: pulumi.Input<string>;
}

/** What a run is played in. */
interface Home {
  readonly inside: pulumi.ComponentResourceOptions;
  /** What must be there before anything is played. */
  readonly deployed: readonly pulumi.Resource[];
  readonly volume: ResultsVolume;
  readonly sources: WorkloadSources["sources"];
}

/** Programs that the run has no part for. */
function withoutParts({ steps, resolved }: Pick<ExperimentArgs, "steps" | "resolved">): Workload[] {
  if (steps === "deploy") return ["gate", "conductor", "collector"];
  return [
    ...(resolved.faults.length === 0 ? (["conductor"] as const) : []),
    ...(steps === "benchmark" ? (["collector"] as const) : []),
  ];
}

export class Experiment extends pulumi.ComponentResource {
  /** timeline.json; undefined where nothing is played. */
  readonly timeline: pulumi.Output<unknown> | undefined;
  /** Undefined where nothing is played; null where the load failed and the collector saves what there is. */
  readonly load: pulumi.Output<PlayedLoad | null> | undefined;
  /** Undefined where nothing is collected. */
  readonly summary: pulumi.Output<FetchedSummary> | undefined;

  constructor(name: string, args: ExperimentArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:Experiment", name, {}, opts);
    const { namespace, experiment, resolved, images } = args;
    const faultKinds = {
      chaos: resolved.faults.some((fault) => !isGpuFault(fault)),
      gpu: resolved.faults.some(isGpuFault),
    };
    const entryAccess = targetsEntry(resolved.faults)
      ? [new EntryAccess(`${name}-entry-access`, { namespace, experiment }, { parent: this })]
      : [];
    const home = new k8s.core.v1.Namespace(
      name,
      {
        metadata: {
          name: namespace,
          labels: labelsOf({ name: "experiment", experiment }),
          // Chaos Mesh acts in namespaces with this annotation only.
          ...(faultKinds.chaos ? { annotations: { "chaos-mesh.org/inject": "enabled" } } : {}),
        },
      },
      // Deleted before these rights: while it ends, the conductor takes back what it has made.
      { parent: this, dependsOn: entryAccess },
    );
    // Destroy deletes the namespace, and what is in it goes with it: also when an operator is gone. Children inherit
    // this, so nothing that lies outside the namespace may have such a parent.
    const inside = {
      parent: this,
      dependsOn: [home, ...this.#operators(name, args, home)],
      deletedWith: home,
    };

    const access = new Access(`${name}-access`, { namespace, experiment, faultKinds }, inside);
    // Where the cluster has roles for people, it lets every run look at nodes; operators may not give such a right.
    const clusterAccess =
      args.operators === undefined
        ? [new ClusterAccess(`${name}-cluster-access`, { namespace, experiment }, { parent: this })]
        : [];
    const workloads = new WorkloadSources(
      `${name}-source`,
      {
        namespace,
        experiment,
        workloadsDir: join(args.projectDir, "workloads"),
        without: withoutParts(args),
      },
      inside,
    );
    const granted = { ...inside, dependsOn: [home, access, workloads] };

    const volume = new ResultsVolume(
      `${name}-results`,
      {
        namespace,
        experiment,
        storage: { ...resolved.storage, className: resolved.storage.className ?? args.storageClass ?? null },
        resources: resolved.resources.reader,
        placement: placementOf(resolved, "load"),
        image: images.node,
        sources: workloads.sources.reader,
      },
      granted,
    );
    const engine = this.#engine(name, args, granted);
    const deployed = [access, ...clusterAccess, workloads, volume, ...engine];

    const played =
      args.steps === "deploy"
        ? undefined
        : this.#play(name, args, { inside, deployed, volume, sources: workloads.sources });
    this.timeline = played?.timeline;
    this.load = played?.load;
    this.summary = played?.summary;
    this.registerOutputs({ timeline: this.timeline, load: this.load, summary: this.summary });
  }

  /** Nothing where it is there already. */
  #engine(name: string, args: ExperimentArgs, granted: pulumi.ComponentResourceOptions): RayService[] {
    const { namespace, resolved, images, debug = false } = args;
    if (resolved.engine === "existing") return [];
    const { otlpGrpc: grpc, otlpHttp: http } = args.stackInfo.endpoints ?? {};
    return [
      new RayService(
        `${name}-ray`,
        {
          namespace,
          experiment: resolved,
          image: resolved.engine === "vllm" ? images.rayLlm : images.serveSimulator,
          serviceAccount: serviceAccounts.ray,
          rayVersion: args.rayVersion,
          debug,
          ...(grpc === undefined || http === undefined ? {} : { otlp: { grpc, http } }),
          ...(args.huggingFaceToken === undefined ? {} : { huggingFaceToken: args.huggingFaceToken }),
        },
        granted,
      ),
    ];
  }

  /** The load and the faults; their collection too, where the stack goes so far. */
  #play(name: string, args: ExperimentArgs, home: Home): Fetch {
    const { namespace, experiment, experimentId, resolved, images, debug = false } = args;
    const { inside, sources } = home;
    const run: RunArgs = { namespace, experiment, experimentId, debug };
    const runConfig = new RunConfig(
      `${name}-run`,
      {
        ...run,
        resolved,
        images,
        standIns: args.standIns,
        stackInfo: args.stackInfo,
        loadScript: readFileSync(join(args.projectDir, "workloads/load/script.js"), "utf8"),
        ...(resolved.load.prompts.kind === "file"
          ? { promptFile: readFileSync(join(args.projectDir, resolved.load.prompts.file), "utf8") }
          : {}),
      },
      inside,
    );

    // From here on the chain runs in the cluster by itself, also when `pulumi up` is killed.
    const started = {
      ...inside,
      dependsOn: [...home.deployed, runConfig],
    };
    const gate = new Gate(
      `${name}-gate`,
      { ...run, resolved, image: images.node, sources: sources.gate },
      started,
    );
    const load = new Load(
      `${name}-load`,
      { ...run, resolved, image: images.load, runConfig: runConfig.configMap },
      started,
    );
    const faults =
      resolved.faults.length === 0
        ? []
        : [
            new Faults(
              `${name}-faults`,
              {
                ...run,
                resolved,
                image: images.node,
                gpuFaultImage: images.rayLlm,
                sources: sources.conductor,
                gpuFaultScript: readFileSync(
                  join(args.projectDir, "workloads/gpu-fault/gpu-fault.sh"),
                  "utf8",
                ),
              },
              started,
            ),
          ];
    const collector =
      args.steps === "benchmark"
        ? undefined
        : new Collector(
            `${name}-collector`,
            {
              ...run,
              resolved,
              image: images.node,
              sources: sources.collector,
              runConfig: runConfig.configMap,
              prometheusUrl: args.prometheusUrl,
            },
            { ...started, dependsOn: [...started.dependsOn, ...faults] },
          );

    return new Fetch(
      `${name}-fetch`,
      {
        ...run,
        resolved,
        kubeconfig: args.kubeconfig,
        t0Needs: [home.volume, gate, load],
        ...(collector === undefined ? {} : { resultsNeed: [collector] }),
      },
      inside,
    );
  }

  /** Gives those who run experiments their rights in this namespace; whatever else they make here needs them. */
  #operators(name: string, args: ExperimentArgs, home: pulumi.Resource): pulumi.Resource[] {
    const { operators = [] } = args;
    if (operators.length === 0) return [];
    const binding = toOperatorsBinding(args.namespace, operators);
    const labels = labelsOf({ name: "operators", experiment: args.experiment });
    return [
      new k8s.rbac.v1.RoleBinding(
        `${name}-operators`,
        { ...binding, metadata: { ...binding.metadata, labels } },
        { parent: this, dependsOn: [home], deletedWith: home },
      ),
    ];
  }
}
