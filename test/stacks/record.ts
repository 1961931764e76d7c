// Runs a program against Pulumi's mock engine and returns every resource that it registers.

import * as pulumi from "@pulumi/pulumi";
import { vi } from "vitest";

/** A registered resource, as the mock engine saw it. */
export interface Recorded {
  readonly type: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
}

/** Options of one run. */
export interface RecordOptions {
  /** Stack configuration, with full keys. */
  readonly config: Readonly<Record<string, string>>;
  readonly stack: string;
  /** @default true */
  readonly preview?: boolean;
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: default, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Q0E=}}]
users: [{name: default, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
current-context: default
`;

/** Resources in order of type and name, and the program's outputs with secrets opened. */
export async function record(
  program: () => unknown,
  options: RecordOptions,
): Promise<{ resources: Recorded[]; outputs: unknown; warnings: string[] }> {
  const resources: Recorded[] = [];
  const warnings: string[] = [];
  pulumi.runtime.setMocks(
    {
      newResource: ({ type, name, inputs, id }) => {
        resources.push({ type, name, inputs });
        const extra =
          type === "command:remote:Command"
            ? { stdout: name.endsWith("kubeconfig") ? kubeconfig : "" }
            : type === "random:index/randomPassword:RandomPassword"
              ? { result: "generated-token" }
              : {};
        return { id: id ?? `${name}-id`, state: { ...inputs, ...extra } };
      },
      call: () => ({}),
    },
    "llm-serving-eval",
    options.stack,
    options.preview ?? true,
  );
  pulumi.runtime.setAllConfig({ ...options.config });
  // Without an engine the SDK writes its log to the console.
  const spy = vi.spyOn(console, "warn").mockImplementation((text: string) => void warnings.push(text));
  try {
    let outputs: unknown;
    let failure: { error: unknown } | undefined;
    await pulumi.runtime.runInPulumiStack(async () => {
      // Errors are kept aside: the SDK would report each one again for every promise of the stack.
      try {
        const given = await program();
        outputs = await opened(given);
      } catch (error) {
        failure = { error };
      }
      return {};
    });
    await pulumi.runtime.disconnect();
    if (failure !== undefined) {
      throw failure.error;
    }
    resources.sort((left, right) => `${left.type} ${left.name}`.localeCompare(`${right.type} ${right.name}`));
    return { resources, outputs, warnings };
  } finally {
    spy.mockRestore();
  }
}

/** The value of a tree of outputs. */
function opened(value: unknown): Promise<unknown> {
  return new Promise((resolve) => pulumi.all([value as pulumi.Input<object>]).apply(([all]) => resolve(all)));
}
