// A Job that runs one small Node program once, to wait for or to set what only a program inside the cluster can.

import type * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { objectLabels } from "./part.ts";

/** What a program that checks something runs as. */
interface CheckJobArgs {
  readonly name: string;
  readonly image: string;
  /** ConfigMap that holds the program as main.mjs. */
  readonly configMapName: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutSeconds: number;
  /** Account whose token it gets. @default none */
  readonly serviceAccount?: string;
}

/** The program ends itself within its timeout; the time beyond is for its image and its pod. */
const startAllowanceSeconds = 300;

/** How long the engine waits for such a Job: longer than the Job has, so that the Job says what failed. */
export function checkTimeouts(timeoutSeconds: number): pulumi.CustomTimeouts {
  return { create: `${timeoutSeconds + 2 * startAllowanceSeconds}s` };
}

/** Spec of a Job that runs one small Node program once; its last words stand in the error of a failed `up`. */
export function toCheckJobSpec(args: CheckJobArgs): k8s.types.input.batch.v1.JobSpec {
  const usesApi = args.serviceAccount !== undefined;
  return {
    activeDeadlineSeconds: args.timeoutSeconds + startAllowanceSeconds,
    backoffLimit: 0,
    template: {
      metadata: { labels: objectLabels(args.name) },
      spec: {
        restartPolicy: "Never",
        ...(usesApi ? { serviceAccountName: args.serviceAccount } : {}),
        automountServiceAccountToken: usesApi,
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534 },
        containers: [
          {
            name: args.name,
            image: args.image,
            command: ["node", "/check/main.mjs"],
            env: Object.entries(args.env).map(([name, value]) => ({ name, value })),
            resources: { requests: { cpu: "10m", memory: "64Mi" }, limits: { memory: "256Mi" } },
            securityContext: {
              allowPrivilegeEscalation: false,
              capabilities: { drop: ["ALL"] },
              readOnlyRootFilesystem: true,
            },
            terminationMessagePolicy: "FallbackToLogsOnError",
            volumeMounts: [{ name: "check", mountPath: "/check", readOnly: true }],
          },
        ],
        volumes: [{ name: "check", configMap: { name: args.configMapName } }],
      },
    },
  };
}
