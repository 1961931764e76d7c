// Arguments of a sub-command: how they are declared, parsed and explained.
import { parseArgs } from "node:util";
import { UserError } from "../components/errors.ts";
import { describe } from "../workloads/shared/errors.ts";
import { type ClusterAccess, connect } from "./connect.ts";

export interface Option {
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

export interface Command {
  readonly summary: string;
  readonly details?: string;
  /** Names of the arguments, e.g. `ACTION [NAME]`; one in brackets may be left out. */
  readonly positional?: string;
  readonly options: Readonly<Record<string, Option>>;
  readonly run: (values: Values) => Promise<void>;
}

type OptionValues = Readonly<Record<string, string | readonly string[] | undefined>>;

/** The parsed options of one call. */
export class Values {
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

export function helpOf(name: string, command: Command): string {
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

export function parse(name: string, command: Command, args: readonly string[]): Values | "help" {
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
