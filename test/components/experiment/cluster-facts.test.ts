// What an experiment takes from its cluster's stack, and the checks before anything is created.

import { createServer } from "node:net";
import { expect, test } from "vitest";
import { UserError } from "../../../components/errors.ts";
import {
  type ClusterFacts,
  checkApiServer,
  checkCapabilities,
  clusterIdentifier,
  neededParts,
  standInsOf,
  toClusterFacts,
} from "../../../components/experiment/cluster-facts.ts";
import { images } from "../../../components/versions.ts";
import type { ResolvedExperiment } from "../../../experiments/schema.ts";

function kubeconfig(server: string, authority = "Q0E=", certificate = "Q0VSVA=="): string {
  return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "${server}", certificate-authority-data: ${authority}}}]
users: [{name: u, user: {client-certificate-data: ${certificate}}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`;
}

/** Without certificates, for servers that speak no TLS at all. */
function plainKubeconfig(port: number): string {
  return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:${port}", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`;
}

test("outputs of the cluster's stack become facts; own images win over the defaults", () => {
  const outputs = {
    kubeconfig: "text",
    endpoints: { prometheus: "http://p:9090" },
    capabilities: { kuberay: { mode: "on", version: "1.6.2" } },
    images: { load: "registry/load@sha256:1" },
    accelerators: { H100: 8 },
    storageClass: "local-path",
  };
  expect(toClusterFacts(outputs)).toEqual({
    kubeconfig: "text",
    prometheusUrl: "http://p:9090",
    endpoints: { prometheus: "http://p:9090" },
    capabilities: { kuberay: { mode: "on", version: "1.6.2" } },
    images: { ...images, load: "registry/load@sha256:1" },
    accelerators: { H100: 8 },
    storageClass: "local-path",
  });
});

test("a stack without a kubeconfig is no cluster", () => {
  expect(toClusterFacts({})).toBeUndefined();
  expect(toClusterFacts({ kubeconfig: "" })).toBeUndefined();
});

test("fails on every part that is off", () => {
  const facts = toClusterFacts({
    kubeconfig: "text",
    capabilities: { kuberay: { mode: "off", reason: "switched off" }, prometheus: { mode: "on" } },
  });
  expect(() =>
    checkCapabilities("dev", facts!, ["kuberay", "prometheus", "storage"]),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: cluster dev lacks what this experiment needs:
      - kuberay: switched off
      - storage: the stack does not state it as on
    set the part's mode in the cluster's configuration to on, or to external where the cluster has it already, then: pulumi up -s dev]
  `);
});

test("an engine on NVIDIA accelerators needs their operator, the stand-in does not", () => {
  const parallelism = { acceleratorResource: "nvidia.com/gpu" } as ResolvedExperiment["parallelism"];
  const common = ["kuberay", "prometheus", "storage"];
  const faults: ResolvedExperiment["faults"] = [];
  const serve = { via: "service" } as ResolvedExperiment["serve"];
  expect(neededParts({ engine: "vllm", parallelism, serve, faults })).toEqual([...common, "gpuOperator"]);
  expect(neededParts({ engine: "llm-d-inference-sim", parallelism, serve, faults })).toEqual(common);
  const amd = { ...parallelism, acceleratorResource: "amd.com/gpu" };
  expect(neededParts({ engine: "vllm", parallelism: amd, serve, faults })).toEqual(common);
});

test("faults need Chaos Mesh, but for those of GPUs", () => {
  const needed = (kind: string) =>
    neededParts({
      engine: "llm-d-inference-sim",
      parallelism: { acceleratorResource: "nvidia.com/gpu" } as ResolvedExperiment["parallelism"],
      serve: { via: "service" } as ResolvedExperiment["serve"],
      faults: [{ kind }] as unknown as ResolvedExperiment["faults"],
    });
  expect(needed("cpu")).toContain("chaosMesh");
  expect(needed("gpu-power-cap")).not.toContain("chaosMesh");
});

test("a load or a fault on the entry needs it, installed by the cluster's own stack", () => {
  const needed = (via: "service" | "entry", target: "head" | "entry") =>
    neededParts({
      engine: "llm-d-inference-sim",
      parallelism: { acceleratorResource: "nvidia.com/gpu" } as ResolvedExperiment["parallelism"],
      serve: { via } as ResolvedExperiment["serve"],
      faults: [{ kind: "cpu", target }] as unknown as ResolvedExperiment["faults"],
    }).includes("entry");
  expect([needed("service", "head"), needed("entry", "head"), needed("service", "entry")]).toEqual([
    false,
    true,
    true,
  ]);
  const facts = (mode: string, reason: string) =>
    toClusterFacts({ kubeconfig: "text", capabilities: { entry: { mode, reason } } }) as ClusterFacts;
  const check = (mode: string, reason: string) => () =>
    checkCapabilities("dev", facts(mode, reason), ["entry"]);
  expect(check("on", "")).not.toThrow();
  expect(check("off", "switched off")).toThrow("\n  - entry: switched off\n");
  expect(check("external", "there already")).toThrow("\n  - entry: there already; it must be on\n");
});

test("the identifier follows the certificate authority, not the client's certificate or the address", () => {
  const identifier = clusterIdentifier("dev", kubeconfig("https://a:6443"));
  expect(identifier).toMatch(/^dev-[0-9a-f]{12}$/);
  expect(clusterIdentifier("dev", kubeconfig("https://b:6443", "Q0E=", "TkVX"))).toBe(identifier);
  expect(clusterIdentifier("dev", kubeconfig("https://a:6443", "TkVX"))).not.toBe(identifier);
  expect(clusterIdentifier("dev", "clusters: []")).toBe("dev");
});

test("fails within seconds when nothing listens, naming the server and the way out", async () => {
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
  });
  await new Promise((resolve) => server.close(resolve));
  const failure = await checkApiServer("dev", plainKubeconfig(port)).catch((error) => error);
  expect(failure).toBeInstanceOf(UserError);
  expect(failure.message.replaceAll(String(port), "PORT")).toMatchInlineSnapshot(
    `"the API server https://127.0.0.1:PORT of cluster dev cannot be used: connect ECONNREFUSED 127.0.0.1:PORT; nothing was created. Start the cluster, or bring its stack up to date: pulumi up -s dev"`,
  );
});

test("fails within seconds when the server is silent", { timeout: 15_000 }, async () => {
  const server = createServer(() => {});
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
  });
  const started = performance.now();
  const failure = await checkApiServer("dev", plainKubeconfig(port)).catch((error) => error);
  expect(performance.now() - started).toBeLessThan(9000);
  expect(failure.message).toContain("no answer within 5 s");
  server.close();
});

test("stand-ins of the cluster are those whose version says so", () => {
  expect(
    standInsOf({
      k3s: { mode: "on", version: "v1.36.4+k3s1-stand-in" },
      kuberay: { mode: "on", version: "1.6.2" },
      loki: { mode: "off", version: "stand-in" },
    }),
  ).toEqual([{ part: "k3s", name: "k3s", version: "v1.36.4+k3s1-stand-in" }]);
});
