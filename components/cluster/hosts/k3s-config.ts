// Schema of the hosts of a cluster and of K3s on them, and the checks that need more than one key.

import * as z from "zod";
import { versions } from "../../versions.ts";
import { pinFields, urlSchema } from "../common/part.ts";

const labelKey = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const taint = /^[^=:\s]+(=[^=:\s]*)?:(NoSchedule|PreferNoSchedule|NoExecute)$/;
const hostName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** Defaults of k3s itself; written to a host only when the configuration names other ones. */
export const defaultPodCidr = "10.42.0.0/16";
export const defaultServiceCidr = "10.43.0.0/16";

export const defaultDataDir = "/var/lib/rancher/k3s";

/** The storage class that K3s brings, unless local-storage is disabled. */
export const k3sStorageClass = "local-path";

const port = z.int().min(1).max(65535);
const address = z.union([z.ipv4(), z.hostname()], { error: "expected an IPv4 address or a host name" });
const hostKey = z
  .string()
  .regex(/^(ssh|ecdsa)-\S+ [A-Za-z0-9+/]+=*$/, 'expected "<type> <base64>" as in a known_hosts line');
const directory = z.string().startsWith("/", "expected an absolute path");

const hostSchema = z.strictObject({
  /** Node name in Kubernetes; unique. */
  name: z.string().regex(hostName, "expected a DNS label (a-z, 0-9, -)").max(63),
  /** Address for SSH and, on servers, for the API server. */
  address,
  /** @default ssh.user */
  user: z.string().min(1).optional(),
  /** @default ssh.port */
  port: port.optional(),
  /** Public host key, `ssh-ed25519 AAAA...`. @default the host's line in ssh.knownHostsFile */
  hostKey: hostKey.optional(),
  labels: z.record(z.string().regex(labelKey, "expected a label key"), z.string()).default({}),
  taints: z.array(z.string().regex(taint, "expected key[=value]:Effect")).default([]),
  /** Kubelet arguments of this host, after those of all hosts. */
  kubeletArgs: z.array(z.string().min(1)).default([]),
  /** @default k3s.dataDir */
  dataDir: directory.optional(),
  /** Accelerators in this host by type, e.g. `H100: 8`. */
  accelerators: z.record(z.string(), z.int().min(1)).default({}),
});

/** A host that the others are reached through; its key is pinned like theirs. */
const jumpHostSchema = z.strictObject({
  address,
  /** @default ssh.user */
  user: z.string().min(1).optional(),
  port: port.default(22),
  /** Private key for the jump host. @default ssh.keyFile */
  keyFile: z.string().min(1).optional(),
  /** @default the jump host's line in ssh.knownHostsFile */
  hostKey: hostKey.optional(),
});

const preflightSchema = z.strictObject({
  /** Room that a host without K3s needs below its data directory. */
  minFreeDiskGibibytes: z.number().min(0).default(10),
  /** Difference allowed between a host's clock and that of the machine that runs Pulumi. */
  maxClockOffsetSeconds: z.number().min(0.1).default(1),
  /** `require` where the driver is part of the host; the GPU operator may bring it otherwise. */
  nvidiaDriver: z.enum(["require", "ignore"]).default("ignore"),
});

const registriesSchema = z.strictObject({
  /** Registry host to the addresses that are tried instead, as in k3s's registries.yaml. */
  mirrors: z.record(
    z.string(),
    z.strictObject({
      endpoint: z.array(urlSchema).min(1),
      rewrite: z.record(z.string(), z.string()).optional(),
    }),
  ),
  /** How a registry, or one of these addresses, is reached: host[:port] to its user and certificate. */
  configs: z
    .record(
      z.string(),
      z.strictObject({
        /** The password is a secret of the stack: `llmeval:registryPasswords`. */
        username: z.string().min(1).optional(),
        /** Certificate of the authority that signed the registry's, on the hosts. */
        caFile: z.string().startsWith("/").optional(),
        insecureSkipVerify: z.boolean().optional(),
      }),
    )
    .optional(),
});

export const k3sSchema = z
  .strictObject({
    ssh: z.strictObject({
      user: z.string().min(1).default("root"),
      port: port.default(22),
      /** Private key; relative to the project, `~/` is the home directory. */
      keyFile: z.string().min(1),
      /** OpenSSH known_hosts file that pins the hosts' keys. @default each host has its own hostKey */
      knownHostsFile: z.string().min(1).optional(),
      jumpHost: jumpHostSchema.optional(),
    }),
    /** One server, or an odd number of servers with embedded etcd. */
    servers: z.array(hostSchema).min(1),
    agents: z.array(hostSchema).default([]),
    version: z.string().min(1).default(versions.k3s),
    binary: z.strictObject({
      /** Release download or mirror; fetched by the hosts themselves. */
      url: urlSchema,
      ...pinFields,
    }),
    /** Load balancer or virtual IP in front of the servers, port 6443. @default the first server's address */
    apiAddress: address.optional(),
    /** Further names in the API server's certificate; the servers' addresses are always in it. */
    tlsSans: z.array(z.string().min(1)).default([]),
    /** Parts of k3s to leave out. */
    disable: z
      .array(z.enum(["coredns", "local-storage", "metrics-server", "servicelb", "traefik"]))
      .default(["servicelb", "traefik"]),
    kubeletArgs: z.array(z.string().min(1)).default([]),
    podCidr: z.cidrv4().default(defaultPodCidr),
    serviceCidr: z.cidrv4().default(defaultServiceCidr),
    /** `none` when another component brings the network: then nodes need not be Ready when K3s is. */
    flannelBackend: z.enum(["vxlan", "host-gw", "wireguard-native", "none"]).optional(),
    /** Off where the network does its work, as Cilium does. */
    kubeProxy: z.boolean().default(true),
    dataDir: directory.default(defaultDataDir),
    registries: registriesSchema.optional(),
    /** How long a host may take to become ready. */
    readyTimeoutSeconds: z.int().min(10).default(300),
    /** How long the pods of an agent may take to leave it before an upgrade. */
    drainTimeoutSeconds: z.int().min(10).default(300),
    preflight: preflightSchema.prefault({}),
  })
  .superRefine(checkK3s, { when: ({ value }) => isPlausible(value) });

export type K3sConfig = z.output<typeof k3sSchema>;
export type HostConfig = K3sConfig["servers"][number];

/** Whether the servers keep their data in an etcd of their own. */
export function hasEmbeddedEtcd(k3s: K3sConfig): boolean {
  return k3s.servers.length > 1;
}

/** All hosts of a cluster, servers first. */
export function hostsOf(k3s: K3sConfig | undefined): HostConfig[] {
  return k3s === undefined ? [] : [...k3s.servers, ...k3s.agents];
}

/** The cross checks also run beside other problems, as long as the lists are lists. */
function isPlausible(value: unknown): boolean {
  const k3s = value as Partial<K3sConfig> | null;
  const isHosts = (list: unknown): boolean =>
    Array.isArray(list) && list.every((host) => typeof host === "object" && host !== null);
  return typeof k3s === "object" && k3s !== null && isHosts(k3s.servers) && isHosts(k3s.agents);
}

function checkK3s(k3s: K3sConfig, context: z.core.$RefinementCtx<K3sConfig>): void {
  const report = (path: PropertyKey[], message: string): void => {
    context.addIssue({ code: "custom", path, message });
  };
  if (k3s.servers.length > 0 && k3s.servers.length % 2 === 0) {
    const { length } = k3s.servers;
    report(
      ["servers"],
      `got ${length} servers; etcd needs an odd number, since ${length} servers survive the loss of no more servers ` +
        `than ${length - 1} do; give ${length - 1} or ${length + 1}`,
    );
  }
  const hosts = [
    ...k3s.servers.map((host, index) => ({ host, path: ["servers", index] as PropertyKey[] })),
    ...k3s.agents.map((host, index) => ({ host, path: ["agents", index] as PropertyKey[] })),
  ];
  for (const key of ["name", "address"] as const) {
    const seen = new Map<string, string>();
    for (const { host, path } of hosts) {
      const value = host[key];
      if (value === undefined) {
        continue;
      }
      const first = seen.get(value);
      if (first !== undefined) {
        report([...path, key], `"${value}" is already the ${key} of ${first}; every host needs its own`);
      } else {
        seen.set(value, `${String(path[0])}[${String(path[1])}]`);
      }
    }
  }
  if (k3s.ssh !== undefined && k3s.ssh.knownHostsFile === undefined) {
    for (const { host, path } of hosts.filter(({ host }) => host.hostKey === undefined)) {
      report([...path, "hostKey"], `missing; give ${host.name} a hostKey or set ssh.knownHostsFile`);
    }
    if (k3s.ssh.jumpHost !== undefined && k3s.ssh.jumpHost.hostKey === undefined) {
      report(
        ["ssh", "jumpHost", "hostKey"],
        "missing; give the jump host a hostKey or set ssh.knownHostsFile",
      );
    }
  }
  const given = [k3s.binary?.sha256, k3s.binary?.sha256File].filter((value) => value !== undefined).length;
  if (k3s.binary !== undefined && given !== 1) {
    report(["binary"], `give exactly one of sha256 and sha256File, got ${given === 0 ? "neither" : "both"}`);
  }
  checkNetworks(k3s, hosts, report);
}

function checkNetworks(
  k3s: K3sConfig,
  hosts: readonly { host: HostConfig; path: PropertyKey[] }[],
  report: (path: PropertyKey[], message: string) => void,
): void {
  const pods = toRange(k3s.podCidr);
  const services = toRange(k3s.serviceCidr);
  if (pods !== undefined && services !== undefined && overlap(pods, services)) {
    report(
      ["serviceCidr"],
      `${k3s.serviceCidr} overlaps with podCidr ${k3s.podCidr}; choose separate ranges`,
    );
  }
  for (const { host, path } of hosts) {
    const address = toRange(`${host.address}/32`);
    for (const [key, range] of [
      ["podCidr", pods],
      ["serviceCidr", services],
    ] as const) {
      if (address !== undefined && range !== undefined && overlap(address, range)) {
        report(
          [...path, "address"],
          `${host.address} lies in ${key} ${k3s[key]}; choose a range without hosts`,
        );
      }
    }
  }
}

interface Range {
  readonly first: number;
  readonly last: number;
}

/** Undefined for what is not an IPv4 network; the schema reports that. */
function toRange(cidr: string): Range | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(cidr);
  if (match === null) {
    return undefined;
  }
  const [a = 0, b = 0, c = 0, d = 0, bits = 32] = match.slice(1).map(Number);
  const size = 2 ** (32 - bits);
  const address = ((a * 256 + b) * 256 + c) * 256 + d;
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1 };
}

function overlap(left: Range, right: Range): boolean {
  return left.first <= right.last && right.first <= left.last;
}
