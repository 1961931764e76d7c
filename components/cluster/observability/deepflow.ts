// DeepFlow from its Helm chart: flows and traces seen by agents on every node. An optional source, without its Grafana.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import * as yaml from "yaml";
import * as z from "zod";
import { contentHash } from "../../naming.ts";
import { chartSchema, toRelease } from "../charts/chart.ts";
import { checkTimeouts, toCheckJobSpec } from "../common/check-job.ts";
import { childOptions, objectLabels, type PartArgs, partSchema, toResources } from "../common/part.ts";
import { awaitDaemonSet } from "../common/rollout.ts";
import { toRepositoryAndTag } from "../images.ts";

const imageSchema = z.string().min(1).optional();

/** Section `deepflow` of a cluster's configuration. */
export const deepflowSchema = partSchema(
  {
    chart: chartSchema("deepflow"),
    /** Where the images come from; the chart adds their names and tags. */
    imageRepository: z.string().min(1).default("docker.io/deepflowce"),
    /** Whole references, normally by digest: the tag v7.1 moves. @default imageRepository with the chart's tags */
    images: z
      .strictObject({
        server: imageSchema,
        app: imageSchema,
        agent: imageSchema,
        clickhouse: imageSchema,
        mysql: imageSchema,
      })
      .prefault({}),
    /** Volumes: of flows and traces, of those that ClickHouse has moved aside, and of the inventory. */
    flowsGibibytes: z.int().min(1).default(100),
    movedFlowsGibibytes: z.int().min(1).default(100),
    inventoryGibibytes: z.int().min(1).default(10),
    /** Interfaces that agents listen on, as a regular expression: the hosts' own, as Cilium's show one direction only. */
    captureInterfaces: z.string().min(1).default("^(eth.*|en[opsx].*|bond.*|ib.*)$"),
    /** Spans in one trace before the rest is left out. */
    tracingSpanLimit: z.int().min(100).default(1000),
    /** What the agent on each node may take. */
    agentCpuLimitMillicores: z.int().min(100).default(1000),
    agentMemoryLimitMebibytes: z.int().min(256).default(768),
    /** How long the programs may take, and then the agents to report. */
    readyTimeoutSeconds: z.int().min(60).default(900),
  },
  "off",
);

export type DeepFlowConfig = z.output<typeof deepflowSchema>;

/** What DeepFlow has to know of the cluster. */
export interface DeepFlowFacts {
  readonly storageClass: string;
  /** Agents to wait for; at least 1. */
  readonly nodeCount: number;
}

export interface DeepFlowArgs extends PartArgs {
  readonly config: DeepFlowConfig;
  readonly facts: DeepFlowFacts;
  /** Image with Node, for the Job that configures the agents. */
  readonly image: string;
  /** Whether a destroy must refuse to delete the data. */
  readonly protect: boolean;
}

/** Passwords of the bundled databases. */
export interface DeepFlowPasswords {
  readonly mysql: pulumi.Input<string>;
  readonly clickhouse: pulumi.Input<string>;
}

const deepflowNamespace = "deepflow";
const agentsName = "deepflow-agents";
const server = `deepflow-server.${deepflowNamespace}.svc`;
/** Address of the SQL interface inside the cluster. */
export const deepflowQuerierUrl = `http://${server}:20416`;
/** Address of the tracing interface inside the cluster. */
export const deepflowTracingUrl = `http://deepflow-app.${deepflowNamespace}.svc:20418`;

/** Values of the chart. */
export function toDeepFlowValues(
  config: DeepFlowConfig,
  facts: DeepFlowFacts,
  passwords: DeepFlowPasswords,
): Record<string, unknown> {
  const { images } = config;
  const image = (reference: string | undefined): Record<string, string> => ({
    ...(reference === undefined ? {} : toRepositoryAndTag(reference)),
    pullPolicy: "IfNotPresent",
  });
  const claim = (name: string, gibibytes: number) => ({
    name,
    accessModes: ["ReadWriteOnce"],
    size: `${gibibytes}Gi`,
    storageClass: facts.storageClass,
  });
  return {
    global: {
      image: { repository: config.imageRepository, pullPolicy: "IfNotPresent" },
      // Everything keeps time in the chart's vendor's zone otherwise, and the databases' columns with it.
      timezone: "UTC",
      storageClass: facts.storageClass,
      replicas: 1,
      // The chart writes both into ConfigMaps of its namespace; it knows no other place.
      password: { mysql: passwords.mysql, clickhouse: passwords.clickhouse },
    },
    image: { server: image(images.server), app: image(images.app) },
    configmap: {
      "server.yaml": { ingester: { ckdb: { "time-zone": "UTC" } } },
      "app.yaml": { app: { spec: { l7_tracing_limit: config.tracingSpanLimit } } },
    },
    server: {
      // The default opens three ports on every host; the agents are inside.
      service: { type: "ClusterIP" },
      resources: toResources("200m", "512Mi", "4Gi"),
    },
    app: { resources: toResources("50m", "128Mi", "1Gi") },
    clickhouse: {
      image: image(images.clickhouse),
      resources: toResources("500m", "1Gi", "12Gi"),
      storageConfig: {
        persistence: [
          claim("clickhouse-path", config.flowsGibibytes),
          claim("clickhouse-storage-path", config.movedFlowsGibibytes),
        ],
      },
    },
    mysql: {
      image: image(images.mysql),
      resources: toResources("100m", "512Mi", "2Gi"),
      storageConfig: {
        persistence: {
          size: `${config.inventoryGibibytes}Gi`,
          // Kept behind the release it would meet another password with the next one; only "keep" means keep.
          annotations: { "helm.sh/resource-policy": "delete" },
        },
      },
    },
    "deepflow-agent": {
      image: image(images.agent),
      tolerations: [{ operator: "Exists" }],
      resources: {
        requests: { cpu: "100m", memory: "256Mi" },
        // The agent keeps to its own limit, below this one.
        limits: { memory: `${config.agentMemoryLimitMebibytes + 256}Mi` },
      },
    },
    grafana: { enabled: false },
  };
}

/** Configuration of the agents, which the chart does not carry: they get it from the server. */
export function toAgentConfig(config: DeepFlowConfig): Record<string, unknown> {
  return {
    global: {
      limits: {
        max_millicpus: config.agentCpuLimitMillicores,
        max_memory: config.agentMemoryLimitMebibytes,
      },
      // Records carry the hosts' own time, as everything else here does.
      ntp: { enabled: false },
    },
    inputs: { cbpf: { af_packet: { interface_regex: config.captureInterfaces } } },
  };
}

/** Gives the default group of agents its configuration, then waits until every node's agent reports. */
export const agentsScript = `import { readFileSync } from "node:fs";
const { SERVER_URL, CONFIG_FILE, EXPECTED_AGENTS, TIMEOUT_SECONDS, POLL_SECONDS } = process.env;
async function call(path, options) {
  const response = await fetch(SERVER_URL + path, { ...options, signal: AbortSignal.timeout(10_000) });
  const body = await response.json().catch(() => ({}));
  if (response.ok && body.OPT_STATUS === "SUCCESS") return body.DATA;
  throw new Error(path + ": HTTP " + response.status + " " + (body.OPT_STATUS ?? "") + " " + (body.DESCRIPTION ?? ""));
}
let configured = false;
async function problem() {
  if (!configured) {
    const group = (await call("/v1/vtap-groups/")).find(({ NAME }) => NAME === "default");
    if (group === undefined) return "the server has no group of agents named default yet";
    const path = "/v1/agent-group-configuration/" + group.LCUUID + "/yaml";
    await call(path, { method: "POST", body: readFileSync(CONFIG_FILE, "utf8") });
    configured = true;
    console.log("agents are configured");
  }
  const agents = await call("/v1/vtaps/");
  const running = agents.filter(({ STATE }) => STATE === 1).length;
  if (running < EXPECTED_AGENTS) {
    const others = agents.filter(({ STATE }) => STATE !== 1).map(({ NAME, STATE }) => NAME + " (state " + STATE + ")");
    return running + " of " + EXPECTED_AGENTS + " agents report; not: " + (others.join(", ") || "unknown to the server");
  }
}
const end = Date.now() + TIMEOUT_SECONDS * 1000;
let last;
while (Date.now() < end) {
  const now = await problem().catch((error) => "DeepFlow's server: " + (error.cause?.message ?? error.message));
  if (now === undefined) process.exit(0);
  if (now !== last) console.log(now);
  last = now;
  await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000));
}
console.error("not ready within " + TIMEOUT_SECONDS + " s: " + last);
process.exit(1);
`;

export class DeepFlow extends pulumi.ComponentResource {
  constructor(name: string, args: DeepFlowArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:DeepFlow", name, {}, opts);
    const { config, facts } = args;
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: deepflowNamespace,
          labels: {
            ...objectLabels("deepflow"),
            // Agents load eBPF programs and see all processes of their host.
            "pod-security.kubernetes.io/enforce": "privileged",
          },
        },
      },
      childOptions(this, args),
    );
    const values = toDeepFlowValues(config, facts, {
      mysql: this.#password(`${name}-mysql-password`),
      clickhouse: this.#password(`${name}-clickhouse-password`),
    });
    const release = new k8s.helm.v3.Release(
      `${name}-release`,
      toRelease({
        chart: config.chart,
        name: "deepflow",
        namespace: deepflowNamespace,
        values,
        timeoutSeconds: config.readyTimeoutSeconds,
      }),
      childOptions(this, args, { dependsOn: [namespace], protect: args.protect }),
    );
    const rollout = awaitDaemonSet(
      `${name}-agent-ready`,
      {
        name: "deepflow-agent",
        namespace: deepflowNamespace,
        revision: contentHash(JSON.stringify([config, facts])),
        timeoutSeconds: config.readyTimeoutSeconds,
      },
      childOptions(this, args, { dependsOn: [release] }),
    );
    this.#agents(name, args, namespace, rollout);
    this.registerOutputs({});
  }

  /** The chart's own ones are the same everywhere. Special characters would end up unquoted in its files. */
  #password(name: string): pulumi.Output<string> {
    return new random.RandomPassword(name, { length: 32, special: false }, { parent: this }).result;
  }

  #agents(name: string, args: DeepFlowArgs, namespace: pulumi.Resource, rollout: pulumi.Resource): void {
    const { config, facts } = args;
    const data = { "main.mjs": agentsScript, "agents.yaml": yaml.stringify(toAgentConfig(config)) };
    const metadata = { namespace: deepflowNamespace, labels: objectLabels(agentsName) };
    const configMapName = `${agentsName}-${contentHash(JSON.stringify(data))}`;
    const configMap = new k8s.core.v1.ConfigMap(
      `${name}-agents-program`,
      { metadata: { ...metadata, name: configMapName }, data },
      childOptions(this, args, { dependsOn: [namespace] }),
    );
    const spec = toCheckJobSpec({
      name: agentsName,
      image: args.image,
      configMapName,
      env: {
        SERVER_URL: `http://${server}:20417`,
        CONFIG_FILE: "/check/agents.yaml",
        EXPECTED_AGENTS: String(facts.nodeCount),
        TIMEOUT_SECONDS: String(config.readyTimeoutSeconds),
        POLL_SECONDS: "5",
      },
      timeoutSeconds: config.readyTimeoutSeconds,
    });
    new k8s.batch.v1.Job(
      `${name}-agents`,
      {
        metadata: {
          ...metadata,
          name: `${agentsName}-${contentHash(JSON.stringify([config, spec]))}`,
          // A failed attempt is made again by the next `up`, and not just looked at.
          annotations: { "pulumi.com/replaceUnready": "true" },
        },
        spec,
      },
      childOptions(this, args, {
        dependsOn: [configMap, rollout],
        customTimeouts: checkTimeouts(config.readyTimeoutSeconds),
      }),
    );
  }
}
