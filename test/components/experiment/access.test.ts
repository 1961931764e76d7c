// Rights are no wider than what each program asks for, and read-only but for who makes the faults.

import { expect, test } from "vitest";
import {
  clusterRules,
  conductorRules,
  namespaceRules,
  serviceAccounts,
} from "../../../components/experiment/access.ts";

test("each part has its own account", () => {
  expect(serviceAccounts).toEqual({
    ray: "ray",
    gate: "gate",
    load: "load",
    collector: "collector",
    conductor: "conductor",
    reader: "reader",
  });
});

test("rights", () => {
  expect(namespaceRules).toEqual({
    gate: [{ apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] }],
    collector: [
      { apiGroups: [""], resources: ["pods", "pods/log", "events", "services"], verbs: ["get", "list"] },
      { apiGroups: ["batch"], resources: ["jobs"], verbs: ["get", "list"] },
      { apiGroups: ["ray.io"], resources: ["rayservices", "rayclusters"], verbs: ["get", "list"] },
    ],
  });
  expect(clusterRules).toEqual({
    collector: [{ apiGroups: [""], resources: ["nodes"], verbs: ["get", "list"] }],
  });
});

test("the conductor may make what the faults are made of, and nothing where there are none", () => {
  expect(conductorRules({ chaos: false, gpu: false })).toEqual([]);
  const pods = { apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] };
  const verbs = ["get", "list", "create", "patch", "delete"];
  const chaos = {
    apiGroups: ["chaos-mesh.org"],
    resources: [
      "iochaos",
      "networkchaos",
      "podchaos",
      "podiochaos",
      "podnetworkchaos",
      "stresschaos",
      "timechaos",
    ],
    verbs,
  };
  expect(conductorRules({ chaos: true, gpu: false })).toEqual([pods, chaos]);
  expect(conductorRules({ chaos: false, gpu: true })).toEqual([
    pods,
    { apiGroups: ["batch"], resources: ["jobs"], verbs },
  ]);
});
