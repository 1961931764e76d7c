// Dashboard of the load: what arrives at Serve and the engine, and whether the load generator itself is held back.

import {
  annotations,
  type Dashboard,
  ofEngine,
  ofNamespaces,
  ofRay,
  percentiles,
  rate,
  sumBy,
  variables,
} from "./model.ts";

/** Pods of the load Job; its own figures are in the results, not in Prometheus. */
const loadPod = 'pod=~"load-.+"';

export const loadDashboard: Dashboard = {
  uid: "llmeval-load",
  title: "Load",
  description: "Requests as the server sees them, and the load generator's own use of its node.",
  variables,
  annotations,
  rows: [
    {
      title: "Requests",
      panels: [
        {
          title: "Requests at the proxies and in the engines",
          description: "The three differ while requests are on their way, in a queue, or lost.",
          unit: "perSecond",
          width: 12,
          targets: [
            {
              expr: sumBy("namespace", rate(ofRay("ray_serve_num_http_requests_total"))),
              legend: "proxies {{namespace}}",
            },
            {
              expr: sumBy("namespace", rate(ofEngine("time_to_first_token_seconds_count"))),
              legend: "first token {{namespace}}",
            },
            {
              expr: sumBy("namespace", rate(ofEngine("request_success(_total)?"))),
              legend: "ended {{namespace}}",
            },
          ],
        },
        {
          title: "Requests in flight",
          unit: "count",
          width: 12,
          targets: [
            {
              expr: sumBy("namespace", ofRay("ray_serve_num_ongoing_http_requests")),
              legend: "proxies {{namespace}}",
            },
            { expr: sumBy("namespace", ofEngine("num_requests_running")), legend: "running {{namespace}}" },
            { expr: sumBy("namespace", ofEngine("num_requests_waiting")), legend: "waiting {{namespace}}" },
          ],
        },
        {
          title: "Share of requests by replica",
          unit: "share",
          targets: [
            {
              expr: `${sumBy("namespace, pod", rate(ofEngine("request_success(_total)?")))} / on (namespace) group_left () ${sumBy("namespace", rate(ofEngine("request_success(_total)?")))}`,
              legend: "{{pod}}",
            },
          ],
        },
        {
          title: "Prompt length in tokens",
          unit: "count",
          targets: percentiles("namespace", "{{namespace}}", ofEngine("request_prompt_tokens_bucket")),
        },
        {
          title: "Answer length in tokens",
          unit: "count",
          targets: percentiles("namespace", "{{namespace}}", ofEngine("request_generation_tokens_bucket")),
        },
      ],
    },
    {
      title: "Load generator",
      panels: [
        {
          title: "CPU",
          description:
            "Near the number of its node's CPUs, requests are sent late: see the lag in the results.",
          unit: "cores",
          targets: [
            {
              expr: sumBy("namespace, pod", rate(ofNamespaces("container_cpu_usage_seconds_total", loadPod))),
              legend: "{{pod}} {{namespace}}",
            },
          ],
        },
        {
          title: "Memory",
          unit: "bytes",
          targets: [
            {
              expr: sumBy("namespace, pod", ofNamespaces("container_memory_working_set_bytes", loadPod)),
              legend: "{{pod}} {{namespace}}",
            },
          ],
        },
        {
          title: "Network",
          unit: "bytesPerSecond",
          targets: [
            {
              expr: sumBy(
                "namespace, pod",
                rate(ofNamespaces("container_network_transmit_bytes_total", loadPod)),
              ),
              legend: "sent {{pod}}",
            },
            {
              expr: sumBy(
                "namespace, pod",
                rate(ofNamespaces("container_network_receive_bytes_total", loadPod)),
              ),
              legend: "received {{pod}}",
            },
          ],
        },
        {
          title: "Jobs at work",
          description: "Gate, load and collector of each experiment.",
          unit: "count",
          width: 24,
          targets: [{ expr: ofNamespaces("kube_job_status_active"), legend: "{{job_name}} {{namespace}}" }],
        },
      ],
    },
  ],
};
