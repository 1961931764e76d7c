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
import type { Verb } from "./verbs.ts";
import { waitForLoad, waitForResults, waitForT0 } from "./wait.ts";

const projectDir = join(import.meta.dirname, "..");

interface Option {
  /** What stands for the value in the help; an option without one is a switch. */
  readonly value?: string;
  /** One letter, e.g. `s` for -s. */
  readonly short?: string;
  readonly help: string;
  readonly required?: boolean;
  readonly fallback?: string;
  /** May be given more than once. */
  readonly repeated?: boolean;
}

interface Command {
  readonly summary: string;
  readonly details?: string;
  /** Names of the arguments, e.g. `ACTION [NAME]`; one in brackets may be left out. */
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
const debug: Option = { help: "where the wait fails, tell the last lines of each log" };
/** What every verb takes; a stack may be named as pulumi names it, too. */
const verbOptions: Readonly<Record<string, Option>> = {
  stack: { short: "s", value: "STACK", help: "the stack, in place of NAME" },
  yes: { short: "y", help: "ask nothing" },
  preview: { help: "show what would be done, and do nothing" },
};
const stepOptions: Readonly<Record<string, Option>> = {
  ...verbOptions,
  cluster: { value: "STACK", help: "the cluster's stack; needed where the experiment has no stack yet" },
  config: {
    short: "c",
    value: "KEY=VALUE",
    help: "a key of the stack for this call alone, e.g. llmeval:modelId=phi-4; may be repeated",
    repeated: true,
  },
  debug: { help: "verbose logs of every part, pods that stay: llmeval:debug for this call" },
};
const runNumber: Option = { value: "N", help: "the run, in place of the one that is chosen" };
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
    details:
      "KIND is experiment (experiments/*.yaml), suite (experiments/suites/*.yaml) or cluster (configs/clusters/*.yaml).",
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
      debug,
    },
    run: async (values) => waitForT0(await values.access(), await values.connect()),
  },
  deploy: {
    summary: "deploy an experiment's engine, and play nothing",
    details:
      "Makes the stack exp-NAME where there is none. Refuses a stack that has played: its engine is there.",
    positional: "[NAME]",
    options: stepOptions,
    run: async (values) => runStep("deploy", values),
  },
  benchmark: {
    summary: "play an experiment's load and faults, on a deployment that is there or a new one",
    details: "What has been played is played again, as the next run; what was cut is taken up.",
    positional: "[NAME]",
    options: { ...stepOptions, run: runNumber },
    run: async (values) => runStep("benchmark", values),
  },
  collect: {
    summary: "collect and fetch the results of the run that is there",
    details:
      "Runs the collector again where it has run: what is complete stays as it is and is only fetched.",
    positional: "[NAME]",
    options: { ...stepOptions, run: runNumber },
    run: async (values) => runStep("collect", values),
  },
  delete: {
    summary: "take an experiment down; fetched results stay",
    details: "The same as: pulumi destroy -s exp-NAME",
    positional: "[NAME]",
    options: { ...verbOptions, remove: { help: "remove the stack too; its file stays" } },
    run: async (values) => runStep("delete", values),
  },
  load: {
    summary: "wait until the load has ended, and print what it sent",
    details: 'Prints {"requests","lagP99Ms","aborted","abortReason"} on stdout; progress goes to stderr.',
    options: {
      namespace,
      "experiment-id": experimentId,
      kubeconfig,
      "timeout-seconds": timeoutSeconds("7200"),
      "poll-seconds": pollSeconds,
      "progress-seconds": progressSeconds,
      "keep-going": {
        help: "a load that has failed is no error: print null, as the collector saves what there is",
      },
      debug,
    },
    run: async (values) =>
      waitForLoad(await values.access(), await values.connect(), values.optional("keep-going") !== undefined),
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
      debug,
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
  suite: {
    summary: "run, resume, stop and show a suite of experiments",
    details:
      "ACTION is run, resume, status, stop or list; NAME is a file in experiments/suites/. Each case gets a stack of its own.",
    positional: "ACTION [NAME]",
    options: {
      cluster: { value: "STACK", help: "run: the cluster's stack, in place of the suite's own" },
      plan: { help: "run: print cases, time and accelerator hours, and do nothing" },
      restart: { help: "run: play all cases anew; what was measured before is kept" },
      "after-case": { help: "stop: when the running case has ended; without it: at once" },
      "progress-seconds": {
        value: "N",
        help: "shortest time between two progress lines of a case, where the output is no terminal",
        fallback: "15",
      },
    },
    run: async (values) => {
      const { runSuiteCommand } = await import("./suite/command.ts");
      const cluster = values.optional("cluster");
      await runSuiteCommand({
        action: values.positional,
        suite: values.positionals[1] ?? "",
        projectDir,
        ...(cluster === undefined ? {} : { cluster }),
        planOnly: values.optional("plan") !== undefined,
        restart: values.optional("restart") !== undefined,
        afterCase: values.optional("after-case") !== undefined,
        progressSeconds: values.seconds("progress-seconds"),
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

async function runStep(verb: Verb, values: Values): Promise<void> {
  const { positional } = values;
  const stack = values.optional("stack");
  if (positional === "" && stack === undefined) {
    throw new UserError(`llmeval ${verb}: NAME is missing; see: llmeval ${verb} --help`);
  }
  if (positional !== "" && stack !== undefined) {
    throw new UserError(`llmeval ${verb}: NAME and --stack are both given; give one of them`);
  }
  const cluster = values.optional("cluster");
  const run = values.optional("run");
  const { runVerb } = await import("./verbs.ts");
  await runVerb({
    verb,
    name: stack ?? positional,
    projectDir,
    ...(cluster === undefined ? {} : { cluster }),
    ...(run === undefined ? {} : { run }),
    config: values.list("config"),
    debug: values.optional("debug") !== undefined,
    yes: values.optional("yes") !== undefined,
    preview: values.optional("preview") !== undefined,
    remove: values.optional("remove") !== undefined,
  });
}

type OptionValues = Readonly<Record<string, string | readonly string[] | undefined>>;

/** The parsed options of one call. */
class Values {
  readonly positionals: readonly string[];
  readonly #command: string;
  readonly #values: OptionValues;

  constructor(command: string, values: OptionValues, positionals: readonly string[]) {
    this.#command = command;
    this.#values = values;
    this.positionals = positionals;
  }

  get positional(): string {
    return this.positionals[0] ?? "";
  }

  optional(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" ? value : undefined;
  }

  text(name: string): string {
    return this.optional(name) ?? "";
  }

  /** Of an option that may be given more than once. */
  list(name: string): readonly string[] {
    const value = this.#values[name];
    return typeof value === "object" ? value : [];
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
      debug: this.optional("debug") !== undefined,
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
    Object.entries(command.options).map(([option, { value, short, repeated = false }]) => [
      option,
      {
        type: value === undefined ? ("boolean" as const) : ("string" as const),
        multiple: repeated,
        ...(short === undefined ? {} : { short }),
      },
    ]),
  );
  let parsed: {
    values: Record<string, string | boolean | (string | boolean)[] | undefined>;
    positionals: string[];
  };
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
  const values: Record<string, string | readonly string[] | undefined> = {};
  for (const [option, { required, fallback }] of Object.entries(command.options)) {
    const given = parsed.values[option];
    values[option] = Array.isArray(given)
      ? given.map(String)
      : given === undefined
        ? fallback
        : String(given);
    if (required && (values[option] ?? "") === "") problems.push(`--${option} is missing`);
  }
  const names = command.positional?.split(" ") ?? [];
  const absent = names.filter((name, index) => !name.startsWith("[") && !parsed.positionals[index]);
  if (absent.length > 0) problems.push(`${absent.join(" and ")} is missing`);
  const unexpected = parsed.positionals.slice(names.length);
  if (unexpected.length > 0) problems.push(`unexpected argument ${unexpected.join(" ")}`);
  const id = values["experiment-id"];
  if (typeof id === "string" && id !== "" && !/^[a-z0-9][a-z0-9.-]*$/.test(id)) {
    problems.push(`--experiment-id is "${id}", allowed: lower-case letters, digits, "-" and "."`);
  }
  if (problems.length > 0) throw new UserError(`llmeval ${name}: ${problems.join("; ")}; ${hint}`);
  return new Values(name, values, parsed.positionals);
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
