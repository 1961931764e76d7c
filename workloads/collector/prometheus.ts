// Exports raw samples from Prometheus: instant queries of range selectors, so that timestamps are those of the scrapes.
import { createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip, gzipSync } from "node:zlib";
import { describe } from "../shared/errors.ts";
import { HttpStatusError, requestJson } from "../shared/http.ts";
import { isAboutNamespace } from "./labels.ts";
import type { Patience } from "./patience.ts";

/** One line of metrics/<job>.jsonl.gz: a series and its samples of one chunk of time, as received. */
export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly values?: readonly (readonly [number, string])[];
  readonly histograms?: readonly (readonly [number, unknown])[];
}

export interface Window {
  readonly startUnixSeconds: number;
  readonly endUnixSeconds: number;
}

/** What became of one scrape job. */
export interface JobExport {
  readonly job: string;
  readonly path: string;
  readonly metricNames: number;
  /** Lines of the file; a series has one per chunk of time. */
  readonly lines: number;
  readonly samples: number;
  readonly problem?: string;
}

/** One scrape target: what `up` says about it in the window. */
export interface TargetHealth {
  readonly job: string;
  readonly instance: string;
  /** Of the target; null for one that is in none, as a node's. */
  readonly namespace: string | null;
  readonly samples: number;
  readonly expectedSamples: number;
  readonly upShare: number;
}

interface Target {
  readonly labels?: Readonly<Record<string, string>>;
  readonly discoveredLabels?: Readonly<Record<string, string>>;
}

interface Answer<T> {
  readonly status: string;
  readonly data: T;
}

/** Prometheus finds a query's answer too large, or too slow to make. */
class QueryTooLarge extends Error {}

const namesPerQuery = 40;
const secondsPerQuery = 300;

export class Prometheus {
  readonly #url: string;
  readonly #patience: Patience;

  constructor(url: string, patience: Patience) {
    this.#url = url;
    this.#patience = patience;
  }

  /** POST where there are parameters, because a selector of many names outgrows what a URL may hold. */
  async #call<T>(path: string, parameters?: Readonly<Record<string, string>>): Promise<T> {
    const form = {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams(parameters).toString(),
    };
    const url = `${this.#url}${path}`;
    const answer = await this.#patience.run(async () => {
      try {
        return await requestJson<Answer<T>>({
          url,
          timeoutSeconds: 60,
          ...(parameters === undefined ? {} : form),
        });
      } catch (error) {
        // 503 with an errorType: a query has run out of time, asking the same again would not help.
        if (isTooLarge(error)) throw new QueryTooLarge(describe(error));
        throw error;
      }
    });
    return answer.data;
  }

  version(): Promise<string> {
    return this.#call<{ version: string }>("/api/v1/status/buildinfo").then(({ version }) => version);
  }

  /** Targets that are scraped and such that are not, without those of other experiments. */
  async targets(others: ReadonlySet<string>): Promise<unknown> {
    const answer = await this.#call<Record<string, unknown>>("/api/v1/targets?state=any");
    const isOwn = ({ labels, discoveredLabels }: Target): boolean =>
      !isAboutNamespace({ ...discoveredLabels, ...labels }, others);
    return Object.fromEntries(
      Object.entries(answer).map(([key, value]) => [
        key,
        Array.isArray(value) ? (value as Target[]).filter(isOwn) : value,
      ]),
    );
  }

  /** Namespaces of the experiments beside this one, as far as kube-state-metrics tells the labels of namespaces. */
  async otherExperiments(own: string, window: Window): Promise<ReadonlySet<string>> {
    const match = '{__name__="kube_namespace_labels",label_llmeval_experiment!=""}';
    const namespaces = await this.#labelValues("namespace", match, window);
    return new Set(namespaces.filter((namespace) => namespace !== own));
  }

  jobs(window: Window): Promise<readonly string[]> {
    return this.#labelValues("job", '{job!=""}', window);
  }

  /** Writes every sample of a job's series in the window; a failed query is told, what came before it is kept. */
  async exportJob(
    job: string,
    window: Window,
    folder: string,
    /** Series that are written below faults/ instead. @default none */
    isApart: (labels: Series["metric"]) => boolean = () => false,
    /** Namespaces whose series are left out. @default none */
    others: ReadonlySet<string> = new Set(),
  ): Promise<JobExport> {
    const path = `metrics/${job.replace(/[^A-Za-z0-9._-]+/g, "_")}.jsonl.gz`;
    const apart: string[] = [];
    await mkdir(join(folder, "metrics"), { recursive: true });
    let lines = 0;
    let samples = 0;
    let names: readonly string[] = [];
    let problem: string | undefined;
    const prometheus = this;
    async function* lineByLine(): AsyncGenerator<string> {
      try {
        names = await prometheus.#labelValues("__name__", `{job=${quoted(job)}}`, window);
        for (let from = 0; from < names.length; from += namesPerQuery) {
          for (const chunk of chunksOf(window)) {
            for (const one of await prometheus.#read(job, names.slice(from, from + namesPerQuery), chunk)) {
              if (isAboutNamespace(one.metric, others)) continue;
              samples += (one.values?.length ?? 0) + (one.histograms?.length ?? 0);
              if (isApart(one.metric)) {
                apart.push(`${JSON.stringify(one)}\n`);
                continue;
              }
              lines += 1;
              yield `${JSON.stringify(one)}\n`;
            }
          }
        }
      } catch (error) {
        problem = describe(error);
      }
    }
    await pipeline(lineByLine, createGzip(), createWriteStream(join(folder, path)));
    if (apart.length > 0) {
      await mkdir(join(folder, "faults", "metrics"), { recursive: true });
      await writeFile(join(folder, "faults", path), gzipSync(apart.join("")));
    }
    return {
      job,
      path,
      metricNames: names.length,
      lines,
      samples,
      ...(problem === undefined ? {} : { problem }),
    };
  }

  /** The share of scrapes that have worked, by target, from the raw samples of `up`. */
  async health(
    window: Window,
    scrapeIntervalSeconds: number,
    others: ReadonlySet<string> = new Set(),
  ): Promise<readonly TargetHealth[]> {
    const seconds = window.endUnixSeconds - window.startUnixSeconds;
    const series = await this.#range("up", { ...window });
    return series
      .filter(({ metric }) => !isAboutNamespace(metric, others))
      .map(({ metric, values = [] }) => ({
        job: metric.job ?? "",
        instance: metric.instance ?? "",
        namespace: metric["namespace"] ?? null,
        samples: values.length,
        expectedSamples: Math.floor(seconds / scrapeIntervalSeconds),
        upShare: values.length === 0 ? 0 : values.filter(([, value]) => value === "1").length / values.length,
      }))
      .sort((a, b) => `${a.job} ${a.instance}`.localeCompare(`${b.job} ${b.instance}`));
  }

  /** Reads some names; halves the list when Prometheus finds the answer too large. */
  async #read(job: string, names: readonly string[], window: Window): Promise<readonly Series[]> {
    const pattern = names.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    try {
      return await this.#range(`{job=${quoted(job)},__name__=~${quoted(pattern)}}`, window);
    } catch (error) {
      if (!(error instanceof QueryTooLarge) || names.length === 1) throw error;
      const half = Math.ceil(names.length / 2);
      const first = await this.#read(job, names.slice(0, half), window);
      return [...first, ...(await this.#read(job, names.slice(half), window))];
    }
  }

  async #range(selector: string, window: Window): Promise<readonly Series[]> {
    // One millisecond more at the left: Prometheus 3 leaves the left end out, Prometheus 2 does not.
    const milliseconds = Math.round((window.endUnixSeconds - window.startUnixSeconds) * 1000) + 1;
    const { result } = await this.#call<{ result: readonly Series[] }>("/api/v1/query", {
      query: `${selector}[${milliseconds}ms]`,
      time: window.endUnixSeconds.toFixed(3),
    });
    const inside = ([at]: readonly [number, unknown]): boolean => at >= window.startUnixSeconds - 1e-6;
    return result
      .map(({ metric, values, histograms }) => ({
        metric,
        ...(values === undefined ? {} : { values: values.filter(inside) }),
        ...(histograms === undefined ? {} : { histograms: histograms.filter(inside) }),
      }))
      .filter(({ values, histograms }) => (values?.length ?? 0) + (histograms?.length ?? 0) > 0);
  }

  #labelValues(label: string, match: string, window: Window): Promise<readonly string[]> {
    const parameters = new URLSearchParams({
      "match[]": match,
      start: window.startUnixSeconds.toFixed(3),
      end: window.endUnixSeconds.toFixed(3),
    });
    return this.#call<readonly string[]>(`/api/v1/label/${label}/values?${parameters}`);
  }
}

/** Parts of a window that do not overlap: each begins a millisecond after the one before has ended. */
function chunksOf(window: Window): readonly Window[] {
  const chunks: Window[] = [];
  let start = window.startUnixSeconds;
  while (start < window.endUnixSeconds) {
    const end = Math.min(start + secondsPerQuery, window.endUnixSeconds);
    chunks.push({ startUnixSeconds: start, endUnixSeconds: end });
    start = end + 0.001;
  }
  return chunks;
}

function isTooLarge(error: unknown): boolean {
  if (!(error instanceof HttpStatusError)) return false;
  return error.status === 422 || (error.status === 503 && error.body.includes('"errorType"'));
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
