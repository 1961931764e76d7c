// The Cilium part: values of its chart, its own objects, and what it refuses. Keys were checked by rendering cilium 1.20.0.

import { expect, test } from "vitest";
import {
  Cilium,
  ciliumSchema,
  toAnnouncementSpec,
  toCiliumValues,
  toPoolSpec,
} from "../../../../components/cluster/network/cilium.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { record } from "../../../support/record.ts";

const parse = (section: unknown) => parseConfig(ciliumSchema, section, { file: "cilium" });
const facts = { podCidr: "10.42.0.0/16", nodeCount: 3 };

test("off unless asked for", () => {
  expect(parse({}).mode).toBe("off");
});

test("the values at their defaults", () => {
  expect(toCiliumValues(parse({}), facts)).toMatchInlineSnapshot(`
    {
      "bpf": {
        "masquerade": false,
      },
      "certgen": {
        "resources": {
          "limits": {
            "memory": "128Mi",
          },
          "requests": {
            "cpu": "10m",
            "memory": "32Mi",
          },
        },
      },
      "cni": {
        "exclusive": false,
      },
      "envoy": {
        "resources": {
          "limits": {
            "memory": "1Gi",
          },
          "requests": {
            "cpu": "50m",
            "memory": "128Mi",
          },
        },
        "rollOutPods": true,
        "updateStrategy": {
          "rollingUpdate": {
            "maxUnavailable": 1,
          },
          "type": "RollingUpdate",
        },
      },
      "hubble": {
        "enabled": true,
        "eventBufferCapacity": "16383",
        "metrics": {
          "enabled": [
            "drop:labelsContext=source_namespace,source_workload,destination_namespace,destination_workload",
            "tcp:labelsContext=source_namespace,source_workload,destination_namespace,destination_workload",
            "dns:labelsContext=source_namespace,source_workload,destination_namespace,destination_workload",
          ],
        },
        "relay": {
          "enabled": true,
          "resources": {
            "limits": {
              "memory": "512Mi",
            },
            "requests": {
              "cpu": "20m",
              "memory": "64Mi",
            },
          },
          "rollOutPods": true,
        },
        "tls": {
          "auto": {
            "method": "cronJob",
          },
        },
      },
      "initResources": {
        "limits": {
          "memory": "256Mi",
        },
        "requests": {
          "cpu": "10m",
          "memory": "32Mi",
        },
      },
      "ipam": {
        "mode": "cluster-pool",
        "operator": {
          "clusterPoolIPv4MaskSize": 24,
          "clusterPoolIPv4PodCIDRList": [
            "10.42.0.0/16",
          ],
        },
      },
      "k8sServiceHost": "127.0.0.1",
      "k8sServicePort": 6444,
      "kubeProxyReplacement": true,
      "l2announcements": {
        "enabled": false,
      },
      "operator": {
        "prometheus": {
          "enabled": true,
        },
        "replicas": 2,
        "resources": {
          "limits": {
            "memory": "512Mi",
          },
          "requests": {
            "cpu": "50m",
            "memory": "128Mi",
          },
        },
        "rollOutPods": true,
      },
      "prometheus": {
        "enabled": true,
      },
      "resources": {
        "limits": {
          "memory": "2Gi",
        },
        "requests": {
          "cpu": "100m",
          "memory": "512Mi",
        },
      },
      "rollOutCiliumPods": true,
      "routingMode": "tunnel",
      "socketLB": {
        "hostNamespaceOnly": true,
      },
      "tunnelProtocol": "vxlan",
      "updateStrategy": {
        "rollingUpdate": {
          "maxUnavailable": 1,
        },
        "type": "RollingUpdate",
      },
    }
  `);
});

test("one operator on one node", () => {
  expect(toCiliumValues(parse({}), { ...facts, nodeCount: 1 })["operator"]).toMatchObject({ replicas: 1 });
});

test("what the section can change in the values", () => {
  const config = parse({
    upgradeCompatibility: "1.19",
    routing: "native",
    nodePodCidrBits: 26,
    loadBalancer: { addresses: ["192.0.2.0/28"] },
    hubble: { relay: false, eventBufferCapacity: 65535, metrics: [], export: { fileMaxBackups: 1 } },
  });
  const defaults = toCiliumValues(parse({}), facts);
  const values = toCiliumValues(config, facts);
  const changed = Object.entries(values).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(defaults[key]),
  );
  expect(Object.fromEntries(changed)).toMatchInlineSnapshot(`
    {
      "autoDirectNodeRoutes": true,
      "hubble": {
        "enabled": true,
        "eventBufferCapacity": "65535",
        "export": {
          "static": {
            "enabled": true,
            "fileMaxBackups": 1,
            "fileMaxSizeMb": 50,
          },
        },
        "relay": {
          "enabled": false,
          "resources": {
            "limits": {
              "memory": "512Mi",
            },
            "requests": {
              "cpu": "20m",
              "memory": "64Mi",
            },
          },
          "rollOutPods": true,
        },
        "tls": {
          "auto": {
            "method": "cronJob",
          },
        },
      },
      "ipam": {
        "mode": "cluster-pool",
        "operator": {
          "clusterPoolIPv4MaskSize": 26,
          "clusterPoolIPv4PodCIDRList": [
            "10.42.0.0/16",
          ],
        },
      },
      "ipv4NativeRoutingCIDR": "10.42.0.0/16",
      "k8sClientRateLimit": {
        "burst": 40,
        "qps": 20,
      },
      "l2announcements": {
        "enabled": true,
      },
      "routingMode": "native",
      "upgradeCompatibility": "1.19",
    }
  `);
  // The tunnel's protocol is the only thing that goes.
  expect(Object.keys(defaults).filter((key) => !(key in values))).toEqual(["tunnelProtocol"]);
});

test("addresses of LoadBalancer Services: networks, ranges and single ones", () => {
  const config = parse({
    loadBalancer: {
      addresses: ["192.0.2.0/28", "192.0.2.32-192.0.2.40", "192.0.2.50"],
      interfaces: ["^eth0$"],
    },
  });
  expect(toPoolSpec(config)).toEqual({
    blocks: [
      { cidr: "192.0.2.0/28" },
      { start: "192.0.2.32", stop: "192.0.2.40" },
      { start: "192.0.2.50", stop: "192.0.2.50" },
    ],
  });
  expect(toAnnouncementSpec(config)).toEqual({
    loadBalancerIPs: true,
    externalIPs: false,
    interfaces: ["^eth0$"],
  });
  expect(toAnnouncementSpec(parse({}))).toEqual({ loadBalancerIPs: true, externalIPs: false });
});

test("what it refuses, all at once", () => {
  expect(() =>
    parse({
      upgradeCompatibility: "1.20.0",
      routing: "bgp",
      loadBalancer: { addresses: ["192.0.2.0-15", "node-1"] },
      hubble: {
        eventBufferCapacity: 4096,
        metrics: ["drop", "flow:labelsContext=source_ip,source_workload"],
      },
    }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: cilium: 6 problems
      - upgradeCompatibility: expected a minor version such as "1.20", got "1.20.0"
      - routing: "bgp" is not allowed; allowed: tunnel, native
      - loadBalancer.addresses[0]: expected IPv4 addresses: a CIDR, one address, or a range such as 192.0.2.10-192.0.2.20
      - loadBalancer.addresses[1]: expected IPv4 addresses: a CIDR, one address, or a range such as 192.0.2.10-192.0.2.20
      - hubble.eventBufferCapacity: expected 2^n - 1, at most 65535, such as 4095 or 16383
      - hubble.metrics[1]: "source_ip" makes a series per pod, address or name; use namespaces and workloads]
  `);
});

test("a pod network that is too small for the nodes", () => {
  expect(() =>
    toCiliumValues(parse({}), { podCidr: "10.42.0.0/23", nodeCount: 3 }),
  ).toThrowErrorMatchingInlineSnapshot(
    `[UserError: cilium.nodePodCidrBits is 24, which cuts k3s.podCidr 10.42.0.0/23 into too few shares for 3 nodes; give podCidr fewer bits or nodePodCidrBits more]`,
  );
  expect(() => toCiliumValues(parse({}), { podCidr: "10.42.0.0/22", nodeCount: 3 })).not.toThrow();
  expect(() => toCiliumValues(parse({}), { podCidr: "10.42.0.0/24", nodeCount: 1 })).toThrow(
    "nodePodCidrBits",
  );
});

async function resourcesOf(section: unknown) {
  const { resources } = await record(() => void new Cilium("cilium", { config: parse(section), facts }), {});
  return resources.filter(({ type }) => type !== "pulumi:pulumi:Stack");
}

test("a release, and waits for the pods of every node", async () => {
  const resources = await resourcesOf({ mode: "on" });
  expect(resources.map(({ type, name }) => `${type} ${name}`)).toMatchInlineSnapshot(`
    [
      "kubernetes:apps/v1:DaemonSetPatch cilium-agents-ready",
      "kubernetes:apps/v1:DaemonSetPatch cilium-envoy-ready",
      "kubernetes:helm.sh/v3:Release cilium-release",
      "llmeval:cluster:Cilium cilium",
    ]
  `);
  const release = resources.find(({ name }) => name === "cilium-release");
  expect(release?.inputs).toMatchObject({
    name: "cilium",
    namespace: "kube-system",
    chart: ".charts/cilium-1.20.0.tgz",
    version: "1.20.0",
    timeout: 600,
  });
  expect(resources.find(({ name }) => name === "cilium-agents-ready")?.inputs["metadata"]).toEqual({
    name: "cilium",
    namespace: "kube-system",
    annotations: { "llmeval/revision": expect.stringMatching(/^[0-9a-f]{8}$/) },
  });
});

test("another value is another revision to wait for", async () => {
  const revision = async (section: unknown) =>
    (await resourcesOf(section)).find(({ name }) => name === "cilium-agents-ready")?.inputs["metadata"];
  expect(await revision({ routing: "native" })).not.toEqual(await revision({}));
  expect(await revision({})).toEqual(await revision({}));
});

test("the pool and its announcement only with addresses", async () => {
  const resources = await resourcesOf({ loadBalancer: { addresses: ["192.0.2.0/28"] } });
  const custom = resources.filter(({ type }) => type.startsWith("kubernetes:cilium.io"));
  expect(
    custom.map(({ type, name, inputs }) => ({ type, name, metadata: inputs["metadata"] })),
  ).toMatchInlineSnapshot(`
    [
      {
        "metadata": {
          "annotations": {
            "pulumi.com/waitFor": "jsonpath={.status.conditions[?(@.type=="cilium.io/IPsTotal")].message}",
          },
          "labels": {
            "app.kubernetes.io/name": "cilium",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
          "name": "llmeval",
        },
        "name": "cilium-pool",
        "type": "kubernetes:cilium.io/v2:CiliumLoadBalancerIPPool",
      },
      {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "cilium",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
          "name": "llmeval",
        },
        "name": "cilium-announcement",
        "type": "kubernetes:cilium.io/v2alpha1:CiliumL2AnnouncementPolicy",
      },
    ]
  `);
});
