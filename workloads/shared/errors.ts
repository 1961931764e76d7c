// The error of the in-cluster programs whose message says all there is to say.

/** Ends a program with its message alone, without a stack trace. */
export class StopError extends Error {
  override readonly name = "StopError";
}

/** The text of anything thrown, on one line. */
export function describe(error: unknown): string {
  if (error instanceof AggregateError && error.message === "" && error.errors.length > 0) {
    return describe(error.errors[0]);
  }
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, " ");
}

/** Runs a program's main function and turns what it throws into one line and exit status 1. */
export async function runMain(program: string, main: () => Promise<void>): Promise<void> {
  // As PID 1 of its container a program that does not ask for SIGTERM never gets it. Nothing half-written is lost:
  // every file is put in its place whole. A program with a stop of its own listens too, and is first.
  process.once("SIGTERM", () => {
    if (process.listenerCount("SIGTERM") === 0) process.exit(143);
  });
  try {
    await main();
  } catch (error) {
    const unexpected = !(error instanceof StopError) && error instanceof Error;
    process.stderr.write(`${program}: ${unexpected ? (error.stack ?? error.message) : describe(error)}\n`);
    process.exitCode = 1;
  }
}

/** One progress line on stdout, with the instant in front. */
export function say(program: string, text: string): void {
  process.stdout.write(`${new Date().toISOString()} ${program}: ${text}\n`);
}
