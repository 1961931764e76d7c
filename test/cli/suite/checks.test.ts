// What is checked of the cluster and of the stacks before anything is made.

import { expect, test } from "vitest";
import { clusterProblems, stackProblems } from "../../../cli/suite/checks.ts";
import { withCase } from "../../../cli/suite/state.ts";
import { type ClusterFacts, toClusterFacts } from "../../../components/experiment/cluster-facts.ts";
import { planned, suiteProject } from "./support.ts";

const suite = `description: d
experiment: small
overrides: { engine: vllm }
matrix: { parallelism.dataParallelism: [1, 2] }
`;
const parts = ["kuberay", "prometheus", "storage", "gpuOperator"];

function facts(names: readonly string[], accelerators?: Readonly<Record<string, number>>): ClusterFacts {
  const capabilities = Object.fromEntries(names.map((name) => [name, { mode: "on" }]));
  const outputs = {
    kubeconfig: "text",
    capabilities,
    ...(accelerators === undefined ? {} : { accelerators }),
  };
  return toClusterFacts(outputs) as ClusterFacts;
}

test("a cluster that is not there, lacks a part, or has too few accelerators for some of the cases", () => {
  const { plan } = planned(suiteProject(suite));
  expect(clusterProblems(plan, facts(parts, { H100: 2 }))).toEqual([]);
  expect(clusterProblems(plan, facts(parts))).toEqual([]);
  expect(clusterProblems(plan, undefined)).toEqual([
    {
      file: "experiments/suites/s.yaml",
      path: "cluster",
      text: "cluster stack dev is not deployed; deploy it by: pulumi up -s dev, or name another one by --cluster NAME",
    },
  ]);
  expect(clusterProblems(plan, facts(parts.slice(1), { H100: 1 }))).toEqual([
    {
      file: "experiments/suites/s.yaml",
      path: "cluster",
      text: expect.stringContaining("cluster dev lacks what this experiment needs:\n  - kuberay:"),
    },
    {
      file: "experiments/suites/s.yaml (case dp2)",
      path: "parallelism.dataParallelism",
      text: expect.stringContaining("takes 2 accelerators, but cluster dev has 1 x H100"),
    },
  ]);
});

test("a stack that is there already is refused, unless this suite has made it", () => {
  const { plan, state } = planned(suiteProject(suite));
  const exists = (stack: string): boolean => stack === "exp-s-dp2";
  expect(stackProblems(plan, state, exists)).toEqual([
    {
      file: "experiments/suites/s.yaml (case dp2)",
      path: "",
      text: "stack exp-s-dp2 is there already, and this suite has not made it; give the case another name, or remove it by: pulumi destroy --remove --yes -s exp-s-dp2",
    },
  ]);
  expect(stackProblems(plan, withCase(state, "dp2", { hasStack: true }, new Date(0)), exists)).toEqual([]);
});
