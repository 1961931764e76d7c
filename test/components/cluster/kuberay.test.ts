// The KubeRay part: inputs of its release, to the last field.

import { expect, test } from "vitest";
import { kuberaySchema, toKubeRayRelease } from "../../../components/cluster/kuberay.ts";
import { parseConfig } from "../../../components/config-problems.ts";
import { versions } from "../../../components/versions.ts";

test("the KubeRay release", () => {
  const config = parseConfig(kuberaySchema, {}, { file: "x" });
  expect(config.mode).toBe("on");
  expect(toKubeRayRelease(config, "10.0.0.9:5000/operator@sha256:0123")).toEqual({
    name: "kuberay-operator",
    namespace: "kuberay-system",
    chart: `.charts/kuberay-operator-${versions.kuberay}.tgz`,
    version: versions.kuberay,
    values: {
      image: { repository: "10.0.0.9:5000/operator@sha256", tag: "0123", pullPolicy: "IfNotPresent" },
      resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { cpu: "1", memory: "512Mi" } },
      batchScheduler: { enabled: false },
      metrics: { enabled: true, serviceMonitor: { enabled: false } },
    },
    timeout: 300,
    skipCrds: false,
    atomic: false,
    maxHistory: 5,
    dependencyUpdate: false,
  });
});
