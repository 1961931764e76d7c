// Exports the flows and calls that DeepFlow has seen of the namespace in the window, by its SQL interface.
import { describe } from "../shared/errors.ts";
import { requestJson } from "../shared/http.ts";
import { Budget, type Line, type PartExport, writeLines } from "./export.ts";
import { isOfFaults } from "./labels.ts";
import type { Patience } from "./patience.ts";
import type { Window } from "./prometheus.ts";

export interface FlowsArgs {
  /** Address of the querier. */
  readonly url: string;
  readonly namespace: string;
  readonly window: Window;
  readonly folder: string;
  readonly patience: Patience;
  /** Time for all pages of one table. */
  readonly seconds: number;
  /** Puts the flows of the faults' own pods below faults/. @default false */
  readonly apart?: boolean;
  /** Rows of one answer; a stretch of time that has more is cut in two. @default 10000 */
  readonly pageRows?: number;
}

interface Table {
  readonly columns: readonly string[];
  readonly values: readonly (readonly unknown[])[];
}

/** `x_0` is the client's side, `x_1` the server's. What a version does not know is left out, and told. */
const sides = (names: readonly string[]): string[] => names.flatMap((name) => [`${name}_0`, `${name}_1`]);
const common = [
  "_id",
  "time",
  "start_time",
  "end_time",
  ...sides(["pod", "pod_ns", "pod_node", "pod_service", "auto_instance", "auto_service", "ip"]),
  "client_port",
  "server_port",
  "protocol",
  "observation_point",
  "signal_source",
  "flow_id",
];
export const flowTables: Readonly<
  Record<string, { readonly path: string; readonly columns: readonly string[] }>
> = {
  l7_flow_log: {
    path: "flows/l7.jsonl.gz",
    columns: [
      ...common,
      ...sides(["process_kname", "x_request_id", "syscall_trace_id"]),
      "l7_protocol_str",
      "version",
      "type",
      "is_tls",
      "request_type",
      "request_domain",
      "request_resource",
      "request_id",
      "endpoint",
      "response_status",
      "response_code",
      "response_exception",
      "response_result",
      "trace_id",
      "span_id",
      "parent_span_id",
      "app_service",
      "request_length",
      "response_length",
      "response_duration",
    ],
  },
  l4_flow_log: {
    path: "flows/l4.jsonl.gz",
    columns: [
      ...common,
      "close_type",
      "is_new_flow",
      ...["byte", "packet", "retrans", "zero_win"].flatMap((name) => [`${name}_tx`, `${name}_rx`]),
      "syn_count",
      "synack_count",
      "retrans_syn",
      "rtt",
      "srt_sum",
      "srt_count",
      "art_sum",
      "art_count",
      "duration",
    ],
  },
};

export async function exportFlows(args: FlowsArgs): Promise<PartExport> {
  const files: PartExport["files"][number][] = [];
  const reasons: string[] = [];
  let failed = false;
  for (const [table, { path, columns }] of Object.entries(flowTables)) {
    try {
      const known = await knownColumns(args, table);
      const missing = columns.filter((column) => !known.has(column));
      if (missing.length > 0) reasons.push(`${path}: this DeepFlow has no ${missing.join(", ")}`);
      const wanted = columns.filter((column) => known.has(column));
      const written = await writeLines(args.folder, path, lines(args, table, wanted));
      files.push(...written.files);
      if (written.error !== undefined) throw written.error;
    } catch (error) {
      failed = true;
      reasons.push(`${path}: ${describe(error)}`);
    }
  }
  return { part: "deepflow", state: failed ? "failed" : "exported", files, reasons };
}

/** What can be selected: tags, on one side or both, and metrics. */
async function knownColumns(args: FlowsArgs, table: string): Promise<ReadonlySet<string>> {
  const known = new Set<string>();
  for (const kind of ["tags", "metrics"]) {
    const { columns, values } = await query(args, `show ${kind} from ${table}`);
    const names = ["name", "client_name", "server_name"].map((name) => columns.indexOf(name));
    for (const row of values) for (const at of names) if (at >= 0) known.add(String(row[at]));
  }
  return known;
}

async function* lines(args: FlowsArgs, table: string, columns: readonly string[]): AsyncGenerator<Line> {
  const budget = new Budget(args.seconds);
  const limit = args.pageRows ?? 10_000;
  // Instants come as text of the database's zone otherwise.
  const selected = columns.map((column) =>
    /^(start|end)_time$/.test(column) ? `toUnixTimestamp64Micro(${column}) AS ${column}_us` : column,
  );
  const namespace = `'${args.namespace}'`;
  // Stretches of whole seconds still to be read, the next one last: `time` is the flow's end, in seconds.
  const { startUnixSeconds, endUnixSeconds } = args.window;
  const stretches: [number, number][] = [[Math.floor(startUnixSeconds), Math.ceil(endUnixSeconds)]];
  for (let next = stretches.pop(); next !== undefined; next = stretches.pop()) {
    budget.check();
    const [from, to] = next;
    const answer = await query(
      args,
      `SELECT ${selected.join(", ")} FROM ${table} WHERE time >= ${from} AND time < ${to} ` +
        `AND (pod_ns_0 = ${namespace} OR pod_ns_1 = ${namespace}) ORDER BY time LIMIT ${limit}`,
    );
    if (answer.values.length >= limit) {
      if (to - from <= 1)
        throw new Error(`${limit} flows or more in the second ${from}: the others are missing`);
      const middle = Math.floor((from + to) / 2);
      stretches.push([middle, to], [from, middle]);
      continue;
    }
    for (const values of answer.values) {
      const row = Object.fromEntries(answer.columns.map((column, index) => [column, values[index]]));
      const ofFaults = [row["pod_0"], row["pod_1"]].some((pod) => isOfFaults({ pod: String(pod ?? "") }));
      yield { value: row, ofFaults: args.apart === true && ofFaults };
    }
  }
}

async function query({ url, patience }: FlowsArgs, sql: string): Promise<Table> {
  const answer = await patience.run(() =>
    requestJson<{
      readonly OPT_STATUS?: string;
      readonly DESCRIPTION?: string;
      readonly result?: Table | null;
    }>({
      url: `${url}/v1/query/`,
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ db: "flow_log", sql }).toString(),
      timeoutSeconds: 60,
    }),
  );
  if (answer.OPT_STATUS !== "SUCCESS") {
    throw new Error(
      `DeepFlow answered ${answer.OPT_STATUS ?? "without a status"}: ${answer.DESCRIPTION ?? ""} (${sql})`,
    );
  }
  return { columns: answer.result?.columns ?? [], values: answer.result?.values ?? [] };
}
