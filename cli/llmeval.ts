#!/usr/bin/env node
// The llmeval command: what Pulumi has no verb for. Each sub-command is one entry of the table below.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { UserError } from "../components/errors.ts";
import { describe, StopError } from "../workloads/shared/errors.ts";
import { printCapacity } from "./capacity.ts";
import { type ClusterAccess, connect } from "./connect.ts";
import { printExplanation } from "./explain.ts";
import { fetchResults } from "./fetch.ts";
import { printStatus } from "./status.ts";
import { printSummary } from "./summary.ts";
import { waitForResults, waitForT0 } from "./wait.ts";

const projectDir = join(import.meta.dirname, "..");

interface Option {
  /** What stands for the value in the help; an option without one is a switch. */
  readonly value?: string;
  /** One letter, e.g. `s` for -s. */
  readonly short?: string;
  readonly help: string;
  readonly required?: boolean;
  readonly fallback?: string;
}

interface Command {
  readonly summary: string;
  readonly details?: string;
  readonly positional?: string;
  readonly options: Readonly<Record<string, Option>>;
  readonly run: (values: Values) => Promise<void>;
}

const namespace: Option = { value: "NAME", help: "namespace of the experiment", required: true };
const experimentId: Option = {
  value: "ID",
  help: "id of the experiment, e.g. smoke-r1-3f9ac2",
  required: true,
};
const kubeconfig: Option = { value: "FILE", help: "kubeconfig; else text on stdin, else $KUBECONFIG" };
const timeoutSeconds = (fallback: string): Option => ({ value: "N", help: "longest time to wait", fallback });
const pollSeconds: Option = { value: "N", help: "time between two looks", fallback: "2" };
const progressSeconds: Option = {
  value: "N",
  help: "shortest time between two progress lines",
  fallback: "3",
};
const output: Option = { value: "DIR", help: "where results are kept", fallback: "fetched" };

const commands: Readonly<Record<string, Command>> = {
  explain: {
    summary: "show what an experiment comes to: values and their origin, timeline, cost",
    details:
      "Resolves experiments/NAME.yaml, with what Pulumi.exp-NAME.yaml overrides where that stack exists.",
    positional: "NAME",
    options: {},
    run: async (values) => printExplanation(values.positional, projectDir),
  },
  schema: {
    summary: "print the JSON Schema of a kind of configuration file, for editors",
    details: "KIND is experiment (experiments/*.yaml) or cluster (configs/clusters/*.yaml).",
    positional: "KIND",
    options: {},
    run: async (values) => (await import("./schema.ts")).printSchema(values.positional),
  },
  t0: {
    summary: "wait until the gate has set T0, and print it",
    details: 'Prints {"t0UnixNs","t0",...} on stdout; progress goes to stderr.',
    options: {
      namespace,
      "experiment-id": experimentId,
      kubeconfig,
      "timeout-seconds": timeoutSeconds("3600"),
      "poll-seconds": pollSeconds,
      "progress-seconds": progressSeconds,
    },
    run: async (values) => waitForT0(await values.access(), await values.connect()),
  },
  results: {
    summary: "wait until the results are complete, fetch and verify them, and print the summary",
    details:
      "Prints the summary, as JSON where stdout is no terminal. What is there already is not fetched again.",
    options: {
      namespace,
      "experiment-id": experimentId,
      kubeconfig,
      output,
      "timeout-seconds": timeoutSeconds("7200"),
      "poll-seconds": pollSeconds,
      "progress-seconds": progressSeconds,
    },
    run: async (values) =>
      waitForResults(await values.access(), values.text("output"), () => values.connect()),
  },
  fetch: {
    summary: "fetch the results of a finished experiment, without waiting for it to finish",
    options: {
      namespace,
      "experiment-id": experimentId,
      kubeconfig,
      output,
      "timeout-seconds": timeoutSeconds("600"),
      "poll-seconds": pollSeconds,
      "progress-seconds": progressSeconds,
    },
    run: async (values) => fetchResults(await values.access(), values.text("output"), () => values.connect()),
  },
  status: {
    summary: "show how far an experiment is",
    options: { namespace, "experiment-id": { ...experimentId, required: false }, kubeconfig },
    run: async (values) =>
      printStatus(values.text("namespace"), values.optional("experiment-id"), await values.connect()),
  },
  charts: {
    summary: "fetch the Helm charts that a cluster's parts need, checked against their pinned digests",
    details:
      "ACTION is pull. Without -s: every chart of the project at its default. `pulumi up` does the same by itself.",
    positional: "ACTION",
    options: {
      cluster: { short: "s", value: "NAME", help: "only the charts of configs/clusters/NAME.yaml" },
      pin: { help: "pin charts without a digest: take the repository's, and add it to the lock file" },
    },
    run: async (values) => {
      // Loaded for this command only: the clusters' schemas bring the Pulumi SDK with them.
      const { runCharts } = await import("./charts.ts");
      const cluster = values.optional("cluster");
      await runCharts({
        action: values.positional,
        ...(cluster === undefined ? {} : { cluster }),
        pin: values.optional("pin") !== undefined,
      });
    },
  },
  capacity: {
    summary: "show what the platform asks of each node, and what is left for models",
    details: "Sums the requests and limits of the pods that are there; experiments are counted apart.",
    options: { kubeconfig },
    run: async (values) => printCapacity(await values.connect()),
  },
  summary: {
    summary: "print the table of fetched results",
    positional: "DIR",
    options: {},
    run: (values) => printSummary(values.positional),
  },
};

/** The parsed options of one call. */
class Values {
  readonly positional: string;
  readonly #command: string;
  readonly #values: Readonly<Record<string, string | undefined>>;

  constructor(command: string, values: Readonly<Record<string, string | undefined>>, positional: string) {
    this.#command = command;
    this.#values = values;
    this.positional = positional;
  }

  optional(name: string): string | undefined {
    return this.#values[name];
  }

  text(name: string): string {
    return this.#values[name] ?? "";
  }

  seconds(name: string): number {
    const text = this.text(name);
    const value = Number(text);
    if (text === "" || !Number.isFinite(value) || value <= 0) {
      throw new UserError(
        `llmeval ${this.#command}: --${name} is "${text}", allowed: a number of seconds above 0`,
      );
    }
    return value;
  }

  async access(): Promise<ClusterAccess> {
    return {
      namespace: this.text("namespace"),
      experimentId: this.text("experiment-id"),
      timeoutSeconds: this.seconds("timeout-seconds"),
      pollSeconds: this.seconds("poll-seconds"),
      progressSeconds: this.seconds("progress-seconds"),
    };
  }

  connect(): ReturnType<typeof connect> {
    return connect(this.optional("kubeconfig"));
  }
}

function overview(): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length));
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `usage: llmeval COMMAND [options]\n\n${lines.join("\n")}\n\nllmeval COMMAND --help tells the options of one command\n`;
}

function helpOf(name: string, command: Command): string {
  const entries = [
    ...Object.entries(command.options).map(([option, { value, short, help, required, fallback }]) => {
      const suffix = required ? " (required)" : fallback === undefined ? "" : ` (default ${fallback})`;
      const names = `${short === undefined ? "" : `-${short}, `}--${option}`;
      return [value === undefined ? names : `${names} ${value}`, `${help}${suffix}`] as const;
    }),
    ["--help", "this text"] as const,
  ];
  const width = Math.max(...entries.map(([left]) => left.length));
  const options = entries.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n");
  const positional = command.positional === undefined ? "" : ` ${command.positional}`;
  const details = command.details === undefined ? "" : `\n${command.details}`;
  return `usage: llmeval ${name}${positional} [options]\n\n${command.summary}${details}\n\n${options}\n`;
}

function parse(name: string, command: Command, args: readonly string[]): Values | "help" {
  const hint = `see: llmeval ${name} --help`;
  const options = Object.fromEntries(
    Object.entries(command.options).map(([option, { value, short }]) => [
      option,
      {
        type: value === undefined ? ("boolean" as const) : ("string" as const),
        ...(short === undefined ? {} : { short }),
      },
    ]),
  );
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: [...args],
      options: { ...options, help: { type: "boolean" } },
      allowPositionals: true,
    });
  } catch (error) {
    const sentence = describe(error).split(". ", 1)[0] as string;
    throw new UserError(`llmeval ${name}: ${sentence.charAt(0).toLowerCase()}${sentence.slice(1)}; ${hint}`);
  }
  if (parsed.values["help"] === true) return "help";
  const problems: string[] = [];
  const values: Record<string, string | undefined> = {};
  for (const [option, { required, fallback }] of Object.entries(command.options)) {
    const given = parsed.values[option];
    values[option] = given === true ? "true" : typeof given === "string" ? given : fallback;
    if (required && (values[option] ?? "") === "") problems.push(`--${option} is missing`);
  }
  const [positional = "", ...surplus] = parsed.positionals;
  if (command.positional !== undefined && positional === "")
    problems.push(`${command.positional} is missing`);
  const unexpected = command.positional === undefined ? parsed.positionals : surplus;
  if (unexpected.length > 0) problems.push(`unexpected argument ${unexpected.join(" ")}`);
  const id = values["experiment-id"];
  if (id !== undefined && id !== "" && !/^[a-z0-9][a-z0-9.-]*$/.test(id)) {
    problems.push(`--experiment-id is "${id}", allowed: lower-case letters, digits, "-" and "."`);
  }
  if (problems.length > 0) throw new UserError(`llmeval ${name}: ${problems.join("; ")}; ${hint}`);
  return new Values(name, values, positional);
}

async function main(args: readonly string[]): Promise<void> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(overview());
    return;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    throw new UserError(`llmeval: unknown command "${name}", known: ${Object.keys(commands).join(", ")}`);
  }
  const values = parse(name, command, rest);
  if (values === "help") process.stdout.write(helpOf(name, command));
  else await command.run(values);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof UserError || error instanceof StopError;
  const text = known || !(error instanceof Error) ? (error as Error).message : (error.stack ?? error.message);
  process.stderr.write(`error: ${text}\n`);
  process.exitCode = 1;
}
