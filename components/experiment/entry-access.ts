// What the conductor may do in the entry's namespace, for an experiment whose faults act there; nothing else of an
// experiment lies outside its own namespace.

import * as pulumi from "@pulumi/pulumi";
import { entryPlace } from "../cluster/network/entry-place.ts";
import * as k8s from "../kubernetes.ts";
import { labelsOf, physicalName } from "../naming.ts";
import { serviceAccounts } from "./access.ts";

export interface EntryAccessArgs {
  /** The experiment's own. */
  readonly namespace: string;
  readonly experiment: string;
}

/**
 * It looks at the pods, and frees them of what a fault of the network that never acted left behind. The chaos objects
 * lie in the experiment's namespace: the rights on them are those that Chaos Mesh itself asks for where the targets
 * are, to create (up to 2.8.3 for every change), and since then also to update.
 */
export const entryRules: readonly k8s.types.input.rbac.v1.PolicyRule[] = [
  { apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] },
  {
    apiGroups: ["chaos-mesh.org"],
    resources: ["networkchaos", "podchaos", "stresschaos"],
    verbs: ["create", "update"],
  },
  { apiGroups: ["chaos-mesh.org"], resources: ["podnetworkchaos"], verbs: ["delete"] },
];

/** Not to be deleted with the experiment's namespace: the engine would then never delete it at all. */
export class EntryAccess extends pulumi.ComponentResource {
  constructor(name: string, args: EntryAccessArgs, opts: pulumi.ComponentResourceOptions) {
    super("llmeval:experiment:EntryAccess", name, {}, opts);
    const metadata = {
      name: physicalName(["llmeval", args.namespace, serviceAccounts.conductor]),
      namespace: entryPlace.namespace,
      labels: labelsOf({ name: serviceAccounts.conductor, experiment: args.experiment }),
    };
    const role = new k8s.rbac.v1.Role(`${name}-role`, { metadata, rules: [...entryRules] }, { parent: this });
    new k8s.rbac.v1.RoleBinding(
      `${name}-binding`,
      {
        metadata,
        subjects: [{ kind: "ServiceAccount", name: serviceAccounts.conductor, namespace: args.namespace }],
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: metadata.name },
      },
      { parent: this, dependsOn: role },
    );
    this.registerOutputs({});
  }
}
