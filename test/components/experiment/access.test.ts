// Rights are read-only and no wider than what each program asks for.

import { expect, test } from "vitest";
import { clusterRules, namespaceRules, serviceAccounts } from "../../../components/experiment/access.ts";

test("each part has its own account", () => {
  expect(serviceAccounts).toEqual({
    ray: "ray",
    gate: "gate",
    load: "load",
    collector: "collector",
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
