// Runs the real Pulumi engine in tests: the `pulumi` of PATH with the lab's plug-ins, a home and a state of its own.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  type EngineEvent,
  LocalWorkspace,
  type PulumiFn,
  type Stack,
} from "@pulumi/pulumi/automation/index.js";

const installTimeoutMilliseconds = 60_000;

/** A Pulumi engine with an empty state; `dispose` removes everything that it wrote. */
export interface Engine {
  /** A temporary directory for the test's own files; also where plug-ins run. */
  readonly directory: string;
  /** What a `pulumi` process needs in its environment to use this engine. */
  readonly environment: Readonly<Record<string, string>>;
  /** A stack of the project "test" whose program is a function in the test; needs no language host. */
  inlineStack(name: string, program: PulumiFn): Promise<Stack>;
  /** The stack's state file as it is on disk, secrets encrypted. */
  stateText(stackName: string, projectName?: string): Promise<string>;
  dispose(): Promise<void>;
}

/** Makes an engine and installs the lab's plug-ins into it. */
export async function createEngine(): Promise<Engine> {
  const directory = await mkdtemp(join(tmpdir(), "engine-"));
  const environment = {
    PULUMI_HOME: join(directory, "home"),
    PULUMI_BACKEND_URL: `file://${directory}`,
    PULUMI_CONFIG_PASSPHRASE: "test",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
  };
  await promisify(execFile)(join(import.meta.dirname, "../../lab/plugins/install.sh"), {
    env: { ...process.env, ...environment },
    timeout: installTimeoutMilliseconds,
  });
  const options = { envVars: environment, pulumiHome: environment.PULUMI_HOME };
  return {
    directory,
    environment,
    inlineStack: (stackName, program) =>
      LocalWorkspace.createOrSelectStack(
        { stackName, projectName: "test", program },
        { ...options, workDir: directory, projectSettings: { name: "test", runtime: "nodejs" } },
      ),
    stateText: (stackName, projectName = "test") =>
      readFile(join(directory, ".pulumi/stacks", projectName, `${stackName}.json`), "utf8"),
    dispose: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Collects an operation's events: pass `onEvent` to it and read the messages afterwards. */
export class Events {
  readonly all: EngineEvent[] = [];
  readonly onEvent = (event: EngineEvent): void => {
    this.all.push(event);
  };

  /** Messages on the resource with this name, in order, without colours and blank lines. */
  messages(resourceName: string, severity = "info"): string[] {
    return this.all
      .map((event) => event.diagnosticEvent)
      .filter((event) => event?.urn?.endsWith(`::${resourceName}`) && event.severity === severity)
      .map((event) => (event?.message ?? "").replace(/<\{%.*?%\}>/g, "").trimEnd())
      .filter((message) => message !== "");
  }

  /** The steps on the resource with this name ("create", "update", "create-replacement", "same" ...), in order. */
  steps(resourceName: string): string[] {
    return this.all
      .map((event) => event.resourcePreEvent?.metadata)
      .filter((step) => step?.urn.endsWith(`::${resourceName}`))
      .map((step) => step?.op ?? "");
  }
}
