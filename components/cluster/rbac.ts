// Who may do what in the cluster: people who look, and people and CI accounts who run experiments.

import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as z from "zod";
import { childOptions, objectLabels, type PartArgs, partSchema } from "./common/part.ts";
import {
  experimentRules,
  names,
  nodeReaderRules,
  operatorRules,
  type Subject,
  toRoleRef,
  toSubjects,
  viewerRules,
} from "./rbac-rules.ts";

const name = z
  .string()
  .regex(/^(?!system:)\S+$/, "expected a name that is not one of Kubernetes's own (system:...)");
const accountName = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, "expected a DNS label (a-z, 0-9, -)")
  .max(63);

const subjectSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("Group"), name }),
  z.strictObject({ kind: z.literal("User"), name }),
  z.strictObject({ kind: z.literal("ServiceAccount"), name: accountName, namespace: accountName }),
]);

/** Section `rbac` of a cluster's configuration. */
export const rbacSchema = partSchema({
  /** Who may look: pods, logs, events, Ray and chaos objects, metrics and results; no secrets, no exec. */
  viewers: z.array(subjectSchema).default([]),
  /** Who may run experiments: `pulumi up` and `destroy` of an experiment's stack. */
  operators: z.array(subjectSchema).default([]),
  /**
   * ServiceAccounts made for CI, with the rights of operators. No token is stored; ask for one that ends:
   * `kubectl create token NAME -n llmeval-access --duration 1h`.
   */
  ciAccounts: z.array(accountName).default([]),
});

export type RbacConfig = z.output<typeof rbacSchema>;

export interface RbacArgs extends PartArgs {
  readonly config: RbacConfig;
}

/** Namespace of the CI accounts. */
export const accessNamespace = "llmeval-access";
/** Namespaces of experiments are named like their stacks. */
const namespacePrefix = "exp-";

/** All who run experiments: the operators and the CI accounts. */
export function toOperators(config: RbacConfig): Subject[] {
  const accounts = config.ciAccounts.map((account) => ({
    kind: "ServiceAccount" as const,
    name: account,
    namespace: accessNamespace,
  }));
  return [...config.operators, ...accounts];
}

/** Holds operators to the namespaces of experiments, where their roles alone cannot. */
export function toPolicySpec(
  operators: readonly Subject[],
): k8s.types.input.admissionregistration.v1.ValidatingAdmissionPolicySpec {
  const users = operators.flatMap((subject) =>
    subject.kind === "Group"
      ? []
      : [
          subject.kind === "User"
            ? subject.name
            : `system:serviceaccount:${subject.namespace}:${subject.name}`,
        ],
  );
  const groups = operators.flatMap((subject) => (subject.kind === "Group" ? [subject.name] : []));
  const kindOf = (group: string, resource: string, operations: string[]) => ({
    apiGroups: [group],
    apiVersions: ["*"],
    operations,
    resources: [resource],
  });
  return {
    failurePolicy: "Fail",
    matchConstraints: {
      resourceRules: [
        kindOf("", "namespaces", ["CREATE", "UPDATE", "DELETE"]),
        kindOf("rbac.authorization.k8s.io", "rolebindings", ["CREATE", "UPDATE"]),
      ],
    },
    matchConditions: [
      {
        name: "operator",
        expression:
          `!("system:masters" in request.userInfo.groups) && ` +
          `(request.userInfo.username in ${JSON.stringify(users)} || ` +
          `request.userInfo.groups.exists(group, group in ${JSON.stringify(groups)}))`,
      },
    ],
    validations: [
      {
        expression:
          'request.resource.resource == "namespaces" ' +
          `? (object == null ? request.name : object.metadata.name).startsWith("${namespacePrefix}") ` +
          `: request.namespace.startsWith("${namespacePrefix}")`,
        message: `operators work in namespaces of experiments only: their names begin with ${namespacePrefix}`,
      },
    ],
  };
}

/**
 * Roles for people and CI accounts; those of an experiment's programs belong to its stack. Operators hold no rights
 * anywhere but in namespaces exp-...: the stack of an experiment makes a binding (toOperatorsBinding) in its own.
 * Whoever may create pods in a namespace may do there what its pods may do: also read its secrets, and reach the host
 * where Pod Security lets pods.
 */
export class Rbac extends pulumi.ComponentResource {
  /** All who may run experiments; their stacks bind these in their namespaces. */
  readonly operators: readonly Subject[];

  constructor(name: string, args: RbacArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:Rbac", name, {}, opts);
    const { viewers, ciAccounts } = args.config;
    const child = childOptions(this, args);
    this.operators = toOperators(args.config);

    this.#accounts(name, ciAccounts, args);
    const policy = this.#policy(name, child);
    const grant = (role: keyof typeof roles, subjects: k8s.types.input.rbac.v1.Subject[]): void => {
      const metadata = { name: names[role], labels: objectLabels("rbac") };
      const made = new k8s.rbac.v1.ClusterRole(
        `${name}-${role}`,
        { metadata, rules: [...roles[role]] },
        child,
      );
      if (subjects.length === 0) return;
      new k8s.rbac.v1.ClusterRoleBinding(
        `${name}-${role}`,
        { metadata, subjects, roleRef: toRoleRef(names[role]) },
        childOptions(this, args, { dependsOn: [made, ...policy] }),
      );
    };
    // Who runs an experiment also wants to see it.
    grant("viewer", toSubjects([...viewers, ...this.operators]));
    grant("operator", toSubjects(this.operators));
    grant("experiment", []);
    grant("nodeReader", [
      { kind: "Group", name: "system:serviceaccounts", apiGroup: "rbac.authorization.k8s.io" },
    ]);
    this.registerOutputs({});
  }

  #accounts(name: string, accounts: readonly string[], args: RbacArgs): void {
    if (accounts.length === 0) return;
    const labels = objectLabels("rbac");
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      { metadata: { name: accessNamespace, labels } },
      childOptions(this, args),
    );
    for (const account of accounts) {
      new k8s.core.v1.ServiceAccount(
        `${name}-${account}`,
        {
          metadata: { name: account, namespace: accessNamespace, labels },
          automountServiceAccountToken: false,
        },
        childOptions(this, args, { dependsOn: [namespace] }),
      );
    }
  }

  /** Comes before the rights that it limits. */
  #policy(name: string, child: pulumi.CustomResourceOptions): pulumi.Resource[] {
    const metadata = { name: names.policy, labels: objectLabels("rbac") };
    const policy = new k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
      `${name}-policy`,
      { metadata, spec: toPolicySpec(this.operators) },
      child,
    );
    const binding = new k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
      `${name}-policy`,
      { metadata, spec: { policyName: names.policy, validationActions: ["Deny"] } },
      { ...child, dependsOn: [policy] },
    );
    return [policy, binding];
  }
}

const roles = {
  viewer: viewerRules,
  operator: operatorRules,
  experiment: experimentRules,
  nodeReader: nodeReaderRules,
} as const;
