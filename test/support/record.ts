// Runs a program against Pulumi's mock engine and returns every resource that it registers, in a stable order.

import * as pulumi from "@pulumi/pulumi";

/** A registered resource, as the mock engine saw it. */
export interface Recorded {
  readonly type: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
}

export interface RecordOptions {
  /** Stack configuration, with full keys. @default {} */
  readonly config?: Readonly<Record<string, string>>;
  /** @default "exp-smoke" */
  readonly stack?: string;
  /** @default true */
  readonly preview?: boolean;
  /** Outputs of other stacks by full name; a stack that is absent does not exist. @default {} */
  readonly stacks?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** What the lab's server would print. */
const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: default, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Q0E=}}]
users: [{name: default, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
current-context: default
`;

/** What the providers would add to a resource's inputs. Commands on hosts do not run in previews. */
function computed(type: string, name: string, preview: boolean): Record<string, unknown> {
  switch (type) {
    case "command:remote:Command":
      if (preview) return { stdout: pulumi.runtime.unknownValue };
      return { stdout: name.endsWith("kubeconfig") ? kubeconfig : "" };
    case "command:local:Command":
      return {
        stdout: name.startsWith("t0-")
          ? '{"t0UnixNs":"1795000000123456789"}'
          : '{"quality":{"verdict":"pass"},"cells":[]}',
      };
    case "random:index/randomPassword:RandomPassword":
      return { result: `generated-${name}` };
    default:
      return {};
  }
}

/** The resources by type and name, the program's outputs with secrets opened, and what was logged. */
export async function record(
  program: () => unknown,
  options: RecordOptions = {},
): Promise<{ resources: Recorded[]; outputs: unknown; logged: string[] }> {
  const preview = options.preview ?? true;
  const resources: Recorded[] = [];
  const logged: string[] = [];
  const { error, log, warn } = console;
  pulumi.runtime.setMocks(
    {
      newResource: ({ type, name, inputs, id }) => {
        resources.push({ type, name, inputs });
        return { id: id ?? `${name}-id`, state: { ...inputs, ...computed(type, name, preview) } };
      },
      call: ({ inputs }) => {
        const found = options.stacks?.[inputs["name"] as string];
        // The engine's words, in the field in which gRPC carries them.
        if (found === undefined)
          throw Object.assign(new Error(), { details: `unknown stack "${inputs["name"]}"` });
        return { name: inputs["name"], outputs: found };
      },
    },
    "llm-serving-eval",
    options.stack ?? "exp-smoke",
    preview,
    "organization",
  );
  pulumi.runtime.setAllConfig({ ...options.config });
  // Without an engine the SDK writes its log to the console.
  const keep = (...parts: unknown[]) => void logged.push(parts.join(" "));
  Object.assign(console, { error: keep, log: keep, warn: keep });
  try {
    let outputs: unknown;
    let failure: { readonly error: unknown } | undefined;
    await pulumi.runtime.runInPulumiStack(async () => {
      try {
        const given = await program();
        // With unknowns, as a preview has them: `apply` would wait for ever.
        const whole = pulumi.output(given as object) as unknown as {
          promise(withUnknowns: boolean): Promise<unknown>;
        };
        outputs = await whole.promise(true);
      } catch (error) {
        // Thrown from here it would also be an unhandled rejection of the stack's own outputs.
        failure = { error };
      }
      return {};
    });
    await pulumi.runtime.disconnect();
    if (failure !== undefined) throw failure.error;
    resources.sort((left, right) => (`${left.type} ${left.name}` < `${right.type} ${right.name}` ? -1 : 1));
    return { resources, outputs, logged };
  } finally {
    Object.assign(console, { error, log, warn });
  }
}
