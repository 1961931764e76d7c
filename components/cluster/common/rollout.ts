// Waits for what Helm does not wait for: that a chart's DaemonSet runs on every node.

import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";

/** Which DaemonSet to wait for. */
interface AwaitDaemonSetArgs {
  readonly name: string;
  readonly namespace: string;
  /** Changes with what the chart is given: then the next rollout is waited for too. */
  readonly revision: string;
  readonly timeoutSeconds: number;
}

/**
 * Waits until a chart's DaemonSet has its pod ready on every node. Helm itself is content with all nodes less the
 * `maxUnavailable` of the update strategy, on a single node with none (helm pkg/kube/ready.go). The patch writes only
 * an annotation; the provider awaits a patched object like one of its own.
 */
export function awaitDaemonSet(
  name: string,
  args: AwaitDaemonSetArgs,
  options: pulumi.CustomResourceOptions,
): pulumi.Resource {
  const limit = `${args.timeoutSeconds}s`;
  return new k8s.apps.v1.DaemonSetPatch(
    name,
    {
      metadata: {
        name: args.name,
        namespace: args.namespace,
        annotations: { "llmeval/revision": args.revision },
      },
    },
    { ...options, customTimeouts: { create: limit, update: limit } },
  );
}
