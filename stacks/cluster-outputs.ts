// What a cluster's stack tells those who build on it.

import type * as pulumi from "@pulumi/pulumi";
import type { Capability } from "../components/cluster/capabilities.ts";
import type { Subject } from "../components/cluster/rbac-rules.ts";
import type { Images } from "../components/versions.ts";

export interface ClusterOutputs {
  readonly kubeconfig: pulumi.Output<string>;
  /** Addresses: the API server's for users, all others inside the cluster. */
  readonly endpoints: Readonly<Record<string, pulumi.Input<string>>>;
  readonly capabilities: Readonly<Record<string, Capability>>;
  readonly storageClass: string;
  readonly images: Images;
  readonly accelerators: Readonly<Record<string, number>>;
  /** Who may run experiments, where the cluster has roles for people. */
  readonly operators?: readonly Subject[];
  /** Passwords by part; absent where a part is off or asks for none. */
  readonly passwords: Readonly<Record<string, pulumi.Output<string> | undefined>>;
}
