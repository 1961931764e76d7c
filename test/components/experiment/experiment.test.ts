// The whole component on Pulumi's mock engine: what is registered, and that nothing secret is where it does not belong.

import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import { Experiment } from "../../../components/experiment/experiment.ts";
import { images } from "../../../components/versions.ts";
import { resolveExperiment } from "../../../experiments/resolve.ts";
import { projectDir } from "../../experiments/project.ts";
import { record } from "../../support/record.ts";

const id = "smoke-r1-3f9ac2";

function program(huggingFaceToken?: string) {
  return () => {
    const experiment = new Experiment(
      "smoke",
      {
        namespace: "exp-smoke",
        experiment: "smoke",
        experimentId: id,
        projectDir,
        resolved: resolveExperiment({ projectDir, name: "smoke" }),
        images,
        storageClass: "local-path",
        rayVersion: "2.55.0",
        kubeconfig: pulumi.secret("the-kubeconfig"),
        prometheusUrl: "http://prometheus.monitoring.svc:9090",
        standIns: [],
        stackInfo: { stack: "exp-smoke", cluster: "dev", capabilities: {} },
        ...(huggingFaceToken === undefined ? {} : { huggingFaceToken: pulumi.secret(huggingFaceToken) }),
      },
      {},
    );
    return { timeline: experiment.timeline, summary: experiment.summary };
  };
}

const { resources, outputs } = await record(program());

test("registers exactly these resources", () => {
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "command:local:Command load-smoke-r1-3f9ac2",
      "command:local:Command results-smoke-r1-3f9ac2",
      "command:local:Command t0-smoke-r1-3f9ac2",
      "kubernetes:apps/v1:Deployment smoke-results-reader",
      "kubernetes:batch/v1:Job smoke-collector-smoke-r1-3f9ac2",
      "kubernetes:batch/v1:Job smoke-gate-smoke-r1-3f9ac2",
      "kubernetes:batch/v1:Job smoke-load-smoke-r1-3f9ac2",
      "kubernetes:core/v1:ConfigMap smoke-run-smoke-r1-3f9ac2",
      "kubernetes:core/v1:ConfigMap smoke-source-collector",
      "kubernetes:core/v1:ConfigMap smoke-source-gate",
      "kubernetes:core/v1:ConfigMap smoke-source-reader",
      "kubernetes:core/v1:Namespace smoke",
      "kubernetes:core/v1:PersistentVolumeClaim smoke-results-claim",
      "kubernetes:core/v1:Service smoke-results-reader",
      "kubernetes:core/v1:ServiceAccount smoke-access-collector",
      "kubernetes:core/v1:ServiceAccount smoke-access-gate",
      "kubernetes:core/v1:ServiceAccount smoke-access-load",
      "kubernetes:core/v1:ServiceAccount smoke-access-ray",
      "kubernetes:core/v1:ServiceAccount smoke-access-reader",
      "kubernetes:ray.io/v1:RayService smoke-ray-service",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole smoke-cluster-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding smoke-cluster-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:Role smoke-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:Role smoke-access-gate",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding smoke-access-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding smoke-access-gate",
      "llmeval:experiment:Access smoke-access",
      "llmeval:experiment:ClusterAccess smoke-cluster-access",
      "llmeval:experiment:Collector smoke-collector",
      "llmeval:experiment:Experiment smoke",
      "llmeval:experiment:Fetch smoke-fetch",
      "llmeval:experiment:Gate smoke-gate",
      "llmeval:experiment:Load smoke-load",
      "llmeval:experiment:RayService smoke-ray",
      "llmeval:experiment:ResultsVolume smoke-results",
      "llmeval:experiment:RunConfig smoke-run",
      "llmeval:experiment:WorkloadSources smoke-source",
      "pulumi:pulumi:Stack llm-serving-eval-exp-smoke",
    ]
  `);
});

test("every object lives in the experiment's namespace, but for the collector's right to read nodes", () => {
  const homeless = resources.filter(
    ({ type, inputs }) =>
      type.startsWith("kubernetes:") &&
      (inputs["metadata"] as { namespace?: string }).namespace !== "exp-smoke",
  );
  expect(
    homeless.map(({ type, inputs }) => `${type} ${(inputs["metadata"] as { name: string }).name}`),
  ).toMatchInlineSnapshot(`
    [
      "kubernetes:core/v1:Namespace exp-smoke",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole llmeval-exp-smoke-collector",
      "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding llmeval-exp-smoke-collector",
    ]
  `);
});

test("every pod names a service account of the experiment, and asks for resources", () => {
  const accounts = resources
    .filter(({ type }) => type === "kubernetes:core/v1:ServiceAccount")
    .map(({ inputs }) => (inputs["metadata"] as { name: string }).name);
  const pods: { serviceAccountName?: string; containers: { resources?: unknown }[] }[] = [];
  JSON.stringify(resources, (_key, value) => {
    if (Array.isArray(value?.containers)) pods.push(value);
    return value;
  });
  // Three Jobs, the reader, the head and one worker.
  expect(pods).toHaveLength(6);
  for (const pod of pods) {
    expect(accounts).toContain(pod.serviceAccountName);
    for (const container of pod.containers) expect(container.resources).toHaveProperty("limits.memory");
  }
});

test("every Job runs once, but for the collector; each ends by a deadline and stays until destroy", () => {
  const jobs = resources.filter(({ type }) => type === "kubernetes:batch/v1:Job");
  expect(jobs).toHaveLength(3);
  for (const { inputs } of jobs) {
    const { metadata, spec } = inputs as {
      metadata: { name: string; annotations: Record<string, string> };
      spec: Record<string, unknown>;
    };
    expect(metadata.annotations).toEqual({ "pulumi.com/skipAwait": "true" });
    expect(spec["backoffLimit"]).toBe(metadata.name.startsWith("collector-") ? 3 : 0);
    expect(spec["activeDeadlineSeconds"]).toBeGreaterThan(300);
    expect(spec).not.toHaveProperty("ttlSecondsAfterFinished");
  }
});

test("the kubeconfig goes into the three commands by stdin, as a secret, and nowhere else", () => {
  const holders = resources.filter((resource) => JSON.stringify(resource).includes("the-kubeconfig"));
  expect(holders.map(({ name }) => name)).toEqual([`load-${id}`, `results-${id}`, `t0-${id}`]);
  for (const { inputs } of holders) {
    expect(inputs["create"]).not.toContain("the-kubeconfig");
    expect(inputs["stdin"]).toEqual({
      "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
      value: "the-kubeconfig",
    });
    expect(inputs["logging"]).toBe("stderr");
  }
});

test("outputs are what the commands print", () => {
  expect(outputs).toEqual({
    timeline: { t0UnixNs: "1795000000123456789" },
    summary: { quality: { verdict: "pass" }, cells: [] },
  });
});

test("a token becomes a Secret that only the Ray pods read", async () => {
  const { resources: withToken } = await record(program("the-token"));
  const holders = withToken.filter((resource) => JSON.stringify(resource).includes("the-token"));
  expect(holders.map(({ type, name }) => `${type} ${name}`)).toEqual([
    "kubernetes:core/v1:Secret smoke-ray-hugging-face",
  ]);
  const readers = withToken.filter((resource) => JSON.stringify(resource).includes('"secretKeyRef"'));
  expect(readers.map(({ type }) => type)).toEqual(["kubernetes:ray.io/v1:RayService"]);
});
