// Dashboard of Ray: nodes, actors, tasks, object store, and Serve's proxies, replicas and queues.

import {
  annotations,
  type Dashboard,
  ofNamespaces,
  ofRay,
  percentiles,
  rate,
  sumBy,
  variables,
} from "./model.ts";

const megabyte = 1_000_000;

export const rayDashboard: Dashboard = {
  uid: "llmeval-ray",
  title: "Ray and Ray Serve",
  description: "Ray's nodes, actors, tasks and object store; Serve's proxies, replicas and queues.",
  variables,
  annotations,
  rows: [
    {
      title: "Cluster",
      panels: [
        {
          title: "Workers: asked for and ready",
          unit: "count",
          targets: [
            { expr: ofNamespaces("llmeval_ray_cluster_desired_workers"), legend: "asked for {{name}}" },
            { expr: ofNamespaces("llmeval_ray_cluster_ready_workers"), legend: "ready {{name}}" },
          ],
        },
        {
          title: "CPU of Ray's nodes",
          unit: "percent",
          targets: [{ expr: ofRay("ray_node_cpu_utilization"), legend: "{{pod}}" }],
        },
        {
          title: "Memory of Ray's nodes",
          unit: "bytes",
          targets: [
            { expr: ofRay("ray_node_mem_used"), legend: "used {{pod}}" },
            { expr: ofRay("ray_node_mem_total"), legend: "total {{pod}}" },
          ],
        },
        {
          title: "CPU by component",
          unit: "percent",
          targets: [
            {
              expr: sumBy("pod, Component", ofRay("ray_component_cpu_percentage")),
              legend: "{{Component}} {{pod}}",
            },
          ],
        },
        {
          title: "Resident memory by component",
          unit: "bytes",
          targets: [
            {
              expr: `${megabyte} * ${sumBy("pod, Component", ofRay("ray_component_rss_mb"))}`,
              legend: "{{Component}} {{pod}}",
            },
          ],
        },
        {
          title: "Object store",
          unit: "bytes",
          targets: [
            {
              expr: sumBy("pod, Location", ofRay("ray_object_store_memory")),
              legend: "{{Location}} {{pod}}",
            },
            {
              expr: sumBy("pod", ofRay("ray_resources", 'Name="object_store_memory"')),
              legend: "capacity {{pod}}",
            },
          ],
        },
        {
          title: "Actors",
          unit: "count",
          kind: "stacked",
          targets: [
            {
              expr: sumBy("ray_io_cluster, State", ofRay("ray_actors")),
              legend: "{{State}} {{ray_io_cluster}}",
            },
          ],
        },
        {
          title: "Tasks",
          unit: "count",
          kind: "stacked",
          targets: [
            {
              expr: sumBy("ray_io_cluster, State", ofRay("ray_tasks", 'State!~"FINISHED|FAILED"')),
              legend: "{{State}} {{ray_io_cluster}}",
            },
          ],
        },
      ],
    },
    {
      title: "Serve proxies",
      panels: [
        {
          title: "HTTP requests",
          unit: "perSecond",
          targets: [
            {
              expr: sumBy("pod, status_code", rate(ofRay("ray_serve_num_http_requests_total"))),
              legend: "{{status_code}} {{pod}}",
            },
          ],
        },
        {
          title: "HTTP errors",
          unit: "perSecond",
          targets: [
            {
              expr: sumBy("pod, error_code", rate(ofRay("ray_serve_num_http_error_requests_total"))),
              legend: "{{error_code}} {{pod}}",
            },
          ],
        },
        {
          title: "HTTP latency",
          description: "Of a streamed answer: until its last byte.",
          unit: "milliseconds",
          targets: percentiles("pod", "{{pod}}", ofRay("ray_serve_http_request_latency_ms_bucket")),
        },
      ],
    },
    {
      title: "Serve replicas",
      panels: [
        {
          title: "Healthy replicas",
          unit: "count",
          targets: [
            {
              expr: sumBy("application, deployment", ofRay("ray_serve_deployment_replica_healthy")),
              legend: "{{application}} {{deployment}}",
            },
          ],
        },
        {
          title: "Requests in replicas",
          unit: "count",
          targets: [
            {
              expr: sumBy("deployment, pod, replica", ofRay("ray_serve_replica_processing_queries")),
              legend: "{{deployment}} {{replica}} {{pod}}",
            },
          ],
        },
        {
          title: "Requests waiting for a replica",
          unit: "count",
          targets: [
            {
              expr: sumBy("deployment, pod", ofRay("ray_serve_deployment_queued_queries")),
              legend: "{{deployment}} {{pod}}",
            },
          ],
        },
        {
          title: "Requests by replica",
          unit: "perSecond",
          targets: [
            {
              expr: sumBy("deployment, replica", rate(ofRay("ray_serve_deployment_request_counter_total"))),
              legend: "{{deployment}} {{replica}}",
            },
          ],
        },
        {
          title: "Errors by replica",
          unit: "perSecond",
          targets: [
            {
              expr: sumBy("deployment, replica", rate(ofRay("ray_serve_deployment_error_counter_total"))),
              legend: "{{deployment}} {{replica}}",
            },
          ],
        },
        {
          title: "Latency by deployment",
          unit: "milliseconds",
          targets: percentiles(
            "deployment",
            "{{deployment}}",
            ofRay("ray_serve_deployment_processing_latency_ms_bucket"),
          ),
        },
      ],
    },
  ],
};
