// Turns a dashboard into the JSON that Grafana provisions: ids and places are computed.

import type { Annotation, Dashboard, Panel, Row, Target, Unit, Variable } from "./model.ts";

/** Identifier of the Prometheus data source, as it is provisioned. */
export const prometheusUid = "prometheus";

const datasource = { type: "prometheus", uid: prometheusUid };
const columns = 24;
const panelHeight = 8;
const numberHeight = 4;
const defaultWidth = 8;

/** Of the classic model; Grafana 13 takes it as it is. */
const schemaVersion = 42;

const units: Readonly<Record<Unit, string>> = {
  bytes: "bytes",
  celsius: "celsius",
  cores: "short",
  count: "short",
  hertz: "hertz",
  perSecond: "cps",
  bytesPerSecond: "Bps",
  milliseconds: "ms",
  seconds: "s",
  share: "percentunit",
  percent: "percent",
  watts: "watt",
};

type Json = Record<string, unknown>;

/** The classic JSON model of a dashboard. */
export function toDashboardJson(dashboard: Dashboard): Json {
  return {
    uid: dashboard.uid,
    title: dashboard.title,
    description: dashboard.description,
    tags: ["llm-serving-eval"],
    schemaVersion,
    version: 1,
    editable: false,
    graphTooltip: 1,
    timezone: "utc",
    refresh: "5s",
    time: { from: "now-15m", to: "now" },
    timepicker: { refresh_intervals: ["5s", "10s", "30s", "1m", "5m"] },
    links: [
      {
        type: "dashboards",
        title: "Dashboards",
        tags: ["llm-serving-eval"],
        asDropdown: true,
        includeVars: true,
        keepTime: true,
      },
    ],
    annotations: { list: dashboard.annotations.map(toAnnotation) },
    templating: { list: dashboard.variables.map(toVariable) },
    panels: toPanels(dashboard.rows),
  };
}

/** Rows from top to bottom, panels from left to right; a panel that does not fit starts a new line. */
function toPanels(rows: readonly Row[]): Json[] {
  const panels: Json[] = [];
  let y = 0;
  for (const row of rows) {
    const gridPos = { h: 1, w: columns, x: 0, y };
    panels.push({
      id: panels.length + 1,
      type: "row",
      title: row.title,
      collapsed: false,
      gridPos,
      panels: [],
    });
    y += 1;
    let x = 0;
    let lineHeight = 0;
    for (const panel of row.panels) {
      const w = panel.width ?? defaultWidth;
      const h = panel.kind === "number" ? numberHeight : panelHeight;
      if (x + w > columns) {
        x = 0;
        y += lineHeight;
        lineHeight = 0;
      }
      panels.push(toPanel(panel, panels.length + 1, { h, w, x, y }));
      x += w;
      lineHeight = Math.max(lineHeight, h);
    }
    y += lineHeight;
  }
  return panels;
}

function toPanel(panel: Panel, id: number, gridPos: Json): Json {
  const kind = panel.kind ?? "lines";
  return {
    id,
    type: { lines: "timeseries", stacked: "timeseries", number: "stat", table: "table" }[kind],
    title: panel.title,
    ...(panel.description === undefined ? {} : { description: panel.description }),
    gridPos,
    datasource,
    fieldConfig: {
      defaults: { unit: units[panel.unit], ...toFieldDefaults(kind, panel.unit) },
      overrides: [],
    },
    options: toOptions(kind),
    ...(kind === "table"
      ? { transformations: [{ id: "labelsToFields", options: { mode: "columns" } }] }
      : {}),
    targets: panel.targets.map((target, index) => toTarget(target, index, kind)),
  };
}

function toFieldDefaults(kind: NonNullable<Panel["kind"]>, unit: Unit): Json {
  const range = unit === "share" ? { min: 0, max: 1 } : { min: 0 };
  if (kind === "number" || kind === "table") return {};
  return {
    ...range,
    custom: {
      drawStyle: "line",
      lineWidth: 1,
      fillOpacity: kind === "stacked" ? 40 : 0,
      showPoints: "never",
      // A gap of two scrapes is a failed one and stays visible.
      spanNulls: false,
      stacking: { mode: kind === "stacked" ? "normal" : "none", group: "A" },
    },
  };
}

function toOptions(kind: NonNullable<Panel["kind"]>): Json {
  if (kind === "number") {
    return { reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false }, colorMode: "value" };
  }
  if (kind === "table") return { showHeader: true };
  return {
    legend: { displayMode: "table", placement: "bottom", showLegend: true, calcs: ["mean", "max"] },
    tooltip: { mode: "multi", sort: "desc" },
  };
}

function toTarget(target: Target, index: number, kind: NonNullable<Panel["kind"]>): Json {
  const instant = kind === "table";
  return {
    refId: String.fromCharCode("A".charCodeAt(0) + index),
    datasource,
    editorMode: "code",
    expr: target.expr,
    legendFormat: target.legend,
    instant,
    range: !instant,
    ...(instant ? { format: "table" } : {}),
  };
}

/** With all chosen, series that lack the label are meant too: hence the pattern for all. */
function toVariable({ name, label, selector }: Variable): Json {
  const query = `label_values(${selector}, ${name})`;
  return {
    type: "query",
    name,
    label,
    datasource,
    query: { query, refId: `variable-${name}` },
    definition: query,
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: ".*",
    current: { selected: true, text: ["All"], value: ["$__all"] },
    options: [],
    regex: "",
    hide: 0,
  };
}

function toAnnotation({ name, expr, title, text, color }: Annotation): Json {
  return {
    name,
    datasource,
    enable: true,
    hide: false,
    iconColor: color,
    expr,
    // Ends of a window are as exact as this.
    step: "5s",
    titleFormat: title,
    textFormat: text,
    tagKeys: "namespace",
    useValueForTime: false,
  };
}
