// Dashboard of the cluster: nodes, pods, volumes, health of the scrapes, and what the platform itself costs.

import {
  annotations,
  type Dashboard,
  ofAll,
  ofNamespaces,
  rate,
  slowWindow,
  sumBy,
  variables,
} from "./model.ts";

/** Everything outside the namespaces of experiments is the platform. */
const ofPlatform = 'unless on (namespace) kube_namespace_labels{label_llmeval_experiment=~".+"}';
const devices = 'device!~"lo|veth.*|lxc.*|cilium.*|cni.*|flannel.*"';

export const clusterDashboard: Dashboard = {
  uid: "llmeval-cluster",
  title: "Cluster",
  description: "Nodes, pods, volumes and scrapes, and the platform's own share of the hardware.",
  variables,
  annotations,
  rows: [
    {
      title: "Health",
      panels: [
        {
          title: "Targets that do not answer",
          unit: "count",
          kind: "table",
          width: 12,
          targets: [{ expr: `${ofAll("up")} == 0`, legend: "{{job}} {{instance}} {{pod}}" }],
        },
        {
          title: "Nodes not ready",
          unit: "count",
          kind: "number",
          width: 6,
          targets: [
            {
              expr: `count(${ofAll("kube_node_status_condition", 'condition="Ready",status!="true"')} == 1) or vector(0)`,
              legend: "nodes",
            },
          ],
        },
        {
          title: "Targets",
          unit: "count",
          kind: "number",
          width: 6,
          targets: [{ expr: `count(${ofAll("up")})`, legend: "targets" }],
        },
        {
          title: "Time for a scrape",
          unit: "seconds",
          targets: [{ expr: `max by (job) (${ofAll("scrape_duration_seconds")})`, legend: "{{job}}" }],
        },
        {
          title: "Series by job",
          unit: "count",
          kind: "stacked",
          targets: [
            { expr: sumBy("job", ofAll("scrape_samples_post_metric_relabeling")), legend: "{{job}}" },
          ],
        },
        {
          title: "API server: requests by answer",
          unit: "perSecond",
          targets: [
            { expr: sumBy("code", rate(ofAll("apiserver_request_total"), slowWindow)), legend: "{{code}}" },
          ],
        },
      ],
    },
    {
      title: "Nodes",
      panels: [
        {
          title: "CPU in use",
          unit: "share",
          targets: [
            {
              expr: `1 - avg by (node) (${rate(ofAll("node_cpu_seconds_total", 'mode="idle"'))})`,
              legend: "{{node}}",
            },
          ],
        },
        {
          title: "Memory in use",
          unit: "share",
          targets: [
            {
              expr: `1 - ${ofAll("node_memory_MemAvailable_bytes")} / ${ofAll("node_memory_MemTotal_bytes")}`,
              legend: "{{node}}",
            },
          ],
        },
        {
          title: "Load of a minute by CPU",
          unit: "count",
          targets: [
            {
              expr: `${ofAll("node_load1")} / on (node) count by (node) (${ofAll("node_cpu_seconds_total", 'mode="idle"')})`,
              legend: "{{node}}",
            },
          ],
        },
        {
          title: "File systems in use",
          unit: "share",
          targets: [
            {
              expr: `1 - ${ofAll("node_filesystem_avail_bytes", 'fstype!~"tmpfs|ramfs|overlay"')} / ${ofAll("node_filesystem_size_bytes", 'fstype!~"tmpfs|ramfs|overlay"')}`,
              legend: "{{mountpoint}} {{node}}",
            },
          ],
        },
        {
          title: "Disks busy",
          unit: "share",
          targets: [{ expr: rate(ofAll("node_disk_io_time_seconds_total")), legend: "{{device}} {{node}}" }],
        },
        {
          title: "Network",
          unit: "bytesPerSecond",
          targets: [
            {
              expr: rate(ofAll("node_network_receive_bytes_total", devices)),
              legend: "in {{device}} {{node}}",
            },
            {
              expr: rate(ofAll("node_network_transmit_bytes_total", devices)),
              legend: "out {{device}} {{node}}",
            },
          ],
        },
        {
          title: "Clock: offset",
          description: "Times of different hosts compare no better than this.",
          unit: "seconds",
          targets: [{ expr: `abs(${ofAll("node_timex_offset_seconds")})`, legend: "{{node}}" }],
        },
        {
          title: "Accelerators: there and asked for",
          unit: "count",
          targets: [
            {
              expr: sumBy("node", ofAll("kube_node_status_allocatable", 'resource="nvidia_com_gpu"')),
              legend: "there {{node}}",
            },
            {
              expr: sumBy("node", ofAll("kube_pod_container_resource_requests", 'resource="nvidia_com_gpu"')),
              legend: "asked for {{node}}",
            },
          ],
        },
      ],
    },
    {
      title: "Pods and volumes",
      panels: [
        {
          title: "Pods by namespace",
          unit: "count",
          kind: "stacked",
          targets: [
            {
              expr: `${sumBy("namespace, phase", ofNamespaces("kube_pod_status_phase"))} > 0`,
              legend: "{{phase}} {{namespace}}",
            },
          ],
        },
        {
          title: "Volumes in use",
          unit: "share",
          targets: [
            {
              expr: `${ofNamespaces("kubelet_volume_stats_used_bytes")} / ${ofNamespaces("kubelet_volume_stats_capacity_bytes")}`,
              legend: "{{persistentvolumeclaim}} {{namespace}}",
            },
          ],
        },
        {
          title: "Why pods wait",
          unit: "count",
          targets: [
            {
              expr: `${ofNamespaces("kube_pod_container_status_waiting_reason")} > 0`,
              legend: "{{reason}} {{pod}} {{namespace}}",
            },
          ],
        },
      ],
    },
    {
      title: "Cost of the platform",
      panels: [
        {
          title: "CPU used by namespace",
          unit: "cores",
          kind: "stacked",
          targets: [
            {
              expr: `${sumBy("namespace", rate(ofAll("container_cpu_usage_seconds_total")))} ${ofPlatform}`,
              legend: "{{namespace}}",
            },
          ],
        },
        {
          title: "Memory used by namespace",
          unit: "bytes",
          kind: "stacked",
          targets: [
            {
              expr: `${sumBy("namespace", ofAll("container_memory_working_set_bytes"))} ${ofPlatform}`,
              legend: "{{namespace}}",
            },
          ],
        },
        {
          title: "CPU asked for by node",
          unit: "cores",
          kind: "stacked",
          targets: [
            {
              expr: `${sumBy("node, namespace", ofAll("kube_pod_container_resource_requests", 'resource="cpu"'))} ${ofPlatform}`,
              legend: "{{namespace}} {{node}}",
            },
          ],
        },
      ],
    },
  ],
};
