#!/usr/bin/env node
// The llmeval command: what Pulumi has no verb for.
import { UserError } from "../components/errors.ts";
import { StopError } from "../workloads/shared/errors.ts";
import { helpOf, parse } from "./arguments.ts";
import { commands } from "./commands.ts";

function overview(): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length));
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `usage: llmeval COMMAND [options]\n\n${lines.join("\n")}\n\nllmeval COMMAND --help tells the options of one command\n`;
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
