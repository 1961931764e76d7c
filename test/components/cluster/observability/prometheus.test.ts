// Prometheus: its objects to the last field, and what a real one makes of the configuration.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as yaml from "yaml";
import { toNodeExporterSpec } from "../../../../components/cluster/observability/node-exporter.ts";
import type { ScrapedPart } from "../../../../components/cluster/observability/platform-jobs.ts";
import {
  apiServerRules,
  Prometheus,
  type PrometheusArgs,
  prometheusRules,
  prometheusSchema,
  toConfigText,
  toPrometheusArgs,
  toPrometheusSpec,
} from "../../../../components/cluster/observability/prometheus.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { type PrometheusServer, startPrometheus } from "../../../support/prometheus.ts";
import { record } from "../../../support/record.ts";

const defaults = parseConfig(prometheusSchema, {}, { file: "x" });
const allParts: readonly ScrapedPart[] = [
  "kubeStateMetrics",
  "cilium",
  "istio",
  "gpuOperator",
  "kuberay",
  "chaosMesh",
  "opentelemetry",
  "loki",
];

interface Job {
  readonly job_name: string;
  readonly relabel_configs?: readonly unknown[];
  readonly metric_relabel_configs?: readonly unknown[];
  readonly sample_limit?: number;
  readonly scrape_interval?: string;
  readonly honor_labels?: boolean;
}

function jobs(scrapedParts: readonly ScrapedPart[], more: Partial<PrometheusArgs> = {}): readonly Job[] {
  const text = toConfigText({ config: defaults, scrapedParts, ...more });
  return (yaml.parse(text) as { scrape_configs: Job[] }).scrape_configs;
}

test("the configuration file with every part", () => {
  expect(toConfigText({ config: defaults, scrapedParts: allParts })).toMatchSnapshot();
});

test("the jobs of a cluster without further parts", () => {
  expect(jobs([]).map(({ job_name }) => job_name)).toEqual([
    "prometheus",
    "ray",
    "engine",
    "pods",
    "cadvisor",
    "kubelet-resource",
    "kubelet",
    "apiserver",
    "node",
  ]);
});

test("every job but Prometheus's own has a limit of samples", () => {
  expect(jobs(allParts).flatMap((job) => (job.sample_limit === undefined ? [job.job_name] : []))).toEqual([
    "prometheus",
  ]);
});

test("accelerators have an interval of their own, and what is not under test is read less often", () => {
  const config = { ...defaults, scrapeIntervalSeconds: 20 };
  const intervals = Object.fromEntries(
    jobs(allParts, { config, acceleratorIntervalSeconds: 2 }).map(({ job_name, scrape_interval }) => [
      job_name,
      scrape_interval,
    ]),
  );
  expect(intervals).toMatchObject({ "dcgm-exporter": "2s", kubelet: "20s", loki: "20s" });
  expect(intervals["cadvisor"]).toBeUndefined();
  const unsaid = jobs(allParts, { config }).find(({ job_name }) => job_name === "dcgm-exporter");
  expect(unsaid?.scrape_interval).toBe("20s");
});

test("retention by time, and by size when there is a volume; the log is compressed without being asked", () => {
  expect(toPrometheusArgs({ ...defaults, retention: "2d", storageGibibytes: 100 })).toEqual([
    "--config.file=/etc/prometheus/prometheus.yml",
    "--storage.tsdb.path=/prometheus",
    "--storage.tsdb.retention.time=2d",
    "--storage.tsdb.retention.size=81920MB",
    "--web.listen-address=:9090",
  ]);
});

test("the Prometheus Deployment", () => {
  expect(toPrometheusSpec(defaults, "prometheus:test", "config-1")).toMatchInlineSnapshot(`
    {
      "replicas": 1,
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "prometheus",
        },
      },
      "strategy": {
        "type": "Recreate",
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "prometheus",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "containers": [
            {
              "args": [
                "--config.file=/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path=/prometheus",
                "--storage.tsdb.retention.time=15d",
                "--web.listen-address=:9090",
              ],
              "image": "prometheus:test",
              "name": "prometheus",
              "ports": [
                {
                  "containerPort": 9090,
                  "name": "http",
                },
              ],
              "readinessProbe": {
                "failureThreshold": 30,
                "httpGet": {
                  "path": "/-/ready",
                  "port": 9090,
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "2048Mi",
                },
                "requests": {
                  "cpu": "100m",
                  "memory": "256Mi",
                },
              },
              "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {
                  "drop": [
                    "ALL",
                  ],
                },
              },
              "volumeMounts": [
                {
                  "mountPath": "/etc/prometheus",
                  "name": "config",
                  "readOnly": true,
                },
                {
                  "mountPath": "/prometheus",
                  "name": "data",
                },
              ],
            },
          ],
          "securityContext": {
            "fsGroup": 65534,
            "runAsGroup": 65534,
            "runAsNonRoot": true,
            "runAsUser": 65534,
          },
          "serviceAccountName": "prometheus",
          "terminationGracePeriodSeconds": 60,
          "volumes": [
            {
              "configMap": {
                "name": "config-1",
              },
              "name": "config",
            },
            {
              "emptyDir": {},
              "name": "data",
            },
          ],
        },
      },
    }
  `);
});

test("a volume claim replaces the empty directory", () => {
  const spec = toPrometheusSpec({ ...defaults, storageGibibytes: 10 }, "prometheus:test", "config-1");
  expect((spec.template as { spec: { volumes: unknown[] } }).spec.volumes[1]).toEqual({
    name: "data",
    persistentVolumeClaim: { claimName: "prometheus-data" },
  });
});

test("the node exporter DaemonSet", () => {
  expect(toNodeExporterSpec("node-exporter:test")).toMatchInlineSnapshot(`
    {
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "node-exporter",
        },
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "node-exporter",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "automountServiceAccountToken": false,
          "containers": [
            {
              "args": [
                "--path.rootfs=/host",
                "--path.procfs=/host/proc",
                "--path.sysfs=/host/sys",
                "--web.listen-address=:9100",
                "--collector.filesystem.mount-points-exclude=^/(dev|proc|run|sys|var/lib/(kubelet|rancher|containerd))($|/)",
                "--collector.netclass.ignored-devices=^(veth|cali|lxc).*$",
                "--collector.netdev.device-exclude=^(veth|cali|lxc).*$",
              ],
              "image": "node-exporter:test",
              "name": "node-exporter",
              "ports": [
                {
                  "containerPort": 9100,
                  "hostPort": 9100,
                  "name": "node",
                },
              ],
              "readinessProbe": {
                "httpGet": {
                  "path": "/",
                  "port": 9100,
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "128Mi",
                },
                "requests": {
                  "cpu": "20m",
                  "memory": "32Mi",
                },
              },
              "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {
                  "drop": [
                    "ALL",
                  ],
                },
                "readOnlyRootFilesystem": true,
              },
              "volumeMounts": [
                {
                  "mountPath": "/host",
                  "mountPropagation": "HostToContainer",
                  "name": "root",
                  "readOnly": true,
                },
              ],
            },
          ],
          "hostNetwork": true,
          "hostPID": true,
          "securityContext": {
            "runAsGroup": 65534,
            "runAsNonRoot": true,
            "runAsUser": 65534,
          },
          "tolerations": [
            {
              "operator": "Exists",
            },
          ],
          "volumes": [
            {
              "hostPath": {
                "path": "/",
              },
              "name": "root",
            },
          ],
        },
      },
    }
  `);
});

test("it may read metrics and look up targets, and nothing else", () => {
  const all = [...prometheusRules, ...apiServerRules];
  expect(new Set(all.flatMap(({ verbs }) => verbs as string[]))).toEqual(new Set(["get", "list", "watch"]));
  expect(all.flatMap((rule) => [rule.resources ?? rule.nonResourceURLs]).flat()).toEqual([
    "nodes",
    "pods",
    "nodes/metrics",
    "/metrics",
    "services",
    "endpointslices",
  ]);
});

test("an external one needs an address", () => {
  expect(() =>
    parseConfig(prometheusSchema, { mode: "external" }, { file: "x" }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x: 1 problem
      - url: missing; mode external needs the address under which pods reach it]
  `);
});

test("the objects", async () => {
  const { resources } = await record(() => {
    new Prometheus("prometheus", {
      config: { ...defaults, storageGibibytes: 20 },
      storageClass: "local-path",
      images: { prometheus: "prometheus:test", nodeExporter: "node-exporter:test" },
      scrapedParts: [],
      protect: true,
    });
  });
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:DaemonSet prometheus-node-exporter",
      "kubernetes:apps/v1:Deployment prometheus-server",
      "kubernetes:core/v1:ConfigMap prometheus-config",
      "kubernetes:core/v1:Namespace prometheus-namespace",
      "kubernetes:core/v1:PersistentVolumeClaim prometheus-data",
      "kubernetes:core/v1:Service prometheus-service",
      "kubernetes:core/v1:ServiceAccount prometheus-account",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole prometheus-role",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding prometheus-binding",
      "kubernetes:rbac.authorization.k8s.io/v1:Role prometheus-api-server-role",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding prometheus-api-server-binding",
      "llmeval:cluster:Prometheus prometheus",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
  const claim = resources.find(({ name }) => name === "prometheus-data");
  expect(claim?.inputs["spec"]).toEqual({
    accessModes: ["ReadWriteOnce"],
    storageClassName: "local-path",
    resources: { requests: { storage: "20Gi" } },
  });
  const role = resources.find(({ name }) => name === "prometheus-api-server-role");
  expect(role?.inputs["metadata"]).toMatchObject({ namespace: "default" });
});

test("Prometheus itself accepts the configuration", async () => {
  const server = await startPrometheus(
    yaml.parse(toConfigText({ config: defaults, scrapedParts: allParts })),
  );
  try {
    const loaded = (await (await fetch(`${server.url}/api/v1/status/config`)).json()) as {
      data: { yaml: string };
    };
    const names = (yaml.parse(loaded.data.yaml) as { scrape_configs: Job[] }).scrape_configs;
    expect(names.map(({ job_name }) => job_name)).toEqual(jobs(allParts).map(({ job_name }) => job_name));
  } finally {
    await server.dispose();
  }
});

/** A port of a pod as service discovery describes it. */
interface PodPort {
  readonly pod: string;
  readonly port: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly phase?: string;
}

const name = "app.kubernetes.io/name";
const podPorts: readonly PodPort[] = [
  { pod: "ray-head", port: "metrics", labels: { "ray.io/cluster": "llm", [name]: "kuberay" } },
  { pod: "ray-head", port: "serve", labels: { "ray.io/cluster": "llm", [name]: "kuberay" } },
  { pod: "ray-worker", port: "engine-metrics", labels: { "ray.io/cluster": "llm" } },
  { pod: "vllm-alone", port: "engine-metrics", labels: { app: "vllm" } },
  { pod: "some-exporter", port: "http-metrics", labels: { app: "some" } },
  { pod: "ended-exporter", port: "metrics", labels: { app: "some" }, phase: "Succeeded" },
  { pod: "kube-state-metrics", port: "http-metrics", labels: { [name]: "kube-state-metrics" } },
  { pod: "kube-state-metrics", port: "telemetry", labels: { [name]: "kube-state-metrics" } },
  { pod: "dcgm-exporter", port: "metrics", labels: { app: "nvidia-dcgm-exporter" } },
  { pod: "cilium", port: "prometheus", labels: { "k8s-app": "cilium" } },
  { pod: "cilium", port: "hubble-metrics", labels: { "k8s-app": "cilium" } },
  { pod: "cilium-envoy", port: "envoy-metrics", labels: { "k8s-app": "cilium-envoy" } },
  { pod: "cilium-operator", port: "prometheus", labels: { "io.cilium/app": "operator" } },
  { pod: "ztunnel", port: "ztunnel-stats", labels: { app: "ztunnel" } },
  {
    pod: "waypoint",
    port: "http-envoy-prom",
    labels: { "gateway.networking.k8s.io/gateway-name": "waypoint" },
  },
  { pod: "istiod", port: "http-monitoring", labels: { app: "istiod" } },
  { pod: "kuberay-operator", port: "http", labels: { [name]: "kuberay-operator" } },
  {
    pod: "chaos-controller-manager",
    port: "http",
    labels: { [name]: "chaos-mesh", "app.kubernetes.io/component": "controller-manager" },
  },
  {
    pod: "chaos-dashboard",
    port: "http",
    labels: { [name]: "chaos-mesh", "app.kubernetes.io/component": "chaos-dashboard" },
  },
  { pod: "otel-agent", port: "metrics", labels: { [name]: "otel-agent" } },
  { pod: "loki", port: "http-metrics", labels: { [name]: "loki" } },
];

/** The jobs that look for pods, with the ports above in place of service discovery. */
function withPodPorts(parts: readonly ScrapedPart[]): Record<string, unknown> {
  const static_configs = podPorts.map(({ pod, port, labels, phase }, index) => ({
    targets: [`127.0.0.1:${index + 1}`],
    labels: {
      __meta_kubernetes_namespace: "test",
      __meta_kubernetes_pod_name: pod,
      __meta_kubernetes_pod_container_name: "main",
      __meta_kubernetes_pod_node_name: "node-1",
      __meta_kubernetes_pod_phase: phase ?? "Running",
      __meta_kubernetes_pod_container_port_name: port,
      ...Object.fromEntries(
        Object.entries(labels).map(([label, value]) => [
          `__meta_kubernetes_pod_label_${label.replace(/[./-]/g, "_")}`,
          value,
        ]),
      ),
    },
  }));
  const scrape_configs = jobs(parts)
    .filter((job) => JSON.stringify(job).includes('"role":"pod"'))
    .map((job) => ({ ...job, kubernetes_sd_configs: undefined, static_configs }));
  return { scrape_configs };
}

/** `pod port` by the job that scrapes it. */
async function targetsByJob(parts: readonly ScrapedPart[]): Promise<Record<string, string[]>> {
  const server = await startPrometheus(withPodPorts(parts));
  try {
    // Discovery reports its first targets after 5 s.
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const { data } = (await (await fetch(`${server.url}/api/v1/targets?state=active`)).json()) as {
        data: {
          activeTargets: { labels: Record<string, string>; discoveredLabels: Record<string, string> }[];
        };
      };
      if (data.activeTargets.length > 0) {
        const found: Record<string, string[]> = {};
        for (const { labels, discoveredLabels } of data.activeTargets) {
          const port = discoveredLabels["__meta_kubernetes_pod_container_port_name"];
          const pod = discoveredLabels["__meta_kubernetes_pod_name"];
          found[labels["job"] ?? ""] = [...(found[labels["job"] ?? ""] ?? []), `${pod} ${port}`].sort();
        }
        return found;
      }
      await delay(200);
    }
    throw new Error("no targets");
  } finally {
    await server.dispose();
  }
}

test("each port with metrics is scraped by one job", async () => {
  expect(await targetsByJob(allParts)).toEqual({
    ray: ["ray-head metrics"],
    engine: ["ray-worker engine-metrics", "vllm-alone engine-metrics"],
    pods: ["some-exporter http-metrics"],
    "kube-state-metrics": ["kube-state-metrics http-metrics"],
    "dcgm-exporter": ["dcgm-exporter metrics"],
    "cilium-agent": ["cilium prometheus"],
    hubble: ["cilium hubble-metrics"],
    "cilium-envoy": ["cilium-envoy envoy-metrics"],
    "cilium-operator": ["cilium-operator prometheus"],
    ztunnel: ["ztunnel ztunnel-stats"],
    waypoint: ["waypoint http-envoy-prom"],
    istiod: ["istiod http-monitoring"],
    "kuberay-operator": ["kuberay-operator http"],
    "chaos-mesh": ["chaos-controller-manager http"],
    "otel-collector": ["otel-agent metrics"],
    loki: ["loki http-metrics"],
  });
});

test("samples about others do not get the labels of the pod that they come from", () => {
  const labelled = (job: string): unknown[] =>
    (
      (jobs(allParts).find(({ job_name }) => job_name === job)?.relabel_configs ?? []) as {
        target_label?: string;
      }[]
    )
      .map(({ target_label }) => target_label)
      .filter((label) => label !== undefined);
  expect(labelled("kube-state-metrics")).toEqual([]);
  expect(labelled("dcgm-exporter")).toEqual(["node"]);
  expect(labelled("loki")).toContain("pod");
  expect(jobs(allParts).flatMap((job) => (job.honor_labels ? [job.job_name] : []))).toEqual([
    "kube-state-metrics",
    "dcgm-exporter",
  ]);
});

describe("samples that are stored", () => {
  // One line of each kind that an exporter sends; the value says whether it is to be stored.
  const exposed: Readonly<Record<string, string>> = {
    cadvisor: `
container_cpu_usage_seconds_total{container="main",pod="p",namespace="n",id="/a",name="c1",image="i",cpu="total"} 1
container_cpu_cfs_throttled_periods_total{container="main",pod="p",namespace="n",id="/a",name="c1",image="i"} 1
container_memory_working_set_bytes{container="main",pod="p",namespace="n",id="/a"} 1
container_memory_failures_total{container="main",pod="p",namespace="n",id="/a",failure_type="pgmajfault",scope="container"} 1
container_memory_failures_total{container="main",pod="p",namespace="n",id="/a",failure_type="pgfault",scope="container"} 0
container_memory_failures_total{container="main",pod="p",namespace="n",id="/a",failure_type="pgmajfault",scope="hierarchy"} 0
container_oom_events_total{container="main",pod="p",namespace="n",id="/a"} 1
container_pressure_cpu_waiting_seconds_total{container="main",pod="p",namespace="n",id="/a"} 1
container_network_receive_bytes_total{container="",pod="p",namespace="n",id="/p",interface="eth0"} 1
container_network_transmit_packets_dropped_total{container="POD",pod="q",namespace="n",id="/q",interface="eth0"} 1
container_network_receive_bytes_total{container="",pod="host",namespace="n",id="/h",interface="veth12ab"} 0
container_memory_working_set_bytes{container="",pod="p",namespace="n",id="/p"} 0
container_cpu_usage_seconds_total{container="POD",pod="p",namespace="n",id="/p/s"} 0
container_cpu_usage_seconds_total{container="",pod="",namespace="",id="/system.slice/sshd.service"} 0
container_tasks_state{container="main",pod="p",namespace="n",id="/a",state="running"} 0
container_blkio_device_usage_total{container="main",pod="p",namespace="n",id="/a",operation="Read"} 0
machine_cpu_cores 0
`,
    "kubelet-resource": `
pod_memory_working_set_bytes{pod="p",namespace="n"} 1
container_memory_working_set_bytes{container="main",pod="p",namespace="n"} 0
`,
    kubelet: `
kubelet_volume_stats_used_bytes{persistentvolumeclaim="c",namespace="n"} 1
apiserver_request_duration_seconds_bucket{verb="GET",le="1"} 0
`,
    apiserver: `
apiserver_request_total{verb="GET",code="200"} 1
apiserver_request_duration_seconds_sum{verb="GET"} 1
apiserver_request_duration_seconds_bucket{verb="GET",le="1"} 0
etcd_request_duration_seconds_bucket{operation="get",le="1"} 0
`,
    ray: `
ray_serve_http_request_latency_ms_bucket{le="10"} 1
ray_vllm_time_to_first_token_seconds_bucket{le="10"} 1
ray_node_cpu_utilization 1
ray_grpc_server_req_process_time_ms_bucket{Method="a",le="10"} 0
ray_operation_run_time_ms_bucket{Method="a",le="10"} 0
`,
    "kube-state-metrics": `
llmeval_fault_condition{namespace="n",kind="StressChaos",condition="AllInjected",customresource_kind="StressChaos",customresource_version="v1alpha1"} 1
kube_pod_status_ready{namespace="n",pod="p",condition="true"} 1
`,
    "cilium-agent": `
cilium_drop_count_total{reason="Policy denied"} 1
cilium_agent_api_process_time_seconds_bucket{le="1"} 0
`,
    waypoint: `
istio_requests_total{source_workload="a",response_code="200"} 1
istio_request_duration_milliseconds_bucket{source_workload="a",le="10"} 1
istio_requests_total{source_address="10.0.0.1:41234"} 0
istio_tcp_sent_bytes_total{destination_address="10.0.0.1:8000"} 0
istio_request_bytes_bucket{source_workload="a",le="10"} 0
envoy_cluster_upstream_cx_connect_fail{cluster="a"} 1
envoy_listener_downstream_cx_length_ms_bucket{le="1"} 0
`,
    loki: `
loki_build_info 1
loki_request_duration_seconds_bucket{le="1"} 0
`,
  };
  let exporter: Server;
  let server: PrometheusServer;
  let stored: { metric: Record<string, string>; value: [number, string] }[];

  beforeAll(async () => {
    exporter = createServer((request, response) => {
      response.setHeader("content-type", "text/plain; version=0.0.4");
      response.end(exposed[request.url?.slice(1) ?? ""] ?? "");
    });
    await new Promise<void>((resolve) => exporter.listen(0, "127.0.0.1", resolve));
    const { port } = exporter.address() as AddressInfo;
    server = await startPrometheus({
      global: { scrape_interval: "1s", scrape_timeout: "1s" },
      scrape_configs: Object.keys(exposed).map((job) => ({
        job_name: job,
        metrics_path: `/${job}`,
        metric_relabel_configs: jobs(allParts).find(({ job_name }) => job_name === job)
          ?.metric_relabel_configs,
        static_configs: [{ targets: [`127.0.0.1:${port}`] }],
      })),
    });
    const query = '{__name__!~"up|scrape_.+",job!=""}';
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const up = (await server.post("/api/v1/query", { query: "up == 1" })).data as { result: unknown[] };
      const answer = (await server.post("/api/v1/query", { query })).data as { result: typeof stored };
      stored = answer.result;
      if (up.result.length === Object.keys(exposed).length) break;
      await delay(200);
    }
  });
  afterAll(async () => {
    await server.dispose();
    exporter.close();
  });

  test.each(Object.keys(exposed))("of %s: what tells of a fault, and not what grows without bound", (job) => {
    const expected = (exposed[job] ?? "").split("\n").filter((line) => line.endsWith(" 1")).length;
    const samples = stored.filter(({ metric }) => metric["job"] === job);
    expect(samples.filter(({ value }) => value[1] !== "1")).toEqual([]);
    expect(samples.length).toBe(expected);
  });

  test("labels that only repeat others are gone", () => {
    const labels = new Set(stored.flatMap(({ metric }) => Object.keys(metric)));
    expect(
      [...labels].filter((label) => ["name", "image"].includes(label) || /^customresource/.test(label)),
    ).toEqual([]);
  });
});
