// The volume of a part that keeps data, where its configuration asks for one.

import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";

interface DataVolumeArgs {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  /** @default no volume */
  readonly sizeGibibytes: number | undefined;
  readonly storageClass: string;
}

/** The claim, for the `dependsOn` of the pod that mounts it; empty without a size. */
export function dataVolume(
  name: string,
  args: DataVolumeArgs,
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  if (args.sizeGibibytes === undefined) return [];
  const claim = new k8s.core.v1.PersistentVolumeClaim(
    name,
    {
      metadata: {
        ...args.metadata,
        // A class that binds on first use stays pending until the pod exists, and the pod waits for this object.
        annotations: { "pulumi.com/skipAwait": "true" },
      },
      spec: {
        accessModes: ["ReadWriteOnce"],
        storageClassName: args.storageClass,
        resources: { requests: { storage: `${args.sizeGibibytes}Gi` } },
      },
    },
    options,
  );
  return [claim];
}
