// What each kind of account may do, as questions to `kubectl auth can-i` and their answers.

import { accessNamespace, type RbacConfig } from "../../components/cluster/rbac.ts";

/** The accounts that the questions are about; the cluster's configuration must hold them. */
export const rbacOfCases: Omit<RbacConfig, "mode"> = {
  viewers: [{ kind: "User", name: "viewer@test" }],
  operators: [{ kind: "Group", name: "operators@test" }],
  ciAccounts: ["ci"],
};

const accounts = {
  viewer: ["--as", "viewer@test"],
  operator: ["--as", "operator@test", "--as-group", "operators@test"],
  ci: ["--as", `system:serviceaccount:${accessNamespace}:ci`, "--as-group", "system:serviceaccounts"],
  stranger: ["--as", "stranger@test"],
} as const;

/**
 * Account, verb, resource, namespace ("" for none) and the answer. `resource/name` is one object by name; kubectl wants
 * subresources as an option.
 */
export type RbacCase = readonly [keyof typeof accounts, string, string, string, "yes" | "no"];

/**
 * All questions for the namespace of an experiment that holds the operators' binding. Other namespaces stand for
 * everything that is not an experiment.
 */
export function rbacCases(experiment: string): RbacCase[] {
  const operator: RbacCase[] = [
    ["operator", "create", "namespaces", "", "yes"],
    ["operator", "delete", "namespaces", "", "yes"],
    ...["configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims", "deployments.apps"]
      .concat(["jobs.batch", "rayservices.ray.io", "roles.rbac.authorization.k8s.io"])
      .concat(["podchaos.chaos-mesh.org", "networkchaos.chaos-mesh.org", "stresschaos.chaos-mesh.org"])
      .flatMap((resource) =>
        ["get", "create", "patch", "delete"].flatMap((verb): RbacCase[] => [
          ["operator", verb, resource, experiment, "yes"],
          ["operator", verb, resource, "kube-system", verb === "get" && looks(resource) ? "yes" : "no"],
        ]),
      ),
    ["operator", "get", "pods --subresource=log", experiment, "yes"],
    ["operator", "get", "services/http:results:8080 --subresource=proxy", experiment, "yes"],
    ["operator", "get", "services/other --subresource=proxy", experiment, "no"],
    ["operator", "create", "pods", experiment, "no"],
    ["operator", "create", "pods --subresource=exec", experiment, "no"],
    ["operator", "create", "serviceaccounts --subresource=token", experiment, "no"],
    ["operator", "impersonate", "users", "", "no"],
    ["operator", "escalate", "roles.rbac.authorization.k8s.io", experiment, "no"],
    ["operator", "bind", "roles.rbac.authorization.k8s.io", experiment, "yes"],
    ["operator", "bind", "roles.rbac.authorization.k8s.io", "kube-system", "no"],
    ["operator", "bind", "clusterroles.rbac.authorization.k8s.io/edit", experiment, "no"],
    ["operator", "bind", "clusterroles.rbac.authorization.k8s.io/cluster-admin", "", "no"],
    ["operator", "bind", "clusterroles.rbac.authorization.k8s.io/llmeval-experiment-operator", "", "yes"],
    ["operator", "create", "rolebindings.rbac.authorization.k8s.io", "kube-system", "no"],
    ["operator", "delete", "rolebindings.rbac.authorization.k8s.io", "kube-system", "no"],
    ...["clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io"]
      .concat(["nodes", "persistentvolumes", "customresourcedefinitions.apiextensions.k8s.io"])
      .concat(["validatingadmissionpolicies.admissionregistration.k8s.io"])
      .flatMap((resource) =>
        ["create", "patch", "delete"].map((verb): RbacCase => ["operator", verb, resource, "", "no"]),
      ),
    ["operator", "get", "secrets", "", "no"],
  ];
  return [
    ...operator,
    ["ci", "create", "namespaces", "", "yes"],
    ["ci", "create", "jobs.batch", experiment, "yes"],
    ["ci", "get", "secrets", experiment, "yes"],
    ["ci", "get", "secrets", "kube-system", "no"],
    ["ci", "create", "jobs.batch", accessNamespace, "no"],
    ["ci", "create", "serviceaccounts --subresource=token", accessNamespace, "no"],
    ["ci", "list", "nodes", "", "yes"],
    ["ci", "delete", "nodes", "", "no"],
    ...["pods", "events", "jobs.batch", "rayservices.ray.io", "podchaos.chaos-mesh.org"].flatMap(
      (resource): RbacCase[] => [
        ["viewer", "list", resource, experiment, "yes"],
        ["viewer", "list", resource, "kube-system", "yes"],
        ["viewer", "create", resource, experiment, "no"],
        ["viewer", "patch", resource, experiment, "no"],
        ["viewer", "delete", resource, experiment, "no"],
        ["stranger", "list", resource, experiment, "no"],
      ],
    ),
    ["viewer", "get", "pods --subresource=log", experiment, "yes"],
    ["viewer", "list", "pods.metrics.k8s.io", experiment, "yes"],
    ["viewer", "list", "nodes.metrics.k8s.io", "", "yes"],
    ["viewer", "get", "services/http:results:8080 --subresource=proxy", experiment, "yes"],
    ["viewer", "get", "services/other --subresource=proxy", experiment, "no"],
    ["viewer", "create", "services/http:results:8080 --subresource=proxy", experiment, "no"],
    ["viewer", "get", "secrets", experiment, "no"],
    ["viewer", "list", "secrets", "kube-system", "no"],
    ["viewer", "get", "configmaps", experiment, "no"],
    ["viewer", "create", "pods --subresource=exec", experiment, "no"],
    ["viewer", "get", "pods --subresource=exec", experiment, "no"],
    ["viewer", "create", "pods --subresource=portforward", experiment, "no"],
    ["viewer", "create", "namespaces", "", "no"],
    ["viewer", "delete", "nodes", "", "no"],
    ["stranger", "list", "namespaces", "", "no"],
  ];
}

/** Operators are viewers too, in every namespace. */
function looks(resource: string): boolean {
  return /^(jobs\.batch|rayservices|podchaos|networkchaos|stresschaos)/.test(resource);
}

/** Arguments of kubectl; it prints the answer and ends with status 1 for "no". */
export function canI([account, verb, resource, namespace]: RbacCase): string[] {
  const place = namespace === "" ? ["--all-namespaces"] : ["--namespace", namespace];
  return ["auth", "can-i", verb, ...resource.split(" "), ...accounts[account], ...place];
}
