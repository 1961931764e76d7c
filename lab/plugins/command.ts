// Lab stand-in for pulumi-resource-command 1.2.1 (the official plug-in cannot be had without internet access).
// Same inputs, outputs and life cycle for local.Command, local.run, remote.Command and remote.CopyToRemote.
// Not there: assetPaths, archivePaths, an SSH agent, and the legacy CopyFile; each is refused with a clear message.
import { randomBytes } from "node:crypto";
import type { CheckFailure, Provider } from "@pulumi/pulumi/provider/index.js";
import { cancelled, type Logger, loggerFor, parseUrn, serve, track } from "./host.ts";
import { CommandOutput } from "./output.ts";
import { runLocal } from "./process.ts";
import { type Connection, runRemote, upload } from "./ssh.ts";
import {
  changedKeys,
  checkTypes,
  hasUnknown,
  isArchive,
  isAsset,
  isBag,
  type PropertyBag,
  type PropertyType,
  plain,
  plainBag,
  secret,
} from "./values.ts";

/** One resource type of the plug-in. All bags may carry secret markers; results keep those of the inputs. */
interface ResourceType {
  readonly inputs: Readonly<Record<string, PropertyType>>;
  readonly required: readonly string[];
  check(news: PropertyBag): CheckFailure[];
  create(inputs: PropertyBag, logger: Logger): Promise<PropertyBag>;
  update(olds: PropertyBag, news: PropertyBag, logger: Logger): Promise<PropertyBag>;
  delete(state: PropertyBag, logger: Logger): Promise<void>;
}

/** Runs one command of a resource; `previous` is the output of the command before it. */
type Run = (command: string, inputs: PropertyBag, previous: Outputs, logger: Logger) => Promise<Outputs>;

interface Outputs {
  readonly stdout: string;
  readonly stderr: string;
}

const noOutputs: Outputs = { stdout: "", stderr: "" };

const commandInputs = {
  create: "string",
  update: "string",
  delete: "string",
  stdin: "string",
  environment: "string map",
  triggers: "list",
  logging: "string",
  addPreviousOutputInEnv: "boolean",
} as const;

const localInputs = {
  dir: "string",
  interpreter: "string list",
  assetPaths: "string list",
  archivePaths: "string list",
} as const;

const connectionTypes = {
  host: "string",
  port: "integer",
  user: "string",
  password: "string",
  privateKey: "string",
  privateKeyPassword: "string",
  hostKey: "string",
  dialErrorLimit: "integer",
  perDialTimeout: "integer",
} as const;

const runLocalCommand: Run = async (command, inputs, previous, logger) => {
  const { interpreter, dir, environment, stdin, logging } = plainBag(inputs) as {
    interpreter?: [string, ...string[]];
    dir?: string;
    environment?: Record<string, string>;
    stdin?: string;
    logging?: string;
  };
  const output = new CommandOutput(logging, logger.status);
  const run = runLocal(
    {
      interpreter: interpreter?.length ? interpreter : ["/bin/sh", "-c"],
      command,
      directory: dir ?? process.cwd(),
      environment: { ...process.env, ...environment, ...previousOutput(inputs, previous) },
      // An empty text is no input, as in the official provider.
      stdin: stdin === "" ? undefined : stdin,
    },
    output,
    cancelled,
  );
  return finish(run, output, logger);
};

const runRemoteCommand: Run = async (command, inputs, previous, logger) => {
  const { connection, environment, stdin, logging } = plainBag(inputs) as {
    connection: Connection;
    environment?: Record<string, string>;
    stdin?: string;
    logging?: string;
  };
  const output = new CommandOutput(logging, logger.status);
  const remote = {
    command,
    environment: environment ?? {},
    optionalEnvironment: previousOutput(inputs, previous),
    stdin,
  };
  return finish(runRemote(connection, remote, output, logger, cancelled), output, logger);
};

async function finish(run: Promise<void>, output: CommandOutput, logger: Logger): Promise<Outputs> {
  try {
    await track(run);
    return output.outputs;
  } finally {
    await logger.flush();
  }
}

function previousOutput(inputs: PropertyBag, previous: Outputs): Record<string, string> {
  if (plain(inputs.addPreviousOutputInEnv) === false) {
    return {};
  }
  return {
    ...(previous.stdout === "" ? {} : { PULUMI_COMMAND_STDOUT: previous.stdout }),
    ...(previous.stderr === "" ? {} : { PULUMI_COMMAND_STDERR: previous.stderr }),
  };
}

/** The life cycle that local and remote commands share. */
function commandType(
  inputs: Readonly<Record<string, PropertyType>>,
  required: readonly string[],
  check: ResourceType["check"],
  run: Run,
): ResourceType {
  const outputsOf = (state: PropertyBag): Outputs => ({
    stdout: (plain(state.stdout) as string | undefined) ?? "",
    stderr: (plain(state.stderr) as string | undefined) ?? "",
  });
  const command = (bag: PropertyBag, ...keys: string[]) =>
    keys.map((key) => plain(bag[key])).find((text) => typeof text === "string");
  return {
    inputs,
    required,
    check,
    async create(news, logger) {
      const text = command(news, "create");
      return { ...news, ...(text === undefined ? noOutputs : await run(text, news, noOutputs, logger)) };
    },
    async update(olds, news, logger) {
      const text = command(news, "update", "create");
      const previous = outputsOf(olds);
      return { ...news, ...(text === undefined ? previous : await run(text, news, previous, logger)) };
    },
    async delete(state, logger) {
      const text = command(state, "delete");
      if (text !== undefined) {
        await run(text, state, outputsOf(state), logger);
      }
    },
  };
}

function checkLocal(news: PropertyBag): CheckFailure[] {
  return ["assetPaths", "archivePaths"]
    .filter((property) => plain(news[property]) !== undefined)
    .map((property) => ({
      property,
      reason: "is not supported by the lab's stand-in for the command plug-in; read the files in another way",
    }));
}

function checkConnection(news: PropertyBag): CheckFailure[] {
  const checkEndpoint = (endpoint: unknown, property: string): CheckFailure[] => {
    if (endpoint === undefined || hasUnknown(endpoint)) {
      return [];
    }
    if (!isBag(endpoint)) {
      return [{ property, reason: "must be a map" }];
    }
    const failures = checkTypes(connectionTypes, endpoint).map((failure) => ({
      property: `${property}.${failure.property}`,
      reason: failure.reason,
    }));
    if (endpoint.host === undefined) {
      failures.push({ property: `${property}.host`, reason: "is required" });
    }
    if (endpoint.agentSocketPath !== undefined) {
      failures.push({
        property: `${property}.agentSocketPath`,
        reason: "is not supported by the lab's stand-in for the command plug-in; give privateKey or password",
      });
    }
    return [...failures, ...checkEndpoint(endpoint.proxy, `${property}.proxy`)];
  };
  return checkEndpoint(plain(news.connection), "connection");
}

function checkCopy(news: PropertyBag): CheckFailure[] {
  const source = plain(news.source);
  const failures = checkConnection(news);
  if (source === undefined || hasUnknown(source)) {
    return failures;
  }
  if (!isAsset(source)) {
    failures.push({ property: "source", reason: "either asset or archive must be set" });
  } else if (
    isArchive(source) ? source.path === undefined : source.path === undefined && source.text === undefined
  ) {
    failures.push({
      property: "source",
      reason: "must be a FileAsset, a StringAsset or a FileArchive with a path",
    });
  }
  return failures;
}

async function copy(inputs: PropertyBag, logger: Logger): Promise<PropertyBag> {
  const { connection, source, remotePath } = plainBag(inputs) as {
    connection: Connection;
    source: { path: string } | { text: string };
    remotePath: string;
  };
  try {
    await track(upload(connection, source, remotePath, logger, cancelled));
  } finally {
    await logger.flush();
  }
  return inputs;
}

const resourceTypes: Readonly<Record<string, ResourceType>> = {
  "command:local:Command": commandType({ ...commandInputs, ...localInputs }, [], checkLocal, runLocalCommand),
  "command:remote:Command": commandType(
    { ...commandInputs, connection: "any" },
    ["connection"],
    checkConnection,
    runRemoteCommand,
  ),
  "command:remote:CopyToRemote": {
    inputs: { connection: "any", source: "any", remotePath: "string", triggers: "list" },
    required: ["connection", "source", "remotePath"],
    check: checkCopy,
    create: copy,
    // A change of the connection alone copies nothing.
    update: async (olds, news, logger) =>
      changedKeys(["source", "remotePath"], olds, news).length === 0 ? news : copy(news, logger),
    delete: async () => {},
  },
};

function typeOf(urn: string): ResourceType {
  const { type } = parseUrn(urn);
  const found = resourceTypes[type];
  if (found === undefined) {
    throw new Error(
      `the lab's stand-in for the command plug-in has no ${type}; it has ${Object.keys(resourceTypes).join(", ")}`,
    );
  }
  return found;
}

const provider: Provider = {
  async check(urn, _olds, news: PropertyBag) {
    const type = typeOf(urn);
    const missing = type.required
      .filter((property) => plain(news[property]) === undefined)
      .map((property) => ({ property, reason: "is required" }));
    return {
      inputs: "connection" in news ? { ...news, connection: secret(news.connection) } : news,
      failures: [...missing, ...checkTypes(type.inputs, news), ...type.check(news)],
    };
  },
  async diff(_id, urn, olds: PropertyBag, news: PropertyBag) {
    const changed = changedKeys(Object.keys(typeOf(urn).inputs), olds, news);
    return { changes: changed.length > 0, replaces: changed.filter((key) => key === "triggers") };
  },
  async create(urn, inputs: PropertyBag) {
    const type = typeOf(urn);
    const prefix = type.inputs.create === undefined ? "" : parseUrn(urn).name;
    const outs = await type.create(inputs, loggerFor(urn));
    return { id: `${prefix}${randomBytes(4).toString("hex")}`, outs };
  },
  async update(_id, urn, olds: PropertyBag, news: PropertyBag) {
    return { outs: await typeOf(urn).update(olds, news, loggerFor(urn)) };
  },
  async delete(_id, urn, state: PropertyBag) {
    await typeOf(urn).delete(state, loggerFor(urn));
  },
  async invoke(token, inputs: PropertyBag) {
    if (token !== "command:local:run") {
      throw new Error(`the lab's stand-in for the command plug-in has no function ${token}`);
    }
    const failures = [...checkTypes({ command: "string", ...localInputs }, inputs), ...checkLocal(inputs)];
    if (failures.length > 0) {
      return { failures };
    }
    const { command } = plainBag(inputs) as { command: string };
    return { outputs: { ...inputs, ...(await runLocalCommand(command, inputs, noOutputs, loggerFor())) } };
  },
};

await serve("command", "1.2.1", provider);
