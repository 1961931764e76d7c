// What must be true before the first stack of a suite is made; everything that is wrong is told at once.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../components/errors.ts";
import {
  type ClusterFacts,
  checkApiServer,
  checkCapabilities,
  neededParts,
} from "../../components/experiment/cluster-facts.ts";
import { type Problem, throwProblems } from "../../experiments/problems.ts";
import { acceleratorProblems } from "../../experiments/resolve.ts";
import type { PulumiDriver } from "./driver.ts";
import { type SuitePlan, suitesFolder } from "./plan.ts";
import type { SuiteState } from "./state.ts";

export interface PreflightArgs {
  readonly projectDir: string;
  readonly plan: SuitePlan;
  readonly state: SuiteState;
  /** What is wrong with the definition. */
  readonly problems: readonly Problem[];
}

/** Opens Pulumi and looks at the cluster; a UserError that lists all problems where there is one. */
export async function preflight(
  args: PreflightArgs,
): Promise<{ readonly driver: PulumiDriver; readonly accelerators: number }> {
  const { projectDir, plan, state } = args;
  // The Automation API takes half a second to load: only where a suite is played.
  const { PulumiDriver } = await import("./driver.ts");
  const token = process.env["HF_TOKEN"] ?? "";
  const driver = await PulumiDriver.open({
    projectDir,
    ...(token === "" ? {} : { huggingFaceToken: token }),
  });
  const facts = plan.cluster === "" ? undefined : await driver.cluster(plan.cluster);
  const taken = new Set(await driver.stackNames());
  const hasStack = (stack: string): boolean =>
    taken.has(stack) || existsSync(join(projectDir, `Pulumi.${stack}.yaml`));
  throwProblems(`suite ${plan.suite}`, [
    ...args.problems,
    ...(plan.cluster === "" ? [] : clusterProblems(plan, facts)),
    ...stackProblems(plan, state, hasStack),
  ]);
  if (facts !== undefined) await checkApiServer(plan.cluster, facts.kubeconfig);
  const accelerators = Object.values(facts?.accelerators ?? {}).reduce((sum, count) => sum + count, 0);
  return { driver, accelerators };
}

/** What the cases need and the cluster lacks. */
export function clusterProblems(plan: SuitePlan, facts: ClusterFacts | undefined): Problem[] {
  const file = `${suitesFolder}/${plan.suite}.yaml`;
  if (facts === undefined) {
    const text =
      `cluster stack ${plan.cluster} is not deployed; deploy it by: pulumi up -s ${plan.cluster}, ` +
      "or name another one by --cluster NAME";
    return [{ file, path: "cluster", text }];
  }
  const { accelerators } = facts;
  const needed = new Set(plan.cases.flatMap(({ experiment }) => neededParts(experiment)));
  return [
    ...messageOf(() => checkCapabilities(plan.cluster, facts, [...needed])).map((text) => ({
      file,
      path: "cluster",
      text,
    })),
    ...plan.cases.flatMap(({ experiment, origin }) =>
      accelerators === undefined
        ? []
        : acceleratorProblems(experiment, () => origin, plan.cluster, accelerators),
    ),
  ];
}

/** Stacks with the names of cases that this suite has not made: it would change and remove them. */
export function stackProblems(
  plan: SuitePlan,
  state: SuiteState,
  exists: (stack: string) => boolean,
): Problem[] {
  const own = new Set(state.cases.filter(({ hasStack }) => hasStack).map(({ stack }) => stack));
  return plan.cases
    .filter(({ stack }) => !own.has(stack) && exists(stack))
    .map(({ stack, origin }) => ({
      file: origin,
      path: "",
      text: `stack ${stack} is there already, and this suite has not made it; give the case another name, or remove it by: pulumi destroy --remove --yes -s ${stack}`,
    }));
}

function messageOf(check: () => void): string[] {
  try {
    check();
    return [];
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return [error.message];
  }
}
