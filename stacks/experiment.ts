// The stack of one experiment: reads and checks everything first, then composes; nothing is created on bad input.

import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { UserError } from "../components/errors.ts";
import {
  type ClusterFacts,
  checkApiServer,
  checkCapabilities,
  clusterIdentifier,
  defaultPrometheusUrl,
  neededParts,
  standInsOf,
  toClusterFacts,
} from "../components/experiment/cluster-facts.ts";
import { serveUrl } from "../components/experiment/conventions.ts";
import { Experiment } from "../components/experiment/experiment.ts";
import type { FetchedSummary, PlayedLoad } from "../components/experiment/results.ts";
import type { StandIn } from "../components/experiment/run-config.ts";
import * as k8s from "../components/kubernetes.ts";
import { images as defaultImages, versions } from "../components/versions.ts";
import { experimentId } from "../experiments/id.ts";
import { throwProblems } from "../experiments/problems.ts";
import { acceleratorProblems, tryResolve } from "../experiments/resolve.ts";
import type { ResolvedExperiment } from "../experiments/schema.ts";
import {
  type ExperimentSettings,
  experimentKeys,
  readExperimentSettings,
  type Step,
} from "../experiments/settings.ts";
import type { Summary } from "../workloads/collector/summary.ts";

/** Configuration keys that this kind of stack reads. */
export const configKeys: readonly string[] = Object.keys(experimentKeys);

export interface ExperimentOutputs {
  readonly namespace: string;
  /** How far the stack went. */
  readonly steps: Step;
  /** How to go on. */
  readonly next: string;
  /** The run; absent, as all below, where nothing was played. */
  readonly experimentId?: string;
  /** When the first cell began: integer nanoseconds since 1970 as text, and the same in UTC. */
  readonly t0?: pulumi.Output<{ readonly unixNs: string; readonly utc: string }>;
  /** How the load ended; null where it failed. */
  readonly load?: pulumi.Output<PlayedLoad | null>;
  /** The key figures; all of them are in the results' summary.json. Absent, as the next, where nothing was collected. */
  readonly summary?: pulumi.Output<Headline>;
  /** Where the results lie on the machine that ran `pulumi up`. */
  readonly resultsDirectory?: string;
}

export async function experimentStack(): Promise<ExperimentOutputs> {
  const stack = pulumi.getStack();
  const projectDir = join(import.meta.dirname, "..");
  const settings = readExperimentSettings(stack, pulumi.runtime.allConfig());
  const facts = settings.cluster === "" ? undefined : await readCluster(settings.cluster);
  const resolved = resolve(projectDir, settings, facts);
  if (facts !== undefined) checkCapabilities(settings.cluster, facts, neededParts(resolved));
  if (pulumi.runtime.isDryRun()) await warnOfMissingCluster(settings.cluster, facts);
  else await checkCluster(settings.cluster, facts);
  await warnOfGatedModel(resolved);
  if (settings.debug) await pulumi.log.warn(debugWarning);

  const id = experimentId(resolved, settings.run);
  const images = facts?.images ?? defaultImages;
  const kubeconfig = facts === undefined ? unknownText() : pulumi.secret(facts.kubeconfig);
  const provider = new k8s.Provider(settings.cluster, {
    kubeconfig,
    clusterIdentifier:
      facts === undefined ? settings.cluster : clusterIdentifier(settings.cluster, facts.kubeconfig),
    kubeClientSettings: { timeout: 20 },
  });
  const huggingFaceToken = new pulumi.Config("llmeval").getSecret("huggingFaceToken");
  const experiment = new Experiment(
    settings.name,
    {
      namespace: stack,
      experiment: settings.name,
      experimentId: id,
      projectDir,
      resolved,
      steps: settings.steps,
      debug: settings.debug,
      images,
      ...(facts?.operators === undefined ? {} : { operators: facts.operators }),
      ...(facts?.storageClass === undefined ? {} : { storageClass: facts.storageClass }),
      rayVersion: resolved.engine === "vllm" ? versions.ray : versions.raySimulator,
      kubeconfig,
      prometheusUrl: facts?.prometheusUrl ?? defaultPrometheusUrl,
      standIns: [...engineStandIn(resolved, images.serveSimulator), ...standInsOf(facts?.capabilities ?? {})],
      stackInfo: {
        stack,
        cluster: settings.cluster,
        capabilities: facts?.capabilities ?? {},
        endpoints: facts?.endpoints ?? {},
        ...(settings.debug ? { debug: true } : {}),
      },
      ...(huggingFaceToken === undefined ? {} : { huggingFaceToken }),
    },
    { providers: { kubernetes: provider } },
  );
  const { timeline, load, summary } = experiment;
  return {
    namespace: stack,
    steps: settings.steps,
    next: nextOf(settings, serveUrl(resolved, stack)),
    ...(timeline === undefined
      ? {}
      : {
          experimentId: id,
          t0: timeline.apply((found) => toInstant(found as { readonly t0UnixNs: string })),
        }),
    ...(load === undefined ? {} : { load }),
    ...(summary === undefined ? {} : { summary: summary.apply(told), resultsDirectory: `fetched/${id}` }),
  };
}

const debugWarning =
  "llmeval:debug is on: every part logs in detail, which takes time; figures of this run are not those of a run without";

function nextOf({ name, steps }: ExperimentSettings, engineUrl: string): string {
  switch (steps) {
    case "deploy":
      return `${engineUrl}/v1 serves inside the cluster; play the load by: npx llmeval benchmark ${name}`;
    case "benchmark":
      return `collect and fetch the results by: npx llmeval collect ${name}`;
    case "collect":
      return `play again by: npx llmeval benchmark ${name}; take everything down by: npx llmeval delete ${name}`;
  }
}

async function told(summary: FetchedSummary): Promise<Headline> {
  // A log line of the program stays on the screen; those of the command that fetched give way to the next.
  if (!pulumi.runtime.isDryRun()) await pulumi.log.info(summary.table);
  return toHeadline(summary);
}

/** The cluster's facts, or undefined where its stack is not deployed: a preview must work without. */
async function readCluster(cluster: string): Promise<ClusterFacts | undefined> {
  const name = cluster.includes("/")
    ? cluster
    : `${pulumi.getOrganization()}/${pulumi.getProject()}/${cluster}`;
  try {
    // A StackReference resource would fail the whole program where the stack does not exist; this call can be caught.
    const result = (await pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", { name })) as {
      readonly outputs?: Readonly<Record<string, unknown>>;
    };
    return toClusterFacts(result.outputs ?? {});
  } catch (error) {
    if (/unknown stack/.test((error as Error).message)) return undefined;
    throw error;
  }
}

function resolve(
  projectDir: string,
  settings: ExperimentSettings,
  facts: ClusterFacts | undefined,
): ResolvedExperiment {
  const { name, definition, overrides, cells } = settings;
  const resolution = tryResolve({
    projectDir,
    name,
    overrides,
    ...(definition === undefined ? {} : { definition }),
    ...(cells === undefined ? {} : { cells }),
  });
  const { experiment, originOf } = resolution;
  const accelerators = facts?.accelerators;
  const unfit =
    experiment === undefined || accelerators === undefined
      ? []
      : acceleratorProblems(experiment, originOf, settings.cluster, accelerators);
  throwProblems(`experiment ${name}`, [...settings.problems, ...resolution.problems, ...unfit]);
  return experiment as ResolvedExperiment;
}

async function warnOfMissingCluster(cluster: string, facts: ClusterFacts | undefined): Promise<void> {
  if (facts !== undefined) return;
  await pulumi.log.warn(`${missingCluster(cluster)}; this preview goes on without it, pulumi up will not`);
}

async function checkCluster(cluster: string, facts: ClusterFacts | undefined): Promise<void> {
  if (facts === undefined) {
    throw new UserError(`${missingCluster(cluster)}; nothing was created`);
  }
  await checkApiServer(cluster, facts.kubeconfig);
}

function missingCluster(cluster: string): string {
  return (
    `cluster stack ${cluster} is not deployed, or its kubeconfig cannot be decrypted with this passphrase; ` +
    `deploy it by: pulumi up -s ${cluster}, or name another one by: pulumi config set llmeval:cluster NAME`
  );
}

async function warnOfGatedModel(resolved: ResolvedExperiment): Promise<void> {
  const hasToken = new pulumi.Config("llmeval").get("huggingFaceToken") !== undefined;
  if (resolved.engine !== "vllm" || !resolved.model.gated || hasToken) return;
  await pulumi.log.warn(
    `model ${resolved.modelId} is gated: unless the hosts hold its weights, set a token by: ` +
      "pulumi config set --secret llmeval:huggingFaceToken TOKEN",
  );
}

function engineStandIn(resolved: ResolvedExperiment, image: string): StandIn[] {
  return resolved.engine === "llm-d-inference-sim"
    ? [{ part: "engine", name: resolved.engine, version: image }]
    : [];
}

/** Percentiles in milliseconds. */
type Percentiles = Readonly<Record<"p50" | "p90" | "p99", number | null>>;

interface Headline {
  readonly measurementOf: "stand-in" | "engine";
  readonly quality: "pass" | "fail";
  readonly cells: Readonly<
    Record<
      string,
      {
        readonly requests: { readonly ok: number; readonly failed: number };
        readonly ratePerSecond: { readonly target: number | null; readonly sent: number | null };
        readonly ttftMs: Percentiles;
        readonly itlMs: Percentiles;
        readonly e2eMs: Percentiles;
      }
    >
  >;
}

function toHeadline(summary: Summary): Headline {
  const percentiles = ({ p50, p90, p99 }: Percentiles): Percentiles => ({ p50, p90, p99 });
  return {
    measurementOf: summary.measurementOf,
    quality: summary.quality.verdict,
    cells: Object.fromEntries(
      summary.cells.map(({ id, measured: { requests, ratePerSecond, ttftMs, itlMs, e2eMs } }) => [
        id,
        {
          requests: { ok: requests.ok, failed: requests.failed },
          ratePerSecond: { target: ratePerSecond.target, sent: ratePerSecond.sent },
          ttftMs: percentiles(ttftMs),
          itlMs: percentiles(itlMs),
          e2eMs: percentiles(e2eMs),
        },
      ]),
    ),
  };
}

/** A value that only `up` will know. */
function unknownText(): pulumi.Output<string> {
  return pulumi.output(pulumi.unknown as unknown as string);
}

/** Keeps all nine digits of the fraction, which a Date would drop. */
function toInstant({ t0UnixNs }: { readonly t0UnixNs: string }): {
  readonly unixNs: string;
  readonly utc: string;
} {
  const ns = BigInt(t0UnixNs);
  const seconds = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return { unixNs: t0UnixNs, utc: `${seconds}.${(ns % 1_000_000_000n).toString().padStart(9, "0")}Z` };
}
