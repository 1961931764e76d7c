// Dashboard of faults: which act, and the signs by which each kind is known on its target and nowhere else.

import {
  annotations,
  type Dashboard,
  increase,
  ofAll,
  ofNamespaces,
  ofPods,
  percentiles,
  rate,
  sumBy,
  variables,
} from "./model.ts";

const byContainer = "namespace, pod, container";
const container = "{{container}} {{pod}}";
/** Names that tell one fault from another. */
const fault = "{{kind}} {{name}} {{namespace}}";

export const faultsDashboard: Dashboard = {
  uid: "llmeval-faults",
  title: "Faults",
  description: "Faults as their injector reports them, and their signs on pods and nodes.",
  variables,
  annotations,
  rows: [
    {
      title: "Injected",
      panels: [
        {
          title: "Faults that act",
          description: "1 while every target has the fault.",
          unit: "count",
          width: 12,
          targets: [
            { expr: ofNamespaces("llmeval_fault_condition", 'condition="AllInjected"'), legend: fault },
          ],
        },
        {
          title: "Injections by target",
          unit: "count",
          width: 12,
          targets: [{ expr: ofNamespaces("llmeval_fault_target_injections"), legend: `{{target}} ${fault}` }],
        },
        {
          title: "Faults",
          unit: "count",
          kind: "table",
          width: 24,
          targets: [{ expr: ofNamespaces("llmeval_fault_info"), legend: fault }],
        },
      ],
    },
    {
      title: "CPU",
      panels: [
        {
          title: "CPU used",
          unit: "cores",
          targets: [
            {
              expr: sumBy(byContainer, rate(ofPods("container_cpu_usage_seconds_total"))),
              legend: container,
            },
          ],
        },
        {
          title: "Share of periods throttled",
          description: "Use stays at the limit under a CPU fault; this is what tells of it.",
          unit: "share",
          targets: [
            {
              expr: `${sumBy(byContainer, rate(ofPods("container_cpu_cfs_throttled_periods_total")))} / ${sumBy(byContainer, rate(ofPods("container_cpu_cfs_periods_total")))}`,
              legend: container,
            },
          ],
        },
        {
          title: "Time waiting for a CPU",
          description: "Pressure stall information: where the kernel has it.",
          unit: "share",
          targets: [
            {
              expr: sumBy(byContainer, rate(ofPods("container_pressure_cpu_waiting_seconds_total"))),
              legend: container,
            },
          ],
        },
      ],
    },
    {
      title: "Memory",
      panels: [
        {
          title: "Working set and its limit",
          unit: "bytes",
          targets: [
            { expr: sumBy(byContainer, ofPods("container_memory_working_set_bytes")), legend: container },
            {
              expr: `${sumBy(byContainer, ofPods("container_spec_memory_limit_bytes"))} > 0`,
              legend: `limit ${container}`,
            },
          ],
        },
        {
          title: "Major page faults",
          unit: "perSecond",
          targets: [
            { expr: sumBy(byContainer, rate(ofPods("container_memory_failures_total"))), legend: container },
          ],
        },
        {
          title: "Out-of-memory kills and restarts",
          unit: "count",
          targets: [
            { expr: increase(ofPods("container_oom_events_total")), legend: `killed ${container}` },
            {
              expr: increase(ofPods("kube_pod_container_status_restarts_total")),
              legend: `restarted ${container}`,
            },
            {
              expr: `${ofPods("kube_pod_container_status_last_terminated_reason", 'reason!="Completed"')} > 0`,
              legend: `{{reason}} ${container}`,
            },
          ],
        },
      ],
    },
    {
      title: "Network",
      panels: [
        {
          title: "Bytes",
          unit: "bytesPerSecond",
          targets: [
            {
              expr: sumBy("namespace, pod", rate(ofPods("container_network_receive_bytes_total"))),
              legend: "in {{pod}}",
            },
            {
              expr: sumBy("namespace, pod", rate(ofPods("container_network_transmit_bytes_total"))),
              legend: "out {{pod}}",
            },
          ],
        },
        {
          title: "Packets dropped and in error",
          unit: "perSecond",
          targets: ["receive", "transmit"].flatMap((direction) =>
            ["packets_dropped", "errors"].map((what) => ({
              expr: sumBy("namespace, pod", rate(ofPods(`container_network_${direction}_${what}_total`))),
              legend: `${direction} ${what} {{pod}}`,
            })),
          ),
        },
        {
          title: "TCP segments sent again",
          description: "By node: the kernel does not count them by pod.",
          unit: "perSecond",
          targets: [
            { expr: rate(ofAll("node_netstat_Tcp_RetransSegs")), legend: "{{node}}" },
            { expr: rate(ofAll("node_netstat_TcpExt_TCPTimeouts")), legend: "timeouts {{node}}" },
          ],
        },
        {
          title: "Time between workloads",
          description: "As the mesh sees it; of a streamed answer until its last byte.",
          unit: "milliseconds",
          targets: percentiles(
            "source_workload, destination_workload",
            "{{source_workload}} to {{destination_workload}}",
            ofNamespaces("istio_request_duration_milliseconds_bucket", 'reporter="waypoint"'),
          ),
        },
        {
          title: "Packets dropped by the network plug-in",
          unit: "perSecond",
          targets: [
            {
              expr: sumBy("node, reason", rate(ofAll("cilium_drop_count_total"))),
              legend: "{{reason}} {{node}}",
            },
          ],
        },
        {
          title: "Resets and connection attempts",
          unit: "perSecond",
          targets: [
            {
              expr: sumBy("node, flag", rate(ofAll("hubble_tcp_flags_total", 'flag=~"RST|SYN"'))),
              legend: "{{flag}} {{node}}",
            },
          ],
        },
      ],
    },
    {
      title: "Pods",
      panels: [
        {
          title: "Not ready",
          unit: "count",
          width: 12,
          targets: [
            {
              expr: `${ofPods("kube_pod_status_ready", 'condition="false"')} > 0`,
              legend: "{{pod}} {{namespace}}",
            },
          ],
        },
        {
          title: "Reading and writing",
          unit: "bytesPerSecond",
          width: 12,
          targets: [
            {
              expr: sumBy(byContainer, rate(ofPods("container_fs_reads_bytes_total"))),
              legend: `read ${container}`,
            },
            {
              expr: sumBy(byContainer, rate(ofPods("container_fs_writes_bytes_total"))),
              legend: `written ${container}`,
            },
          ],
        },
      ],
    },
  ],
};
