// What all in-cluster parts have in common: the options of their children and the labels of their objects.

import type * as pulumi from "@pulumi/pulumi";

/** Args that every in-cluster part takes. */
export interface PartArgs {
  /** The cluster's first server, when this stack made it: its removal removes everything inside. @default none */
  readonly deletedWith?: pulumi.Resource;
}

/** Options for a child resource; the SDK hands down the provider from the parent, but not `deletedWith`. */
export function childOptions(
  parent: pulumi.Resource,
  args: PartArgs,
  more: pulumi.CustomResourceOptions = {},
): pulumi.CustomResourceOptions {
  return { parent, ...(args.deletedWith === undefined ? {} : { deletedWith: args.deletedWith }), ...more };
}

/** Selector labels of one program of a part. */
export function appLabels(name: string): Record<string, string> {
  return { "app.kubernetes.io/name": name };
}

/** Labels of a part's objects. */
export function objectLabels(name: string): Record<string, string> {
  return { ...appLabels(name), "app.kubernetes.io/part-of": "llm-serving-eval" };
}
