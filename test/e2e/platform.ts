// Looks at the platform's parts as their users do: queries to Prometheus and Loki, spans by OTLP, questions to RBAC.
import { dashboards } from "../../components/cluster/observability/dashboards/index.ts";
import { metricNames } from "../../components/cluster/observability/dashboards/model.ts";
import { canI, type RbacCase } from "./rbac-cases.ts";
import { type Project, ssh } from "./support.ts";

/** Path of a Service behind the API server's proxy, e.g. `monitoring/prometheus:9090`. */
function proxy(service: string, path: string): string {
  const [namespace, name] = service.split("/");
  return `/api/v1/namespaces/${namespace}/services/${name}/proxy${path}`;
}

async function get<T>(project: Project, service: string, path: string): Promise<T> {
  const { stdout } = await project.run("kubectl", ["get", "--raw", proxy(service, path)]);
  return JSON.parse(stdout) as T;
}

const prometheus = "monitoring/prometheus:9090";

/** Targets by job, those that are down with their error. */
export async function targets(project: Project): Promise<{ jobs: string[]; down: string[] }> {
  const { data } = await get<{
    readonly data: {
      readonly activeTargets: readonly {
        readonly scrapePool: string;
        readonly scrapeUrl: string;
        readonly health: string;
        readonly lastError: string;
      }[];
    };
  }>(project, prometheus, "/api/v1/targets?state=active");
  return {
    jobs: [...new Set(data.activeTargets.map(({ scrapePool }) => scrapePool))].sort(),
    down: data.activeTargets
      .filter(({ health }) => health !== "up")
      .map(({ scrapePool, scrapeUrl, lastError }) => `${scrapePool} ${scrapeUrl}: ${lastError}`),
  };
}

/** Metrics of the dashboards (regular expressions of names) that Prometheus has never seen. */
export async function unknownMetrics(project: Project): Promise<string[]> {
  const { data: names } = await get<{ readonly data: readonly string[] }>(
    project,
    prometheus,
    "/api/v1/label/__name__/values",
  );
  const wanted = [...new Set(dashboards.flatMap(metricNames))].sort();
  return wanted.filter((name) => !names.some((known) => new RegExp(`^(?:${name})$`).test(known)));
}

/** Lines of the streams that a selector finds, with their labels, newest first. */
export async function logLines(
  project: Project,
  selector: string,
): Promise<{ readonly labels: Readonly<Record<string, string>>; readonly line: string }[]> {
  const query = new URLSearchParams({ query: selector, limit: "100", since: "1h" });
  const { data } = await get<{
    readonly data: {
      readonly result: readonly {
        readonly stream: Readonly<Record<string, string>>;
        readonly values: readonly (readonly [string, string])[];
      }[];
    };
  }>(project, "logging/loki:3100", `/loki/api/v1/query_range?${query}`);
  return data.result.flatMap(({ stream, values }) => values.map(([, line]) => ({ labels: stream, line })));
}

/** Sends one span by OTLP as a pod would, and returns the names of the spans that the gateway keeps. */
export async function sendSpan(project: Project, name: string): Promise<string[]> {
  const now = `${BigInt(Date.now()) * 1_000_000n}`;
  const span = {
    traceId: "5b8efff798038103d269b633813fc60c",
    spanId: "eee19b7ec3c1b174",
    name,
    kind: 2,
    startTimeUnixNano: now,
    endTimeUnixNano: now,
  };
  const body = {
    resourceSpans: [
      {
        resource: { attributes: [{ key: "service.name", value: { stringValue: "test" } }] },
        scopeSpans: [{ spans: [span] }],
      },
    ],
  };
  const { spec } = await project.kubectl<{ readonly spec: { readonly clusterIP: string } }>(
    ...["get", "service", "otel-gateway", "-n", "opentelemetry"],
  );
  // From a host, which reaches Services as pods do.
  const address = `http://${spec.clusterIP}:4318/v1/traces`;
  await ssh(
    "server-1",
    `curl -fsS -H 'Content-Type: application/json' -d '${JSON.stringify(body)}' ${address}`,
  );
  const { stdout } = await project.run("kubectl", [
    ...["get", "--raw", proxy("opentelemetry/otel-gateway:8080", "/traces.jsonl")],
  ]);
  return [...stdout.matchAll(/"name":"([^"]+)"/g)].map(([, found]) => found ?? "");
}

/** Those questions that are answered otherwise than expected. */
export async function wrongAnswers(project: Project, cases: readonly RbacCase[]): Promise<string[]> {
  const wrong: string[] = [];
  const queue = [...cases];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [, , , , expected] = next;
      // kubectl ends with status 1 for "no".
      await project
        .run("kubectl", canI(next), { timeoutMs: 30_000, expectedCode: expected === "yes" ? 0 : 1 })
        .catch(() => wrong.push(next.join(" ")));
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  return wrong;
}
