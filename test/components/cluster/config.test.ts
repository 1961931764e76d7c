// configs/clusters/*.yaml: defaults, cross checks, and that every committed file is valid.

import * as fs from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import { clusterConfigSchema, toAccelerators } from "../../../components/cluster/config.ts";
import { parseConfig, parseConfigFile } from "../../../components/config-problems.ts";

const folder = path.resolve(import.meta.dirname, "../../../configs/clusters");
const files = fs.readdirSync(folder);

test("there are cluster configurations to check", () => {
  expect(files.sort()).toEqual(["lab.yaml", "prod.yaml"]);
});

test.each(files)("%s is valid", (file) => {
  expect(parseConfigFile(clusterConfigSchema, path.join(folder, file), file).k3s?.servers).toHaveLength(1);
});

test("the defaults are these", () => {
  expect(parseConfig(clusterConfigSchema, {}, { file: "x" })).toMatchInlineSnapshot(`
    {
      "accelerators": {},
      "kuberay": {
        "chart": "kuberay-operator",
        "mode": "on",
        "repository": "https://ray-project.github.io/kuberay-helm/",
        "version": "1.7.0",
      },
      "prometheus": {
        "cpuRequestMillicores": 100,
        "memoryLimitMebibytes": 2048,
        "memoryRequestMebibytes": 256,
        "mode": "on",
        "retention": "15d",
        "scrapeIntervalSeconds": 5,
      },
      "storage": {
        "className": "local-path",
      },
    }
  `);
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
    kuberay: { version: "latest" },
    prometeus: {},
  };
  expect(() =>
    parseConfig(clusterConfigSchema, value, { file: "configs/clusters/x.yaml" }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/clusters/x.yaml: 13 problems
      - k3s.agents[0].lables: unknown key; did you mean "labels"? (allowed: accelerators, address, hostKey, labels, name, port, taints, user)
      - prometeus: unknown key; did you mean "prometheus"? (allowed: accelerators, imagesFile, k3s, kuberay, prometheus, storage)
      - k3s.agents[0].taints[0]: expected key[=value]:Effect, got "gpu"
      - k3s.binary.url: expected an http or https address, got "ftp://mirror/k3s"
      - k3s.disable[0]: "treafik" is not allowed; did you mean "traefik"? allowed: coredns, local-storage, metrics-server, servicelb, traefik
      - k3s.servers: got 2 servers; only one server is supported, move the others to agents
      - k3s.agents[0].name: "one" is already the name of servers[0]; every host needs its own
      - k3s.agents[0].address: "10.0.0.2" is already the address of servers[1]; every host needs its own
      - k3s.agents[0].hostKey: missing; give one a hostKey or set ssh.knownHostsFile
      - k3s.binary: give exactly one of sha256 and sha256File, got neither
      - k3s.serviceCidr: 10.42.128.0/17 overlaps with podCidr 10.42.0.0/16; choose separate ranges
      - k3s.servers[0].address: 10.42.0.5 lies in podCidr 10.42.0.0/16; choose a range without hosts
      - kuberay.version: expected an exact chart version, got "latest"]
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
