// Builds the command lines and standard input of scripts that run on hosts: quoting, parameters, sudo.

/** Quotes a value as one word of a POSIX shell. */
export function quote(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}

/** Assignments `NAME='value'`, separated as given; names are ours and need no check of values. */
function assignments(parameters: Readonly<Record<string, string>>, separator: string): string {
  return Object.entries(parameters)
    .map(([name, value]) => `${name}=${quote(value)}`)
    .join(separator);
}

/**
 * A command that reads a script from standard input. Parameters show in diffs and in errors, so they are never
 * secret; they go ahead of the command because sshd accepts no environment of ours (AcceptEnv).
 */
export function scriptCommand(user: string, parameters: Readonly<Record<string, string>>): string {
  const prefix = assignments(parameters, " ");
  return user === "root" ? `${prefix} sh -s` : `sudo -n env ${prefix} sh -s`;
}

/** Standard input for `scriptCommand`: secrets and long texts as assignments, then the script. */
export function scriptInput(variables: Readonly<Record<string, string>>, script: string): string {
  const head = assignments(variables, "\n");
  return head === "" ? script : `${head}\n${script}`;
}

/** A one-line command as root. */
export function rootCommand(user: string, command: string): string {
  return user === "root" ? command : `sudo -n sh -c ${quote(command)}`;
}
