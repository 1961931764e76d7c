// The sub-commands of llmeval, one entry of the table each.
import { join } from "node:path";
import { UserError } from "../components/errors.ts";
import type { Command, Option, Values } from "./arguments.ts";
import { printCapacity } from "./capacity.ts";
import { printExplanation } from "./explain.ts";
import { fetchResults } from "./fetch.ts";
import { printStatus } from "./status.ts";
import { printSummary } from "./summary.ts";
import type { Verb } from "./verbs.ts";
import { waitForLoad, waitForResults, waitForT0 } from "./wait.ts";

const projectDir = join(import.meta.dirname, "..");

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

export const commands: Readonly<Record<string, Command>> = {
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
