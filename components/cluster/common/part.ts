// What all in-cluster parts have in common: their mode, the options of their children and the labels of their objects.

import type * as pulumi from "@pulumi/pulumi";
import * as z from "zod";

const modes = ["on", "off", "external"] as const;

/** Whether a part is installed by the stack, absent, or there already and cared for by somebody else. */
export type PartMode = (typeof modes)[number];

/** An http or https address. */
export const urlSchema = z.url({ protocol: /^https?$/, error: "expected an http or https address" });

/** A sha256 in the form that sha256sum prints. */
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, "expected 64 hex digits in lower case");

/** The two keys that pin a download in a section of the configuration. */
export const pinFields = {
  sha256: sha256Schema.optional(),
  /** File in the format of sha256sum; relative to the project. */
  sha256File: z.string().min(1).optional(),
};

/** Schema of a part's section: `mode` and the part's own keys, each with a default. */
export function partSchema<S extends z.core.$ZodLooseShape>(shape: S, defaultMode: PartMode = "on") {
  return z.strictObject({ mode: z.enum(modes).default(defaultMode), ...shape });
}

/** Schema of a part that others talk to: as external part it needs the `url` under which pods reach it. */
export function addressedPartSchema<S extends z.core.$ZodLooseShape>(shape: S, defaultMode: PartMode = "on") {
  return partSchema({ url: urlSchema.optional(), ...shape }, defaultMode).superRefine((part, context) => {
    const { mode, url } = part as { mode: PartMode; url?: string };
    if (mode === "external" && url === undefined) {
      const message = "missing; mode external needs the address under which pods reach it";
      context.addIssue({ code: "custom", path: ["url"], message });
    }
    if (mode !== "external" && url !== undefined) {
      const message = `only mode external has an address, got mode ${mode}; remove url or set mode: external`;
      context.addIssue({ code: "custom", path: ["url"], message });
    }
  });
}

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

/** Resources of a container whose CPU is not limited. */
export function toResources(cpuRequest: string, memoryRequest: string, memoryLimit: string) {
  return { requests: { cpu: cpuRequest, memory: memoryRequest }, limits: { memory: memoryLimit } };
}
