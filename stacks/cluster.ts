// The cluster stack: hosts -> K3s -> parts inside the cluster. Composition only.

import * as path from "node:path";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { addressOf, toCapabilities, toEndpoints } from "../components/cluster/capabilities.ts";
import { ChaosMesh } from "../components/cluster/chaos-mesh.ts";
import { chartsOf } from "../components/cluster/charts/chart.ts";
import { ensureCharts } from "../components/cluster/charts/charts-cache.ts";
import { type ClusterConfig, toAccelerators } from "../components/cluster/config.ts";
import { GpuOperator } from "../components/cluster/gpu/gpu-operator.ts";
import { K3s } from "../components/cluster/hosts/k3s.ts";
import { defaultServiceCidr, hostsOf, k3sStorageClass } from "../components/cluster/hosts/k3s-config.ts";
import { resolvePath, type SshContext } from "../components/cluster/hosts/ssh.ts";
import { resolveImages } from "../components/cluster/images.ts";
import { KubeRay } from "../components/cluster/kuberay.ts";
import { Cilium } from "../components/cluster/network/cilium.ts";
import { Entry, toClusterDns } from "../components/cluster/network/entry.ts";
import { GatewayApi } from "../components/cluster/network/gateway-api.ts";
import { Istio } from "../components/cluster/network/istio.ts";
import { DeepFlow } from "../components/cluster/observability/deepflow.ts";
import { Grafana, grafanaUrl } from "../components/cluster/observability/grafana.ts";
import { KubeStateMetrics } from "../components/cluster/observability/kube-state-metrics.ts";
import { Loki, lokiUrl } from "../components/cluster/observability/loki.ts";
import { OpenTelemetry } from "../components/cluster/observability/opentelemetry.ts";
import type { ScrapedPart } from "../components/cluster/observability/platform-jobs.ts";
import { Prometheus, prometheusUrl } from "../components/cluster/observability/prometheus.ts";
import { Rbac, toOperators } from "../components/cluster/rbac.ts";
import { UserError } from "../components/errors.ts";
import type { Images } from "../components/versions.ts";
import type { ClusterOutputs } from "./cluster-outputs.ts";
import { checkStackKeys, readClusterConfig, readRegistryPasswords } from "./cluster-settings.ts";
import { describedCluster, existingCluster } from "./existing-cluster.ts";

/** Builds the stack and returns its outputs. Paths in the configuration are relative to the project's folder. */
export async function clusterStack(
  // Where plug-ins run too: they read charts there. In a copy of the project whose files are links, this file's own
  // folder would be another one.
  projectDir = process.cwd(),
): Promise<ClusterOutputs> {
  checkStackKeys();
  const stackConfig = new pulumi.Config("llmeval");
  const context: SshContext = {
    projectDir,
    preview: pulumi.runtime.isDryRun(),
    warn: (message) => void pulumi.log.warn(message),
  };
  const outputsFile = stackConfig.get("outputs");
  if (outputsFile !== undefined) return describedCluster(outputsFile, stackConfig, context);
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
  const ensure = (needed: boolean): Promise<void> =>
    ensureCharts(chartsOf(config), {
      projectDir,
      preview: context.preview,
      needed,
      ...given("cluster", name),
    });
  // Before any host is touched: a chart that cannot be had stops the whole `up`.
  if (!context.preview) await ensure(true);
  const cluster =
    kubeconfigFile === undefined
      ? installCluster(name ?? pulumi.getStack(), file, config, context)
      : existingCluster(kubeconfigFile, context);
  // The provider loads charts in the preview of a cluster that it knows; before the first `up` nothing is fetched.
  if (context.preview) await ensure(await isKnown(cluster.kubeconfig));
  const passwords = installParts(cluster, config, images, context);
  return {
    kubeconfig: pulumi.secret(cluster.kubeconfig),
    endpoints: { apiServer: cluster.apiServer, ...toEndpoints(config) },
    capabilities: toCapabilities(config, images),
    storageClass: config.storage.className,
    images,
    accelerators: toAccelerators(config),
    ...(config.rbac.mode === "on" ? { operators: toOperators(config.rbac) } : {}),
    passwords,
  };
}

/** Everything inside the cluster. Parts are made side by side; each waits only for what it needs. */
function installParts(
  cluster: Cluster,
  config: ClusterConfig,
  images: Images,
  context: SshContext,
): ClusterOutputs["passwords"] {
  const stackConfig = new pulumi.Config("llmeval");
  const provider = new k8s.Provider("cluster", {
    kubeconfig: cluster.kubeconfig,
    // Without it a kubeconfig that is unknown for one preview would replace everything in the cluster.
    clusterIdentifier: `llmeval-${pulumi.getStack()}`,
    kubeClientSettings: { timeout: 20 },
  });
  const { k3s } = config;
  const nodeCount = hostsOf(k3s).length;
  const storageClass = config.storage.className;
  const workloadsDir = path.join(context.projectDir, "workloads");
  const protect = stackConfig.getBoolean("protectData") ?? config.protectData;
  const part = cluster.k3s === undefined ? {} : { deletedWith: cluster.k3s.server };

  if (config.gatewayApi.mode === "on" && cluster.k3s !== undefined) {
    const { server, firstConnection: connection } = cluster.k3s;
    new GatewayApi("gateway-api", { ...part, config: config.gatewayApi, connection, server, context });
  }
  const roots: pulumi.Resource[] = [];
  if (config.cilium.mode === "on") {
    const facts = { podCidr: k3s?.podCidr ?? "", nodeCount };
    const cilium = new Cilium("cilium", { ...part, config: config.cilium, facts }, { provider });
    roots.push(cilium.network);
  }
  const onNetwork = { provider, dependsOn: [...roots] };
  if (config.gpuOperator.mode === "on") {
    const gpuOperator = new GpuOperator(
      "gpu-operator",
      { ...part, config: config.gpuOperator, facts: { gpus: gpusByNode(config) }, image: images.node },
      onNetwork,
    );
    // Its toolkit restarts K3s on the hosts that have GPUs; where one of them is a server, the API goes away with it.
    if (k3s?.servers.some(({ accelerators }) => Object.keys(accelerators).length > 0)) {
      roots.push(gpuOperator.ready);
    }
  }
  const options = { provider, dependsOn: roots };
  if (config.istio.mode === "on") {
    new Istio("istio", { ...part, config: config.istio }, options);
  }
  if (config.kuberay.mode === "on") {
    new KubeRay("kuberay", { ...part, config: config.kuberay, image: images.kuberayOperator }, options);
  }
  if (config.chaosMesh.mode === "on") {
    new ChaosMesh("chaos-mesh", { ...part, config: config.chaosMesh, images }, options);
  }
  if (config.prometheus.mode === "on") {
    new Prometheus(
      "prometheus",
      {
        ...part,
        config: config.prometheus,
        images,
        storageClass,
        scrapedParts: scrapedParts(config),
        ...given("acceleratorIntervalSeconds", acceleratorIntervalSeconds(config)),
        protect,
      },
      options,
    );
  }
  if (config.kubeStateMetrics.mode === "on") {
    const parts = { kuberay: config.kuberay.mode !== "off", chaosMesh: config.chaosMesh.mode !== "off" };
    new KubeStateMetrics(
      "kube-state-metrics",
      { ...part, config: config.kubeStateMetrics, image: images.kubeStateMetrics, parts },
      options,
    );
  }
  if (config.loki.mode === "on") {
    new Loki("loki", { ...part, config: config.loki, image: images.loki, storageClass, protect }, options);
  }
  const loki = addressOf(config.loki, lokiUrl);
  if (config.opentelemetry.mode === "on") {
    new OpenTelemetry(
      "opentelemetry",
      {
        ...part,
        config: config.opentelemetry,
        images,
        ...given("lokiUrl", loki),
        workloadsDir,
        storageClass,
        protect,
      },
      options,
    );
  }
  if (config.deepflow.mode === "on") {
    const facts = { storageClass, nodeCount: Math.max(1, nodeCount) };
    new DeepFlow(
      "deepflow",
      { ...part, config: config.deepflow, facts, image: images.node, protect },
      options,
    );
  }
  const prometheus = addressOf(config.prometheus, prometheusUrl);
  const grafana =
    config.grafana.mode === "on" && prometheus !== undefined
      ? new Grafana(
          "grafana",
          {
            ...part,
            config: config.grafana,
            image: images.grafana,
            sources: {
              prometheusUrl: prometheus,
              scrapeIntervalSeconds: config.prometheus.scrapeIntervalSeconds,
              ...given("lokiUrl", loki),
            },
            ...given("adminPassword", stackConfig.getSecret("grafanaPassword")),
          },
          options,
        )
      : undefined;
  if (config.rbac.mode === "on") {
    new Rbac("rbac", { ...part, config: config.rbac }, { provider });
  }
  const grafanaAddress = addressOf(config.grafana, grafanaUrl);
  const entry =
    config.entry.mode === "on"
      ? new Entry(
          "entry",
          {
            ...part,
            config: config.entry,
            image: images.nginx,
            clusterDns: config.entry.clusterDns ?? toClusterDns(k3s?.serviceCidr ?? defaultServiceCidr),
            workloadsDir,
            ...given("grafanaUrl", grafanaAddress),
            ...given("password", stackConfig.getSecret("entryPassword")),
            faults: config.chaosMesh.mode !== "off",
          },
          options,
        )
      : undefined;
  return { grafana: grafana?.adminPassword, entry: entry?.password };
}

/** The parts that bring metrics of their own, also those that somebody else installed. */
function scrapedParts(config: ClusterConfig): ScrapedPart[] {
  const parts: readonly ScrapedPart[] = [
    "kubeStateMetrics",
    "cilium",
    "istio",
    "gpuOperator",
    "kuberay",
    "chaosMesh",
    "opentelemetry",
    "loki",
  ];
  return parts.filter((part) => config[part].mode !== "off");
}

/** As often as the exporter reads the GPUs; of another one nobody here knows. */
function acceleratorIntervalSeconds({ gpuOperator }: ClusterConfig): number | undefined {
  return gpuOperator.mode === "on" ? Math.ceil(gpuOperator.dcgm.intervalMilliseconds / 1000) : undefined;
}

function gpusByNode(config: ClusterConfig): Record<string, number> {
  return Object.fromEntries(
    hostsOf(config.k3s)
      .map(
        ({ name, accelerators }) =>
          [name, Object.values(accelerators).reduce((sum, n) => sum + n, 0)] as const,
      )
      .filter(([, count]) => count > 0),
  );
}

function given<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, V>);
}

async function isKnown(output: pulumi.Output<unknown>): Promise<boolean> {
  return await (output as unknown as { readonly isKnown: Promise<boolean> }).isKnown;
}

interface Cluster {
  readonly kubeconfig: pulumi.Output<string>;
  readonly apiServer: pulumi.Input<string>;
  /** Absent where the cluster was there before. */
  readonly k3s?: K3s;
}

function installCluster(name: string, file: string, config: ClusterConfig, context: SshContext): Cluster {
  if (config.k3s === undefined) {
    throw new UserError(
      `${file}: k3s is missing; describe the hosts there, or set llmeval:kubeconfig to use an existing cluster`,
    );
  }
  const { className } = config.storage;
  // A class of another name comes from elsewhere, and later.
  const bringsClass = !config.k3s.disable.includes("local-storage") && className === k3sStorageClass;
  const k3s = new K3s("k3s", {
    clusterName: name,
    config: config.k3s,
    ...given("token", new pulumi.Config("llmeval").getSecret("k3sToken")),
    ...given("registryPasswords", readRegistryPasswords(config, file)),
    ...given("storageClass", bringsClass ? k3sStorageClass : undefined),
    context,
  });
  return { kubeconfig: k3s.kubeconfig, apiServer: k3s.apiServer, k3s };
}
