// Node exporter: what the kernel of each node says about CPUs, memory, disks, network and clock.

import type * as k8s from "@pulumi/kubernetes";
import { appLabels, objectLabels } from "../common/part.ts";

export const nodeExporterPort = 9100;
/** `nobody`: it needs no rights on its node's files beyond reading. */
const nobody = 65534;

/** Spec of the node exporter DaemonSet: one per node, in the node's network and process namespaces. */
export function toNodeExporterSpec(image: string): k8s.types.input.apps.v1.DaemonSetSpec {
  return {
    selector: { matchLabels: appLabels("node-exporter") },
    template: {
      metadata: { labels: objectLabels("node-exporter") },
      spec: {
        hostNetwork: true,
        hostPID: true,
        automountServiceAccountToken: false,
        tolerations: [{ operator: "Exists" }],
        securityContext: { runAsNonRoot: true, runAsUser: nobody, runAsGroup: nobody },
        containers: [
          {
            name: "node-exporter",
            image,
            args: [
              "--path.rootfs=/host",
              "--path.procfs=/host/proc",
              "--path.sysfs=/host/sys",
              `--web.listen-address=:${nodeExporterPort}`,
              // Mounts and links of pods come and go; they would be a new series each.
              "--collector.filesystem.mount-points-exclude=^/(dev|proc|run|sys|var/lib/(kubelet|rancher|containerd))($|/)",
              "--collector.netclass.ignored-devices=^(veth|cali|lxc).*$",
              "--collector.netdev.device-exclude=^(veth|cali|lxc).*$",
            ],
            ports: [{ name: "node", containerPort: nodeExporterPort, hostPort: nodeExporterPort }],
            readinessProbe: { httpGet: { path: "/", port: nodeExporterPort }, periodSeconds: 2 },
            resources: { requests: { cpu: "20m", memory: "32Mi" }, limits: { memory: "128Mi" } },
            securityContext: {
              allowPrivilegeEscalation: false,
              capabilities: { drop: ["ALL"] },
              readOnlyRootFilesystem: true,
            },
            volumeMounts: [
              { name: "root", mountPath: "/host", readOnly: true, mountPropagation: "HostToContainer" },
            ],
          },
        ],
        volumes: [{ name: "root", hostPath: { path: "/" } }],
      },
    },
  };
}
