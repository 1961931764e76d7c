// Specs of the parts inside the cluster, to the last field.

import { expect, test } from "vitest";
import * as yaml from "yaml";
import { clusterConfigSchema } from "../../../components/cluster/config.ts";
import { toKubeRayRelease } from "../../../components/cluster/kuberay.ts";
import {
  toNodeExporterSpec,
  toPrometheusArgs,
  toPrometheusSpec,
  toScrapeConfig,
} from "../../../components/cluster/prometheus.ts";
import { parseConfig } from "../../../components/config-problems.ts";

const { kuberay, prometheus } = parseConfig(clusterConfigSchema, {}, { file: "x" });

test("the scrape configuration", () => {
  expect(
    yaml.stringify(toScrapeConfig(prometheus), { lineWidth: 0, aliasDuplicateObjects: false }),
  ).toMatchInlineSnapshot(`
    "global:
      scrape_interval: 5s
      scrape_timeout: 5s
    scrape_configs:
      - job_name: prometheus
        static_configs:
          - targets:
              - localhost:9090
      - job_name: ray
        kubernetes_sd_configs:
          - role: pod
        fallback_scrape_protocol: PrometheusText0.0.4
        relabel_configs:
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_label_ray_io_cluster
            regex: .+
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_container_port_name
            regex: (.+-)?metrics
          - action: drop
            source_labels:
              - __meta_kubernetes_pod_container_port_name
            regex: engine-metrics
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_phase
            regex: Pending|Running
          - source_labels:
              - __meta_kubernetes_namespace
            target_label: namespace
          - source_labels:
              - __meta_kubernetes_pod_name
            target_label: pod
          - source_labels:
              - __meta_kubernetes_pod_container_name
            target_label: container
          - source_labels:
              - __meta_kubernetes_pod_node_name
            target_label: node
          - source_labels:
              - __meta_kubernetes_pod_label_ray_io_cluster
            target_label: ray_io_cluster
          - source_labels:
              - __meta_kubernetes_pod_label_ray_io_node_type
            target_label: ray_io_node_type
      - job_name: engine
        kubernetes_sd_configs:
          - role: pod
        fallback_scrape_protocol: PrometheusText0.0.4
        relabel_configs:
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_container_port_name
            regex: engine-metrics
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_phase
            regex: Pending|Running
          - source_labels:
              - __meta_kubernetes_namespace
            target_label: namespace
          - source_labels:
              - __meta_kubernetes_pod_name
            target_label: pod
          - source_labels:
              - __meta_kubernetes_pod_container_name
            target_label: container
          - source_labels:
              - __meta_kubernetes_pod_node_name
            target_label: node
          - source_labels:
              - __meta_kubernetes_pod_label_ray_io_cluster
            target_label: ray_io_cluster
          - source_labels:
              - __meta_kubernetes_pod_label_ray_io_node_type
            target_label: ray_io_node_type
      - job_name: pods
        kubernetes_sd_configs:
          - role: pod
        fallback_scrape_protocol: PrometheusText0.0.4
        relabel_configs:
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_label_ray_io_cluster
            regex: ""
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_container_port_name
            regex: (.+-)?metrics
          - action: drop
            source_labels:
              - __meta_kubernetes_pod_container_port_name
            regex: engine-metrics
          - action: keep
            source_labels:
              - __meta_kubernetes_pod_phase
            regex: Pending|Running
          - source_labels:
              - __meta_kubernetes_namespace
            target_label: namespace
          - source_labels:
              - __meta_kubernetes_pod_name
            target_label: pod
          - source_labels:
              - __meta_kubernetes_pod_container_name
            target_label: container
          - source_labels:
              - __meta_kubernetes_pod_node_name
            target_label: node
          - source_labels:
              - __meta_kubernetes_pod_label_ray_io_cluster
            target_label: ray_io_cluster
          - source_labels:
              - __meta_kubernetes_pod_label_ray_io_node_type
            target_label: ray_io_node_type
      - job_name: cadvisor
        scheme: https
        metrics_path: /metrics/cadvisor
        authorization:
          credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token
        tls_config:
          insecure_skip_verify: true
        honor_timestamps: true
        kubernetes_sd_configs:
          - role: node
        relabel_configs:
          - source_labels:
              - __meta_kubernetes_node_name
            target_label: node
        metric_relabel_configs:
          - action: drop
            source_labels:
              - __name__
            regex: container_(tasks_state|memory_failures_total|blkio_device_usage_total)
      - job_name: node
        kubernetes_sd_configs:
          - role: node
        relabel_configs:
          - source_labels:
              - __meta_kubernetes_node_name
            target_label: node
          - source_labels:
              - __meta_kubernetes_node_address_InternalIP
            target_label: __address__
            replacement: $1:9100
    "
  `);
});

test("retention by time, and by size when there is a volume", () => {
  expect(toPrometheusArgs({ ...prometheus, retention: "2d", storageGibibytes: 100 })).toEqual([
    "--config.file=/etc/prometheus/prometheus.yml",
    "--storage.tsdb.path=/prometheus",
    "--storage.tsdb.retention.time=2d",
    "--storage.tsdb.retention.size=81920MB",
    "--web.listen-address=:9090",
  ]);
});

test("the Prometheus Deployment", () => {
  expect(toPrometheusSpec(prometheus, "prometheus:test", "config-1")).toMatchInlineSnapshot(`
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
  const spec = toPrometheusSpec({ ...prometheus, storageGibibytes: 10 }, "prometheus:test", "config-1");
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

test("the KubeRay release", () => {
  expect(toKubeRayRelease(kuberay, "10.0.0.9:5000/operator@sha256:0123")).toMatchInlineSnapshot(`
    {
      "atomic": false,
      "chart": "kuberay-operator",
      "maxHistory": 5,
      "name": "kuberay-operator",
      "repositoryOpts": {
        "repo": "https://ray-project.github.io/kuberay-helm/",
      },
      "timeout": 300,
      "values": {
        "image": {
          "pullPolicy": "IfNotPresent",
          "repository": "10.0.0.9:5000/operator@sha256",
          "tag": "0123",
        },
        "resources": {
          "limits": {
            "cpu": "1",
            "memory": "512Mi",
          },
          "requests": {
            "cpu": "50m",
            "memory": "64Mi",
          },
        },
      },
      "version": "1.7.0",
    }
  `);
});
