// Who may do what: one ServiceAccount per part, and read access only where a part calls the Kubernetes API.

import * as pulumi from "@pulumi/pulumi";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";

export interface AccessArgs {
  readonly namespace: string;
  readonly experiment: string;
  /** What the faults of the experiment are made with. @default none */
  readonly faultKinds?: { readonly chaos: boolean; readonly gpu: boolean };
}

type Rule = k8s.types.input.rbac.v1.PolicyRule;

/** Name of each part's ServiceAccount. */
export const serviceAccounts = {
  ray: "ray",
  gate: "gate",
  load: "load",
  collector: "collector",
  conductor: "conductor",
  reader: "reader",
} as const;

const read = ["get", "list"];

/** Rules inside the experiment's namespace; parts that are absent have none. */
export const namespaceRules: Readonly<Record<string, readonly Rule[]>> = {
  gate: [{ apiGroups: [""], resources: ["pods"], verbs: read }],
};

/** The collector's: it writes down every object of the run. No ConfigMaps and no Secrets: it is given what it needs. */
export function collectorRules({ chaos }: NonNullable<AccessArgs["faultKinds"]>): readonly Rule[] {
  return [
    {
      apiGroups: [""],
      resources: ["pods", "pods/log", "events", "services", "persistentvolumeclaims"],
      verbs: read,
    },
    { apiGroups: ["apps"], resources: ["deployments"], verbs: read },
    { apiGroups: ["batch"], resources: ["jobs"], verbs: read },
    { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: read },
    { apiGroups: ["ray.io"], resources: ["rayservices", "rayclusters"], verbs: read },
    ...(chaos ? [{ apiGroups: ["chaos-mesh.org"], resources: [...chaosResources], verbs: read }] : []),
  ];
}

/** The conductor's, by what the faults need: a run without faults has no conductor, and it no rights. */
export function conductorRules({ chaos, gpu }: NonNullable<AccessArgs["faultKinds"]>): readonly Rule[] {
  if (!chaos && !gpu) return [];
  const write = ["create", "patch", "delete"];
  return [
    { apiGroups: [""], resources: ["pods"], verbs: read },
    ...(chaos
      ? [{ apiGroups: ["chaos-mesh.org"], resources: [...chaosResources], verbs: [...read, ...write] }]
      : []),
    // Jobs of privileged pods: such an experiment trusts its conductor with the nodes.
    ...(gpu ? [{ apiGroups: ["batch"], resources: ["jobs"], verbs: [...read, ...write] }] : []),
  ];
}

/** The kinds that faults are made of, and two that the injector keeps of what it does to a pod. */
const chaosResources = [
  "iochaos",
  "networkchaos",
  "podchaos",
  "podiochaos",
  "podnetworkchaos",
  "stresschaos",
  "timechaos",
];

/** The collector writes down which node each pod ran on, and what the node was. */
export const clusterRules: Readonly<Record<string, readonly Rule[]>> = {
  collector: [{ apiGroups: [""], resources: ["nodes"], verbs: read }],
};

export class Access extends pulumi.ComponentResource {
  constructor(name: string, args: AccessArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:Access", name, {}, opts);
    const { namespace, experiment } = args;
    const inNamespace = { parent: this, deletedWith: opts.deletedWith };
    const faultKinds = args.faultKinds ?? { chaos: false, gpu: false };
    const conductor = conductorRules(faultKinds);
    const rulesOf: Readonly<Record<string, readonly Rule[]>> = {
      ...namespaceRules,
      collector: collectorRules(faultKinds),
      ...(conductor.length === 0 ? {} : { conductor }),
    };

    const accounts = Object.values(serviceAccounts).filter(
      (account) => account !== "conductor" || conductor.length > 0,
    );
    for (const account of accounts) {
      const labels = labelsOf({ name: account, experiment });
      const subjects = [{ kind: "ServiceAccount", name: account, namespace }];
      new k8s.core.v1.ServiceAccount(
        `${name}-${account}`,
        { metadata: { name: account, namespace, labels }, automountServiceAccountToken: false },
        inNamespace,
      );
      const rules = rulesOf[account];
      if (rules !== undefined) {
        const metadata = { name: account, namespace, labels };
        const role = new k8s.rbac.v1.Role(`${name}-${account}`, { metadata, rules: [...rules] }, inNamespace);
        new k8s.rbac.v1.RoleBinding(
          `${name}-${account}`,
          {
            metadata,
            subjects,
            roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: account },
          },
          { ...inNamespace, dependsOn: role },
        );
      }
    }
    this.registerOutputs({});
  }
}

/** Rights outside the namespace; not to be deleted with it, as the engine would then never delete them at all. */
export class ClusterAccess extends pulumi.ComponentResource {
  constructor(name: string, args: AccessArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:ClusterAccess", name, {}, opts);
    const { namespace, experiment } = args;
    for (const [account, rules] of Object.entries(clusterRules)) {
      const metadata = {
        name: physicalName(["llmeval", namespace, account]),
        labels: labelsOf({ name: account, experiment }),
      };
      const role = new k8s.rbac.v1.ClusterRole(
        `${name}-${account}`,
        { metadata, rules: [...rules] },
        { parent: this },
      );
      new k8s.rbac.v1.ClusterRoleBinding(
        `${name}-${account}`,
        {
          metadata,
          subjects: [{ kind: "ServiceAccount", name: account, namespace }],
          roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: metadata.name },
        },
        { parent: this, dependsOn: role },
      );
    }
    this.registerOutputs({});
  }
}
