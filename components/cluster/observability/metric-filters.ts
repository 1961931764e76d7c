// Which samples are stored: filters that keep a job's number of series bounded, and every sign of a fault.

import { drop, keep, labelDrop, type Relabeling } from "./relabeling.ts";

/** A regular expression that matches any of the given ones. */
function anyOf(...patterns: readonly string[]): string {
  return patterns.join("|");
}

/**
 * cAdvisor by a list of what to keep: use of CPU, memory, disk and network by container and pod, throttling, page
 * faults from disk, pressure and out-of-memory kills. Left out are families with one series per task state, per
 * device operation, per NUMA node, per huge page size, per TCP state or per ulimit: the bulk of cAdvisor, and no sign
 * of any fault.
 */
export const cadvisorFilter: readonly Relabeling[] = [
  // Of the failures per type and scope only major page faults stay: they tell of memory that came back from disk.
  keep(
    ["__name__", "failure_type", "scope"],
    `container_(${anyOf(
      "cpu_(usage|user|system)_seconds_total",
      "cpu_cfs_(periods|throttled_periods|throttled_seconds)_total",
      "memory_(working_set_bytes|usage_bytes|rss|cache|swap|mapped_file|failcnt)",
      "oom_events_total",
      "pressure_(cpu|memory|io)_(stalled|waiting)_seconds_total",
      "fs_(reads|writes)(_bytes)?_total",
      "fs_usage_bytes",
      "network_(receive|transmit)_(bytes|packets|packets_dropped|errors)_total",
      "(processes|threads|sockets|file_descriptors)",
      "start_time_seconds",
      "spec_(cpu_quota|cpu_period|memory_limit_bytes)",
    )});;|container_memory_failures_total;pgmajfault;container`,
  ),
  // Slices of systemd and the sums over a node: one series per unit of the host, and node exporter says the same.
  drop("pod", ""),
  // Sums over a pod and its pause container; only the network is counted there and nowhere else.
  drop(
    ["__name__", "container"],
    "container_(cpu|memory|oom|pressure|fs|processes|threads|sockets|file|start|spec).*;(POD)?",
  ),
  // A pod in the host's network would repeat every interface of the node, and there is one per other pod.
  drop("interface", "(veth|lxc|cali|cilium|cni|flannel|tunl|nodelocaldns|kube-ipvs|docker|br-).*"),
  // The cgroup's path in `id` tells containers apart already; both others are new with each start as well.
  labelDrop("name|image"),
];

/** What cAdvisor does not have: pods' sums as the kubelet sees them, swap, and start times. */
export const kubeletResourceFilter: readonly Relabeling[] = [
  keep(
    "__name__",
    anyOf(
      "(node|pod)_(cpu_usage_seconds_total|memory_working_set_bytes|swap_usage_bytes)",
      "resource_scrape_error",
    ),
  ),
];

/**
 * Volumes, pods and the kubelet's own work. By a list, because K3s runs all of Kubernetes in one process and answers
 * with the API server's histograms here too.
 */
export const kubeletFilter: readonly Relabeling[] = [
  keep(
    "__name__",
    anyOf(
      "kubelet_volume_stats_(available|capacity|used)_bytes",
      "kubelet_(running_pods|running_containers|evictions|started_pods_errors_total)",
      "kubelet_(pleg_relist|pod_start|pod_worker)_duration_seconds_(sum|count)",
      "kubelet_runtime_operations_errors_total",
    ),
  ),
];

/** Load and errors of the API server, without its histograms: tens of thousands of series. */
export const apiServerFilter: readonly Relabeling[] = [
  keep(
    "__name__",
    anyOf(
      "apiserver_(request_total|current_inflight_requests|storage_objects|storage_size_bytes)",
      "apiserver_request_duration_seconds_(sum|count)",
      "process_(cpu_seconds_total|resident_memory_bytes|start_time_seconds)",
    ),
  ),
];

/** Without the buckets of Ray's own remote calls: about twenty for each method and process, and no part of a request. */
export const rayFilter: readonly Relabeling[] = [
  drop("__name__", "ray_(grpc_.+|operation_.+|scheduler_.+|gcs_.+|internal_.+)_bucket"),
];

/** Without labels that only repeat `kind` for the objects that we describe ourselves. */
export const kubeStateMetricsFilter: readonly Relabeling[] = [
  labelDrop("customresource_(group|kind|version)"),
];

/** The agent without buckets of its own API and map operations; hubble keeps its buckets, they time the traffic. */
export const ciliumFilter: readonly Relabeling[] = [drop("__name__", "(cilium|go|envoy)_.+_bucket")];

/**
 * Traffic between workloads, and what the proxy says of its upstreams. An address with a port is a new series for
 * each connection. Such series are dropped and not stripped of the label: several would become one, with wrong counts.
 */
export const istioFilter: readonly Relabeling[] = [
  keep(
    "__name__",
    anyOf(
      "istio_.+",
      "pilot_(xds|xds_pushes|xds_push_errors|proxy_convergence_time_sum|proxy_convergence_time_count)",
      "workload_manager_.+",
      "envoy_server_(live|uptime|memory_allocated)",
      "envoy_cluster_upstream_(cx_active|cx_connect_fail|rq_pending_overflow|rq_retry|rq_timeout)",
      "process_(cpu_seconds_total|resident_memory_bytes)",
    ),
  ),
  drop("source_address", ".+:[0-9]+"),
  drop("destination_address", ".+:[0-9]+"),
  drop("__name__", "istio_(request|response)_bytes_bucket"),
];

/** Counts and sums of the platform's own programs, without their buckets. */
export const platformFilter: readonly Relabeling[] = [drop("__name__", ".+_bucket")];
