// Exports the spans of the namespace in the window from the files that the cluster's OpenTelemetry gateway keeps.
import { createReadStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe } from "../shared/errors.ts";
import { download, requestJson } from "../shared/http.ts";
import { Budget, type Line, type PartExport, writeLines } from "./export.ts";
import type { Patience } from "./patience.ts";
import type { Window } from "./prometheus.ts";

export interface TracesArgs {
  /** Where the gateway's reader lists and serves the files. */
  readonly url: string;
  readonly namespace: string;
  readonly window: Window;
  readonly folder: string;
  readonly patience: Patience;
  /** Time for all files. */
  readonly seconds: number;
}

interface Attribute {
  readonly key: string;
  readonly value?: { readonly stringValue?: string };
}

/** OTLP JSON, as far as it is looked at; the rest is passed on as it is. */
interface ResourceSpans {
  readonly resource?: { readonly attributes?: readonly Attribute[] };
  readonly scopeSpans?: readonly {
    readonly spans?: readonly { readonly startTimeUnixNano?: string; readonly endTimeUnixNano?: string }[];
  }[];
}

const path = "traces/spans.jsonl.gz";

/** The gateway's current file, and those that it has put aside: their names hold when that was, in UTC. */
const current = "traces.jsonl";
const rotated = /^traces-(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d\.\d{3})\.jsonl$/;

export async function exportTraces(args: TracesArgs): Promise<PartExport> {
  const listing = await args.patience.run(() =>
    requestJson<readonly { readonly name: string }[]>({ url: `${args.url}/` }),
  );
  const names = traceFiles(
    listing.map(({ name }) => name),
    args.window,
  );
  const tally = { spans: 0, unreadable: 0 };
  const { files, error } = await writeLines(args.folder, path, lines(args, names, tally));
  const reasons = [
    ...(error === undefined ? [] : [`${path}: ${describe(error)}; ${tally.spans} spans are kept`]),
    ...(tally.unreadable === 0
      ? []
      : [`${path}: ${tally.unreadable} lines of the gateway's files are no JSON`]),
  ];
  if (error !== undefined) return { part: "traces", state: "failed", files, reasons };
  const none = `nobody in namespace ${args.namespace} has sent spans in the window`;
  return {
    part: "traces",
    state: "exported",
    files,
    reasons: tally.spans === 0 ? [...reasons, none] : reasons,
  };
}

/** The files that can hold spans of the window, oldest first: one that was put aside before it cannot. */
export function traceFiles(names: readonly string[], window: Window): readonly string[] {
  const aside = names.filter((name) => {
    const [, date, hours, minutes, seconds] = rotated.exec(name) ?? [];
    return (
      date !== undefined &&
      Date.parse(`${date}T${hours}:${minutes}:${seconds}Z`) / 1000 >= window.startUnixSeconds
    );
  });
  return [...aside.sort(), ...names.filter((name) => name === current)];
}

async function* lines(
  args: TracesArgs,
  names: readonly string[],
  tally: { spans: number; unreadable: number },
): AsyncGenerator<Line> {
  const budget = new Budget(args.seconds);
  const temporary = join(args.folder, "traces", "download.tmp");
  await mkdir(join(args.folder, "traces"), { recursive: true });
  try {
    for (const name of names) {
      budget.check();
      await args.patience.run(() => download({ url: `${args.url}/${name}`, timeoutSeconds: 30 }, temporary));
      for await (const line of createInterface({ input: createReadStream(temporary) })) {
        budget.check();
        for (const kept of ofWindow(line, args, tally)) yield { value: kept, ofFaults: false };
      }
    }
  } finally {
    await rm(temporary, { force: true });
  }
}

function ofWindow(
  line: string,
  { namespace, window }: TracesArgs,
  tally: { spans: number; unreadable: number },
): readonly unknown[] {
  // Most lines are of others: those need not be parsed.
  if (!line.includes(namespace)) return [];
  const startNs = BigInt(Math.round(window.startUnixSeconds * 1000)) * 1_000_000n;
  const endNs = BigInt(Math.round(window.endUnixSeconds * 1000)) * 1_000_000n;
  let parsed: { readonly resourceSpans?: readonly ResourceSpans[] };
  try {
    parsed = JSON.parse(line);
  } catch {
    // The last line of a file that is being written.
    tally.unreadable += 1;
    return [];
  }
  const kept = (parsed.resourceSpans ?? []).flatMap((one) => {
    if (namespaceOf(one) !== namespace) return [];
    const scopeSpans = (one.scopeSpans ?? []).flatMap((scope) => {
      const spans = (scope.spans ?? []).filter(
        ({ startTimeUnixNano = "0", endTimeUnixNano = startTimeUnixNano }) =>
          BigInt(startTimeUnixNano) < endNs && BigInt(endTimeUnixNano) >= startNs,
      );
      tally.spans += spans.length;
      return spans.length === 0 ? [] : [{ ...scope, spans }];
    });
    return scopeSpans.length === 0 ? [] : [{ ...one, scopeSpans }];
  });
  return kept.length === 0 ? [] : [{ resourceSpans: kept }];
}

function namespaceOf({ resource }: ResourceSpans): string | undefined {
  return resource?.attributes?.find(({ key }) => key === "k8s.namespace.name")?.value?.stringValue;
}
