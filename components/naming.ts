// Names and labels of Kubernetes objects: length limits, safe characters and common labels in one place.

import { createHash } from "node:crypto";

/** Labels, and names that Kubernetes copies into labels, hold at most this many characters. */
const maxLabelLength = 63;

export interface LabelArgs {
  /** What the object is, e.g. `gate`. */
  readonly name: string;
  /** The experiment's name, e.g. `smoke`. */
  readonly experiment: string;
  /**
   * The run that the object belongs to.
   * @default - the object outlives a run and carries no id.
   */
  readonly experimentId?: string;
}

/** Joins parts with `-` to a DNS-1123 label; a name that is too long ends in a hash of the whole. */
export function physicalName(parts: readonly string[], maxLength: number = maxLabelLength): string {
  const whole = parts
    .join("-")
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "");
  if (whole.length <= maxLength) return whole;
  const hash = contentHash(whole);
  return `${whole.slice(0, maxLength - hash.length - 1).replace(/-+$/, "")}-${hash}`;
}

/** Labels of every object of an experiment. */
export function labelsOf(args: LabelArgs): Record<string, string> {
  return {
    "app.kubernetes.io/name": args.name,
    "app.kubernetes.io/part-of": "llm-serving-eval",
    "llmeval/experiment": args.experiment,
    ...(args.experimentId === undefined ? {} : { "llmeval/experiment-id": args.experimentId }),
  };
}

/** Eight hex digits that change with the content. */
export function contentHash(content: string): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 8);
}
