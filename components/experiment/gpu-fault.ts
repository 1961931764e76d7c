// The two Jobs of a GPU fault: one caps power or clocks and puts them back under every exit, the other guards that.

import type { Fault } from "../../experiments/faults.ts";
import type { PlannedFault } from "../../experiments/planned-faults.ts";
import type { Manifest } from "../../workloads/shared/faults.ts";
import { deadManSeconds, faultLabels, faultObjectName } from "./chaos-objects.ts";
import { type RunArgs, startAllowanceSeconds } from "./conventions.ts";

export interface GpuFaultArgs {
  /** Image with bash and flock; nvidia-smi comes from the node by the NVIDIA runtime. */
  readonly image: string;
  /** ConfigMap with gpu-fault.sh. */
  readonly configMap: string;
}

type GpuFault = Extract<Fault, { kind: "gpu-power-cap" | "gpu-clock-cap" }>;

/** A Job's name becomes a label; the role and the target's number come behind it, e.g. `-guard-63`. */
const nameLength = 63 - 9;
const statePath = "/var/lib/llmeval-gpu-fault";
export const gpuScript = "gpu-fault.sh";

/** The node and TARGET_POD_UID are filled in by the conductor, once for each target; the name gets the target's number. */
export function toGpuJobs(
  planned: PlannedFault & { readonly fault: GpuFault },
  run: RunArgs,
  args: GpuFaultArgs,
): { act: Manifest; guard: Manifest } {
  const job = (role: "act" | "guard"): Manifest => toJob(role, planned, run, args);
  return { act: job("act"), guard: job("guard") };
}

function toJob(
  role: "act" | "guard",
  planned: PlannedFault & { readonly fault: GpuFault },
  run: RunArgs,
  args: GpuFaultArgs,
): Manifest {
  const name = faultObjectName(run, planned.cell, planned.id, nameLength);
  const labels = faultLabels(run, planned);
  const { fault } = planned;
  const duration = Math.ceil(planned.durationSeconds + deadManSeconds);
  const deadline = duration + deadManSeconds;
  const env = {
    LIMIT: fault.kind === "gpu-power-cap" ? "power" : "clock",
    VALUE: String(fault.kind === "gpu-power-cap" ? fault.powerWatts : fault.clockMegahertz),
    DURATION_SECONDS: String(duration),
    DEADLINE_SECONDS: String(deadline),
    STATE_DIR: `${statePath}/${name}`,
    // All GPUs of the node are seen, without one being taken from the scheduler.
    NVIDIA_VISIBLE_DEVICES: "all",
    NVIDIA_DRIVER_CAPABILITIES: "utility",
  };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: `${name}-${role}`, namespace: run.namespace, labels },
    spec: {
      activeDeadlineSeconds: deadline + startAllowanceSeconds,
      backoffLimit: 0,
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: "Never",
          runtimeClassName: "nvidia",
          // Finds the target's processes by their control groups.
          hostPID: true,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 60,
          tolerations: [{ operator: "Exists" }],
          containers: [
            {
              name: role,
              image: args.image,
              command: ["bash", `/script/${gpuScript}`, role],
              env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
              resources: { requests: { cpu: "10m", memory: "32Mi" }, limits: { memory: "256Mi" } },
              securityContext: { privileged: true, runAsUser: 0 },
              // Ready means: the limit is set and was read back.
              ...(role === "act"
                ? { readinessProbe: { exec: { command: ["cat", "/tmp/injected"] }, periodSeconds: 1 } }
                : {}),
              volumeMounts: [
                { name: "script", mountPath: "/script", readOnly: true },
                { name: "state", mountPath: statePath },
              ],
            },
          ],
          volumes: [
            { name: "script", configMap: { name: args.configMap } },
            { name: "state", hostPath: { path: statePath, type: "DirectoryOrCreate" } },
          ],
        },
      },
    },
  };
}
