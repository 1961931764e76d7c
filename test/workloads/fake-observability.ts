// Fakes of what a cluster may have beside Prometheus: Loki, the gateway's trace files, DeepFlow's querier.
import type { LogLine } from "../../workloads/collector/loki.ts";
import { type FakeServer, fakeServer, type Reply } from "./support.ts";

/** Answers as Loki does: the start inside, the end not, oldest first, at most `limit` lines; a count by [end - range, end). */
export function fakeLoki(
  lines: readonly LogLine[],
  options: { readonly counts?: number; readonly fails?: number } = {},
): Promise<FakeServer> {
  let pages = 0;
  return fakeServer((_, url): Reply | undefined => {
    const namespace = /namespace="([^"]+)"/.exec(url.searchParams.get("query") ?? "")?.[1];
    const own = lines.filter(({ labels }) => labels["namespace"] === namespace);
    if (url.pathname === "/loki/api/v1/query") {
      const range = BigInt(/\[(\d+)ms\]/.exec(url.searchParams.get("query") ?? "")?.[1] ?? 0) * 1_000_000n;
      const time = BigInt(url.searchParams.get("time") ?? 0);
      const inside = own.filter(({ unixNs }) => BigInt(unixNs) > time - range && BigInt(unixNs) <= time);
      const count = options.counts ?? inside.length;
      return { json: { data: { result: count === 0 ? [] : [{ metric: {}, value: [0, String(count)] }] } } };
    }
    if (url.pathname !== "/loki/api/v1/query_range") return undefined;
    pages += 1;
    if (pages === options.fails) return { status: 400, body: "maximum of bytes read reached" };
    const start = BigInt(url.searchParams.get("start") ?? 0);
    const end = BigInt(url.searchParams.get("end") ?? 0);
    const page = own
      .filter(({ unixNs }) => BigInt(unixNs) >= start && BigInt(unixNs) < end)
      .sort((a, b) => (BigInt(a.unixNs) < BigInt(b.unixNs) ? -1 : a.unixNs === b.unixNs ? 0 : 1))
      .slice(0, Number(url.searchParams.get("limit")));
    // Stream by stream, so that only the reader's own sorting puts them in order.
    const streams = new Map<string, { stream: LogLine["labels"]; values: [string, string][] }>();
    for (const { labels, unixNs, line } of page.reverse()) {
      const key = JSON.stringify(labels);
      const stream = streams.get(key) ?? { stream: labels, values: [] };
      stream.values.unshift([unixNs, line]);
      streams.set(key, stream);
    }
    return { json: { status: "success", data: { resultType: "streams", result: [...streams.values()] } } };
  });
}

/** The reader beside the gateway: a listing, and the files. */
export function fakeTraces(files: Readonly<Record<string, string>>): Promise<FakeServer> {
  return fakeServer((_, url): Reply | undefined => {
    if (url.pathname === "/") {
      return {
        json: Object.entries(files).map(([name, text]) => ({ name, type: "file", sizeBytes: text.length })),
      };
    }
    const text = files[url.pathname.slice(1)];
    return text === undefined ? undefined : { body: text };
  });
}

/** A span as OTLP JSON has it, in a line of its own. */
export function spanLine(namespace: string, name: string, startSeconds: number, endSeconds: number): string {
  const ns = (seconds: number): string => `${Math.round(seconds * 1000)}000000`;
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: [{ key: "k8s.namespace.name", value: { stringValue: namespace } }] },
        scopeSpans: [
          {
            scope: { name: "t" },
            spans: [
              {
                traceId: "01",
                spanId: "02",
                name,
                startTimeUnixNano: ns(startSeconds),
                endTimeUnixNano: ns(endSeconds),
              },
            ],
          },
        ],
      },
    ],
  });
}

export interface FakeFlow {
  readonly time: number;
  readonly pod_0: string;
  readonly pod_ns_0: string;
  readonly pod_ns_1: string;
  readonly [column: string]: unknown;
}

/** Understands the queries that the export makes, and refuses columns that it does not have, as DeepFlow does. */
export function fakeDeepFlow(
  tables: Readonly<
    Record<string, { readonly columns: readonly string[]; readonly flows: readonly FakeFlow[] }>
  >,
  queries: string[] = [],
): Promise<FakeServer> {
  return fakeServer((request, url, body): Reply | undefined => {
    if (url.pathname !== "/v1/query/" || request.method !== "POST") return undefined;
    const form = new URLSearchParams(body);
    const sql = form.get("sql") ?? "";
    queries.push(sql);
    const ok = (columns: readonly string[], values: readonly unknown[][]): Reply => ({
      json: { OPT_STATUS: "SUCCESS", DESCRIPTION: "", result: { columns, values } },
    });
    const refuse = (why: string): Reply => ({
      json: { OPT_STATUS: "FAILED", DESCRIPTION: why, result: null },
    });
    const table = tables[/from (\w+)/i.exec(sql)?.[1] ?? ""];
    if (form.get("db") !== "flow_log" || table === undefined) return refuse("no such table");
    if (sql.startsWith("show metrics")) return ok(["name", "type"], [["response_duration", "delay"]]);
    if (sql.startsWith("show tags")) {
      const sided = table.columns.map((column) => [column.replace(/_[01]$/, ""), column, column]);
      return ok(["name", "client_name", "server_name"], sided);
    }
    const [, list = "", from, to, namespace, limit] =
      /^SELECT (.+) FROM \w+ WHERE time >= (\d+) AND time < (\d+) AND \(pod_ns_0 = '([\w-]+)' OR pod_ns_1 = '[\w-]+'\) ORDER BY time LIMIT (\d+)$/.exec(
        sql,
      ) ?? [];
    if (from === undefined) return refuse(`cannot parse ${sql}`);
    const selected = list.split(", ").map((text) => / AS (\w+)$/.exec(text)?.[1] ?? text);
    const flows = table.flows
      .filter(({ time }) => time >= Number(from) && time < Number(to))
      .filter((flow) => flow.pod_ns_0 === namespace || flow.pod_ns_1 === namespace)
      .sort((a, b) => a.time - b.time)
      .slice(0, Number(limit));
    return ok(
      selected,
      flows.map((flow) => selected.map((column) => flow[column] ?? null)),
    );
  });
}
