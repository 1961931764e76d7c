// The dashboards: what Grafana gets, and that Prometheus understands every query.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toDashboardJson } from "../../../../components/cluster/observability/dashboards/build.ts";
import { dashboards } from "../../../../components/cluster/observability/dashboards/index.ts";
import {
  type Dashboard,
  expressions,
  metricNames,
  ofEngine,
  rate,
  sumBy,
} from "../../../../components/cluster/observability/dashboards/model.ts";
import { type PrometheusServer, startPrometheus } from "../../../support/prometheus.ts";

interface PanelJson {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly targets?: readonly {
    readonly refId: string;
    readonly expr: string;
    readonly legendFormat: string;
  }[];
}

const small: Dashboard = {
  uid: "llmeval-small",
  title: "Small",
  description: "For this test.",
  variables: [{ name: "namespace", label: "Namespace", selector: 'up{namespace!=""}' }],
  annotations: [{ name: "Faults", expr: "fault{} > 0", title: "{{kind}}", text: "{{name}}", color: "red" }],
  rows: [
    {
      title: "Row",
      panels: [
        {
          title: "Waiting",
          description: "Of each pod.",
          unit: "count",
          width: 12,
          targets: [{ expr: sumBy("pod", ofEngine("num_requests_waiting")), legend: "{{pod}}" }],
        },
        {
          title: "Up",
          unit: "share",
          kind: "table",
          width: 24,
          targets: [{ expr: "up{}", legend: "{{job}}" }],
        },
        {
          title: "Targets",
          unit: "count",
          kind: "number",
          width: 6,
          targets: [{ expr: "count(up{})", legend: "up" }],
        },
      ],
    },
  ],
};

test("a small dashboard, to the last field", () => {
  expect(toDashboardJson(small)).toMatchSnapshot();
});

test("names of metrics are those in braces and the patterns of names", () => {
  expect(metricNames(small)).toEqual(["(ray_)?vllm[:_]num_requests_waiting", "fault", "up"]);
});

test("the six dashboards have addresses of their own that stay", () => {
  expect(dashboards.map(({ uid }) => uid)).toEqual([
    "llmeval-load",
    "llmeval-vllm",
    "llmeval-ray",
    "llmeval-gpu",
    "llmeval-faults",
    "llmeval-cluster",
  ]);
  expect(new Set(dashboards.map(({ title }) => title)).size).toBe(dashboards.length);
});

describe.each(dashboards.map((dashboard) => ({ uid: dashboard.uid, dashboard })))("$uid", ({ dashboard }) => {
  const json = toDashboardJson(dashboard);
  const panels = json["panels"] as readonly PanelJson[];

  test("panels have ids of their own and do not overlap", () => {
    expect(panels.map(({ id }) => id)).toEqual(panels.map((_, index) => index + 1));
    const overlapping = panels.flatMap((one, index) =>
      panels
        .slice(index + 1)
        .flatMap((other) => (overlap(one, other) ? [`${one.title} and ${other.title}`] : [])),
    );
    expect(overlapping).toEqual([]);
    expect(panels.filter(({ gridPos: { x, w } }) => x < 0 || x + w > 24)).toEqual([]);
  });

  test("every panel but a row's title has queries with a legend of their own", () => {
    const charts = panels.filter(({ type }) => type !== "row");
    expect(charts.length).toBeGreaterThan(0);
    for (const { title, targets = [] } of charts) {
      expect(targets.length, title).toBeGreaterThan(0);
      const legends = targets.map(({ legendFormat }) => legendFormat);
      expect(legends, title).not.toContain("");
      expect(new Set(legends).size, title).toBe(legends.length);
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length);
    }
  });

  test("it can be narrowed down, is in UTC, and shows faults and load", () => {
    expect(json).toMatchObject({ timezone: "utc", refresh: "5s", schemaVersion: 42, uid: dashboard.uid });
    expect(dashboard.variables.map(({ name }) => name)).toEqual(["namespace", "ray_io_cluster", "pod"]);
    expect(dashboard.annotations.map(({ name }) => name)).toEqual(["Faults", "Load"]);
  });
});

describe("with Prometheus's own parser", () => {
  let server: PrometheusServer;
  beforeAll(async () => {
    server = await startPrometheus({ scrape_configs: [] });
  });
  afterAll(() => server.dispose());

  test("a wrong query is found to be wrong", async () => {
    const answer = await server.post("/api/v1/query", {
      query: substituted(`${sumBy("pod", rate("up{}"))})`),
    });
    expect(answer).toMatchObject({ status: "error", error: expect.stringContaining("parse error") });
  });

  test.each(dashboards.map((dashboard) => ({ uid: dashboard.uid, dashboard })))(
    "every query of $uid parses, and asks for the metrics that metricNames tells",
    async ({ dashboard }) => {
      const failed: string[] = [];
      const asked = new Set<string>();
      for (const expr of expressions(dashboard)) {
        const query = substituted(expr);
        const { status, error } = await server.post("/api/v1/query", { query });
        if (status !== "success") failed.push(`${expr}: ${error}`);
        const parsed = await server.post("/api/v1/parse_query", { query });
        for (const name of selected(parsed.data)) asked.add(name);
      }
      expect(failed).toEqual([]);
      expect([...asked].sort()).toEqual(metricNames(dashboard));
    },
  );
});

/** As Grafana sends it, with all values chosen. */
function substituted(expr: string): string {
  return expr.replaceAll("$__rate_interval", "20s").replaceAll(/\$(namespace|pod|ray_io_cluster)/g, ".*");
}

/** Names in all selectors of a parsed query, or the patterns for names. */
function selected(node: unknown): string[] {
  if (Array.isArray(node)) return node.flatMap(selected);
  if (typeof node !== "object" || node === null) return [];
  const { matchers, ...rest } = node as { matchers?: readonly { name: string; value: string }[] };
  const names = (matchers ?? []).filter(({ name }) => name === "__name__").map(({ value }) => value);
  return [...names, ...Object.values(rest).flatMap(selected)];
}

function overlap({ gridPos: a }: PanelJson, { gridPos: b }: PanelJson): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
