// Rights are no wider than what each program asks for, and read-only but for who makes the faults.

import { expect, test } from "vitest";
import {
  clusterRules,
  collectorRules,
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

test("the collector reads what it writes down: no ConfigMaps, no Secrets; chaos objects where there are some", () => {
  const verbs = ["get", "list"];
  const always = [
    {
      apiGroups: [""],
      resources: ["pods", "pods/log", "events", "services", "persistentvolumeclaims"],
      verbs,
    },
    { apiGroups: ["apps"], resources: ["deployments"], verbs },
    { apiGroups: ["batch"], resources: ["jobs"], verbs },
    { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs },
    { apiGroups: ["ray.io"], resources: ["rayservices", "rayclusters"], verbs },
  ];
  expect(collectorRules({ chaos: false, gpu: true })).toEqual(always);
  const [chaos, ...others] = conductorRules({ chaos: true, gpu: false }).slice(1);
  expect(others).toEqual([]);
  expect(collectorRules({ chaos: true, gpu: false })).toEqual([...always, { ...chaos, verbs }]);
});
