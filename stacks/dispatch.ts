// Chooses the program of a stack by its configuration key `llmeval:kind`.

import * as pulumi from "@pulumi/pulumi";
import { UserError } from "../components/errors.ts";
import { didYouMean } from "../components/spelling.ts";

// Loaded on demand: a preview of one kind does not pay for the code of the other. Each kind checks its own keys.
const programs: Readonly<Record<string, () => Promise<unknown>>> = {
  cluster: async () => (await import("./cluster.ts")).clusterStack(),
  experiment: async () => (await import("./experiment.ts")).experimentStack(),
};

/** Runs the program that `llmeval:kind` names and returns its outputs. */
export async function dispatch(): Promise<unknown> {
  const kind = new pulumi.Config("llmeval").get("kind");
  const known = Object.keys(programs);
  const stack = pulumi.getStack();
  if (kind === undefined) {
    throw new UserError(
      `llmeval:kind is not set in Pulumi.${stack}.yaml; run \`pulumi config set llmeval:kind <kind>\` ` +
        `(allowed: ${known.join(", ")})`,
    );
  }
  const program = Object.hasOwn(programs, kind) ? programs[kind] : undefined;
  if (program === undefined) {
    const hint = didYouMean(kind, known);
    throw new UserError(
      `Pulumi.${stack}.yaml: llmeval:kind is "${kind}"; ${hint}allowed: ${known.join(", ")}`,
    );
  }
  return await program();
}
