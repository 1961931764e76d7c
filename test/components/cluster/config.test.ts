// configs/clusters/*.yaml: defaults, cross checks, and that every committed file is valid.

import * as fs from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import { clusterConfigSchema, toAccelerators } from "../../../components/cluster/config.ts";
import { parseConfig, parseConfigFile } from "../../../components/config-problems.ts";

const folder = path.resolve(import.meta.dirname, "../../../configs/clusters");
const files = fs.readdirSync(folder).filter((file) => file.endsWith(".yaml"));

test("there are cluster configurations to check", () => {
  expect(files.sort()).toEqual(["lab.yaml", "prod.yaml"]);
});

test.each(files)("%s is valid", (file) => {
  expect(parseConfigFile(clusterConfigSchema, path.join(folder, file), file).k3s?.servers).toHaveLength(1);
});

test("without a file, what needs nothing of the hosts is on; what changes their network or needs hardware is off", () => {
  const config = parseConfig(clusterConfigSchema, {}, { file: "x" });
  const modes = Object.entries(config).flatMap(([key, section]) =>
    typeof section === "object" && "mode" in section ? [`${key}: ${section.mode}`] : [],
  );
  expect(modes).toMatchInlineSnapshot(`
    [
      "cilium: off",
      "gatewayApi: off",
      "istio: off",
      "gpuOperator: off",
      "prometheus: on",
      "kubeStateMetrics: on",
      "grafana: on",
      "loki: on",
      "opentelemetry: on",
      "deepflow: off",
      "kuberay: on",
      "chaosMesh: off",
      "rbac: on",
      "entry: on",
    ]
  `);
  const { storage, protectData, accelerators } = config;
  expect({ storage, protectData, accelerators }).toEqual({
    storage: { className: "local-path" },
    protectData: true,
    accelerators: {},
  });
});

test("hosts that cannot work together are reported at once, beside misspelt keys", () => {
  const value = {
    k3s: {
      ssh: { keyFile: "key" },
      servers: [
        { name: "one", address: "10.42.0.5", hostKey: "ssh-ed25519 AAAA" },
        { name: "two", address: "10.0.0.2", hostKey: "ssh-ed25519 AAAA" },
      ],
      agents: [{ name: "one", address: "10.0.0.2", taints: ["gpu"], lables: { a: "b" } }],
      binary: { url: "ftp://mirror/k3s" },
      podCidr: "10.42.0.0/16",
      serviceCidr: "10.42.128.0/17",
      disable: ["treafik"],
    },
    kuberay: { chart: { version: "latest" } },
    prometeus: {},
  };
  expect(() =>
    parseConfig(clusterConfigSchema, value, { file: "configs/clusters/x.yaml" }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/clusters/x.yaml: 13 problems
      - k3s.agents[0].lables: unknown key; did you mean "labels"? (allowed: accelerators, address, dataDir, hostKey, kubeletArgs, labels, name, port, taints, user)
      - prometeus: unknown key; did you mean "prometheus"? (allowed: accelerators, chaosMesh, cilium, deepflow, entry, gatewayApi, gpuOperator, grafana, imagesFile, istio, k3s, kubeStateMetrics, kuberay, loki, opentelemetry, prometheus, protectData, rbac, storage)
      - k3s.agents[0].taints[0]: expected key[=value]:Effect, got "gpu"
      - k3s.binary.url: expected an http or https address, got "ftp://mirror/k3s"
      - k3s.disable[0]: "treafik" is not allowed; did you mean "traefik"? allowed: coredns, local-storage, metrics-server, servicelb, traefik
      - k3s.servers: got 2 servers; etcd needs an odd number, since 2 servers survive the loss of no more servers than 1 do; give 1 or 3
      - k3s.agents[0].name: "one" is already the name of servers[0]; every host needs its own
      - k3s.agents[0].address: "10.0.0.2" is already the address of servers[1]; every host needs its own
      - k3s.agents[0].hostKey: missing; give one a hostKey or set ssh.knownHostsFile
      - k3s.binary: give exactly one of sha256 and sha256File, got neither
      - k3s.serviceCidr: 10.42.128.0/17 overlaps with podCidr 10.42.0.0/16; choose separate ranges
      - k3s.servers[0].address: 10.42.0.5 lies in podCidr 10.42.0.0/16; choose a range without hosts
      - kuberay.chart.version: expected an exact chart version, got "latest"]
  `);
});

const hosts = {
  ssh: { keyFile: "key", knownHostsFile: "known_hosts" },
  servers: [{ name: "a", address: "10.0.0.1" }],
  binary: { url: "https://mirror/k3s", sha256: "a".repeat(64) },
};

test("parts that do not fit together, or not to the hosts, are reported at once", () => {
  const value = {
    k3s: { ...hosts, version: "v1.38.1+k3s1", flannelBackend: "vxlan" },
    cilium: { mode: "on" },
    istio: { mode: "on" },
    gpuOperator: { mode: "on" },
    prometheus: { mode: "off" },
  };
  expect(() => parseConfig(clusterConfigSchema, value, { file: "x" })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x: 8 problems
      - k3s.flannelBackend: vxlan, but cilium.mode is on and brings the network; set flannelBackend: none
      - k3s.kubeProxy: true, but cilium.mode is on and takes its place; set kubeProxy: false
      - gatewayApi.mode: off, but istio.mode is on and needs the API for waypoints; set it to on or external
      - gpuOperator.mode: on, but no host has accelerators; name them at the hosts (accelerators: { H100: 8 }), or set mode: off
      - grafana.mode: on, but prometheus.mode is off, so that dashboards stay empty; switch one of the two
      - cilium: cilium 1.20 is tested with Kubernetes 1.33 to 1.36, but k3s.version is v1.38.1+k3s1; choose versions that fit (components/versions.ts)
      - istio: istio 1.31 is tested with Kubernetes 1.32 to 1.36, but k3s.version is v1.38.1+k3s1; choose versions that fit (components/versions.ts)
      - gpuOperator: gpuOperator 26.7 is tested with Kubernetes 1.33 to 1.36, but k3s.version is v1.38.1+k3s1; choose versions that fit (components/versions.ts)]
  `);
});

test("a network and the Gateway API must come from somewhere, addresses only where parts are external", () => {
  const value = {
    k3s: { ...hosts, flannelBackend: "none" },
    prometheus: { mode: "external" },
    loki: { url: "http://loki.example:3100" },
  };
  expect(() => parseConfig(clusterConfigSchema, value, { file: "x" })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x: 3 problems
      - prometheus.url: missing; mode external needs the address under which pods reach it
      - loki.url: only mode external has an address, got mode on; remove url or set mode: external
      - cilium.mode: off, but k3s.flannelBackend is none, so that pods have no network; set it to on, or to external where you install another network]
  `);
  const existing = { gatewayApi: { mode: "on" }, gpuOperator: { mode: "on" } };
  expect(() => parseConfig(clusterConfigSchema, existing, { file: "x" })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x: 2 problems
      - gatewayApi.mode: on, but there are no hosts on which to apply the CRDs; on an existing cluster use external or off
      - gpuOperator.mode: on, but no host has accelerators; name them at the hosts (accelerators: { H100: 8 }), or set mode: off]
  `);
});

test("agents without servers are refused", () => {
  const value = {
    k3s: {
      ssh: { keyFile: "key", knownHostsFile: "known_hosts" },
      servers: [],
      agents: [{ name: "a", address: "10.0.0.2" }],
      binary: { url: "https://mirror/k3s", sha256: "a".repeat(64), sha256File: "x" },
    },
  };
  expect(() =>
    parseConfig(clusterConfigSchema, value, { file: "configs/clusters/x.yaml" }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/clusters/x.yaml: 2 problems
      - k3s.servers: must have at least 1 entry, got []
      - k3s.binary: give exactly one of sha256 and sha256File, got both]
  `);
});

test("accelerators add up over hosts and cluster", () => {
  const host = {
    labels: {},
    taints: [],
    accelerators: { H100: 8 },
    name: "a",
    address: "10.0.0.1",
    hostKey: "ssh-rsa AAAA",
  };
  const config = parseConfig(
    clusterConfigSchema,
    {
      k3s: {
        ssh: { keyFile: "key" },
        servers: [host],
        agents: [{ ...host, name: "b", address: "10.0.0.2" }],
        binary: { url: "https://mirror/k3s", sha256: "a".repeat(64) },
      },
      accelerators: { L4: 1 },
    },
    { file: "x" },
  );
  expect(toAccelerators(config)).toEqual({ L4: 1, H100: 16 });
});
