// What each role may do: exact rules, no wildcards.

import type * as k8s from "@pulumi/kubernetes";

/** Somebody who gets rights, as the configuration names them. */
export type Subject =
  | { readonly kind: "Group"; readonly name: string }
  | { readonly kind: "User"; readonly name: string }
  | { readonly kind: "ServiceAccount"; readonly name: string; readonly namespace: string };

type Rule = k8s.types.input.rbac.v1.PolicyRule;

/** Name of the RoleBinding that each experiment's namespace holds, made by its stack. */
const operatorsBinding = "llmeval-operators";
/** Names of the cluster's roles, and of the policy. */
export const names = {
  viewer: "llmeval-viewer",
  /** What operators may do outside the namespaces of experiments. */
  operator: "llmeval-operator",
  /** What they may do inside one. */
  experiment: "llmeval-experiment-operator",
  nodeReader: "llmeval-node-reader",
  policy: "llmeval-operators",
} as const;
const look = ["get", "list", "watch"];
/** What Pulumi's server-side apply needs; `update` is not among it. */
const manage = [...look, "create", "patch", "delete"];
/** What faults are made of, and the two objects that the injector keeps of what it does to a pod. */
const chaosKinds = [
  "iochaos",
  "networkchaos",
  "podchaos",
  "podiochaos",
  "podnetworkchaos",
  "stresschaos",
  "timechaos",
];
/** The reader of an experiment's results, and no other service: it only serves files. */
const readResults: Rule = {
  apiGroups: [""],
  resources: ["services/proxy"],
  resourceNames: ["http:results:8080"],
  verbs: ["get"],
};

/** Reads everything that explains a run, in every namespace. No ConfigMaps, no Secrets, nothing that runs code. */
export const viewerRules: readonly Rule[] = [
  { apiGroups: [""], resources: ["namespaces", "pods", "events"], verbs: look },
  { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
  { apiGroups: ["events.k8s.io"], resources: ["events"], verbs: look },
  { apiGroups: ["batch"], resources: ["jobs"], verbs: look },
  { apiGroups: ["ray.io"], resources: ["rayservices", "rayclusters", "rayjobs"], verbs: look },
  { apiGroups: ["chaos-mesh.org"], resources: chaosKinds, verbs: look },
  { apiGroups: ["metrics.k8s.io"], resources: ["pods", "nodes"], verbs: ["get", "list"] },
  readResults,
];

/**
 * Makes and removes namespaces, and gives itself its rights in a new one by one binding to one role. Roles cannot say
 * "namespaces that begin with exp-"; the admission policy does.
 */
export const operatorRules: readonly Rule[] = [
  { apiGroups: [""], resources: ["namespaces"], verbs: ["create", "patch", "delete"] },
  {
    apiGroups: ["rbac.authorization.k8s.io"],
    resources: ["rolebindings"],
    // By name also for `create`, which holds for server-side apply: there the name is part of the request.
    resourceNames: [operatorsBinding],
    verbs: ["get", "create", "patch"],
  },
  {
    apiGroups: ["rbac.authorization.k8s.io"],
    resources: ["clusterroles"],
    resourceNames: [names.experiment],
    verbs: ["bind"],
  },
];

/** The objects of an experiment's stack and what Pulumi looks at while it waits for them. */
export const experimentRules: readonly Rule[] = [
  {
    apiGroups: [""],
    resources: ["configmaps", "persistentvolumeclaims", "secrets", "serviceaccounts", "services"],
    verbs: manage,
  },
  { apiGroups: ["apps"], resources: ["deployments"], verbs: manage },
  { apiGroups: ["batch"], resources: ["jobs"], verbs: manage },
  // Only roles that hold no more than these rules: Kubernetes refuses others.
  { apiGroups: ["rbac.authorization.k8s.io"], resources: ["roles", "rolebindings"], verbs: manage },
  // Without this a preview fails where the namespace is there and the role is not yet, as after an `up` that was cut.
  { apiGroups: ["rbac.authorization.k8s.io"], resources: ["roles"], verbs: ["bind"] },
  { apiGroups: ["ray.io"], resources: ["rayservices"], verbs: manage },
  { apiGroups: ["chaos-mesh.org"], resources: chaosKinds, verbs: manage },
  { apiGroups: [""], resources: ["pods", "pods/log", "events", "endpoints"], verbs: look },
  { apiGroups: ["apps"], resources: ["replicasets"], verbs: look },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: look },
  { apiGroups: ["ray.io"], resources: ["rayclusters"], verbs: look },
  readResults,
];

/** Experiments write down what their nodes were; operators may not give that right themselves. */
export const nodeReaderRules: readonly Rule[] = [
  { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list"] },
];

/** Subjects as a binding has them. */
export function toSubjects(subjects: readonly Subject[]): k8s.types.input.rbac.v1.Subject[] {
  return subjects.map((subject) =>
    subject.kind === "ServiceAccount" ? subject : { ...subject, apiGroup: "rbac.authorization.k8s.io" },
  );
}

/** The RoleBinding that gives operators their rights in one experiment's namespace, without labels. */
export function toOperatorsBinding(namespace: string, operators: readonly Subject[]) {
  return {
    metadata: { name: operatorsBinding, namespace },
    subjects: toSubjects(operators),
    roleRef: toRoleRef(names.experiment),
  };
}

/** A role of the cluster, as bindings name it. */
export function toRoleRef(role: string): k8s.types.input.rbac.v1.RoleRef {
  return { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role };
}
