// What the lab's plug-ins share as processes: serving, logging to the engine, and ending with the engine.
import * as log from "@pulumi/pulumi/log/index.js";
import { main, type Provider } from "@pulumi/pulumi/provider/index.js";
import { resetOptions } from "@pulumi/pulumi/runtime/settings.js";

/** Log lines that appear on one resource. */
export interface Logger {
  /** A progress line: shown live on the resource and not kept (the engine calls it ephemeral). */
  status(line: string): void;
  warning(message: string): void;
  error(message: string): void;
  /** Resolves when the engine has taken every line. */
  flush(): Promise<void>;
}

const parentCheckMilliseconds = 1000;
const shutdownMilliseconds = 3000;

const cancellation = new AbortController();
const pending = new Set<Promise<unknown>>();

/** Aborts when the engine cancels or when this process is told to end. */
export const cancelled: AbortSignal = cancellation.signal;

/** Keeps the process alive while it shuts down until `work` has ended (for a short, bounded time). */
export function track<T>(work: Promise<T>): Promise<T> {
  pending.add(work);
  const done = () => pending.delete(work);
  work.then(done, done);
  return work;
}

/** The type and the name in a URN. */
export function parseUrn(urn: string): { type: string; name: string } {
  const [, , types = "", ...name] = urn.split("::");
  return { type: types.split("$").at(-1) ?? "", name: name.join("::") };
}

/** A logger for one resource, or for none in particular. */
export function loggerFor(urn?: string): Logger {
  // `log` asks the resource for its URN only.
  const resource = (urn === undefined ? undefined : { urn: { promise: async () => urn } }) as Parameters<
    typeof log.info
  >[1];
  let last = Promise.resolve();
  return {
    status: (line) => {
      last = log.info(line, resource, undefined, true);
    },
    warning: (message) => {
      last = log.warn(message, resource);
    },
    error: (message) => {
      last = log.error(message, resource);
    },
    flush: () => last,
  };
}

/** Serves a plug-in until the engine ends it; with `--version` it only says what it is. */
export async function serve(name: string, officialVersion: string, provider: Provider): Promise<void> {
  const args = process.argv.slice(2);
  const description = `lab stand-in for pulumi-resource-${name} ${officialVersion}`;
  if (args.includes("--version")) {
    console.log(description);
    return;
  }
  // The engine passes its address as the last argument; only provider.main's constructs would pick it up by themselves.
  resetOptions("", "", -1, args.at(-1) ?? "", "", false, "");
  process.on("SIGINT", () => void shutdown());
  process.on("SIGTERM", () => void shutdown());
  // A killed engine sends nothing: notice that this process has been handed to another parent.
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && void shutdown(), parentCheckMilliseconds).unref();
  await main(
    {
      ...provider,
      version: `${officialVersion}+lab.stand.in`,
      schema: JSON.stringify({ name, version: officialVersion, description }),
      cancel: async () => cancellation.abort(new Error(`cancelled (${description})`)),
    },
    args,
  );
}

async function shutdown(): Promise<void> {
  cancellation.abort(new Error("the plug-in was told to end"));
  const deadline = new Promise((resolve) => setTimeout(resolve, shutdownMilliseconds));
  await Promise.race([Promise.allSettled([...pending]), deadline]);
  process.exit(0);
}
