// Engine `existing`: a service that is there already and answers as OpenAI's does; its pods are not this stack's.

import { formatPath } from "../components/config-problems.ts";
import type { OriginOf, Problem } from "./problems.ts";
import type { ResolvedExperiment } from "./schema.ts";

type Part<K extends keyof ResolvedExperiment> = Pick<ResolvedExperiment, K>;

/** The name by which the engine knows the model. */
export function servedModel({ engine, existing, modelId }: Part<"engine" | "existing" | "modelId">): string {
  return engine === "existing" ? (existing.model ?? modelId) : modelId;
}

/** The service's address without /v1, or undefined where the stack deploys its own engine. */
export function existingUrl({ engine, existing }: Part<"engine" | "existing">): string | undefined {
  return engine === "existing" ? (existing.url ?? "").replace(/\/+$/, "").replace(/\/v1$/, "") : undefined;
}

/** What the schema cannot see: an engine that is there already has an address, and no pods that a fault could target. */
export function existingProblems(
  experiment: Part<"engine" | "existing" | "faults" | "serve">,
  originOf: OriginOf,
): Problem[] {
  const { engine, existing, faults, serve } = experiment;
  if (engine !== "existing") return [];
  const problems: Problem[] = [];
  const add = (path: readonly PropertyKey[], text: string): void => {
    problems.push({ file: originOf(path), path: formatPath(path), text });
  };
  if (existing.url === null) {
    add(
      ["existing", "url"],
      "missing; with engine existing give the service's address inside the cluster, e.g. http://vllm.models.svc:8000",
    );
  }
  if (serve.via === "entry") {
    add(
      ["serve", "via"],
      "is entry, which leads to engines of this cluster's stacks; allowed with engine existing: service",
    );
  }
  faults.forEach(({ kind, target }, index) => {
    if (target === "entry") return;
    add(
      ["faults", index, "target"],
      `is ${JSON.stringify(target)}, but with engine existing this stack has no Ray pods that ${kind} could act on; remove the fault, or choose another engine`,
    );
  });
  return problems;
}
