// llmeval charts pull: fills the cache of Helm charts and, when asked, pins charts that have no digest yet.

import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { type ChartRef, charts, chartsFolder, chartsOf } from "../components/cluster/charts/chart.ts";
import { lockFile } from "../components/cluster/charts/chart-lock.ts";
import { pullCharts } from "../components/cluster/charts/charts-cache.ts";
import { clusterConfigSchema } from "../components/cluster/config.ts";
import { parseConfigFile } from "../components/config-problems.ts";
import { UserError } from "../components/errors.ts";
import { didYouMean } from "../components/spelling.ts";

/** What `llmeval charts` was asked to do. */
export interface ChartsArgs {
  /** Only `pull` is known. */
  readonly action: string;
  /** File in configs/clusters/. @default every chart of the project at its default */
  readonly cluster?: string;
  /** Pin charts that have no digest. */
  readonly pin: boolean;
  /** @default this project */
  readonly projectDir?: string;
}

/** Fetches the charts and prints a line for each. */
export async function runCharts(args: ChartsArgs): Promise<void> {
  const { action, cluster, pin } = args;
  const projectDir = args.projectDir ?? resolve(import.meta.dirname, "..");
  if (action !== "pull") {
    throw new UserError(`llmeval charts: unknown action "${action}", known: pull`);
  }
  const wanted = cluster === undefined ? Object.values(charts) : chartsOfCluster(cluster, projectDir);
  if (wanted.length === 0) {
    process.stdout.write("no part that is on has a chart\n");
  }
  const pulled = await pullCharts(wanted, {
    projectDir,
    pin,
    ...(cluster === undefined ? {} : { cluster }),
  });
  for (const { chart, address, pinned } of pulled) {
    const source = address === undefined ? `in ${chartsFolder}/` : `fetched from ${address}`;
    process.stdout.write(`${chart.name} ${chart.version}: ${source}${pinned ? ", pinned" : ""}\n`);
  }
  if (pulled.some(({ pinned }) => pinned)) {
    process.stdout.write(`new digests stand in ${lockFile}; commit it\n`);
  }
}

function chartsOfCluster(cluster: string, projectDir: string): ChartRef[] {
  const folder = "configs/clusters";
  const file = `${folder}/${cluster}.yaml`;
  if (!existsSync(join(projectDir, file))) {
    const known = readdirSync(join(projectDir, folder))
      .filter((name) => name.endsWith(".yaml"))
      .map((name) => name.slice(0, -".yaml".length))
      .sort();
    throw new UserError(
      `llmeval charts: there is no ${file}; ${didYouMean(cluster, known)}available: ${known.join(", ")}`,
    );
  }
  return chartsOf(parseConfigFile(clusterConfigSchema, join(projectDir, file), file));
}
