// K3s on the lab's hosts through everything that happens to a cluster: install, change, upgrade, cut, failure, loss of
// a server, removal. The tests are one story: each goes on where the one before it ended. Needs the tools of
// `lab/with-tools`, and root.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { clusterConfigSchema } from "../../components/cluster/config.ts";
import { clusterHosts, commandOf, type Host, hostState, Project, repository, ssh, until } from "./support.ts";

const stack = "k3s";
const up = ["--yes", "--skip-preview"];
const unchanged = [...up, "--expect-no-changes"];
const limit = { timeoutMs: 240_000 };
const fails = { timeoutMs: 120_000, expectedCode: 1 };
const all = Object.keys(clusterHosts) as (keyof typeof clusterHosts)[];

/** Sections of the configuration that install something in the cluster: those with a mode. Here only K3s counts. */
const inClusterParts = Object.entries(clusterConfigSchema.shape)
  .filter(([, section]) => {
    const { data } = section.safeParse(undefined);
    return typeof data === "object" && data !== null && "mode" in data;
  })
  .map(([name]) => name);

interface HostInput {
  readonly name: string;
  readonly address: string;
  readonly hostKey?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: readonly string[];
  readonly kubeletArgs?: readonly string[];
}
interface Node {
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: {
    readonly unschedulable?: boolean;
    readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[];
  };
  readonly status: {
    readonly nodeInfo: { readonly kubeletVersion: string };
    readonly conditions: readonly { readonly type: string; readonly status: string }[];
  };
}

const server: HostInput = { name: "server-2", address: clusterHosts["server-2"] };
const agent1: HostInput = {
  name: "agent-1",
  address: clusterHosts["agent-1"],
  labels: { "llmeval.io/role": "gpu" },
};
const agent2: HostInput = {
  name: "agent-2",
  address: clusterHosts["agent-2"],
  labels: { tier: "a", zone: "x" },
  taints: ["gpu=yes:NoSchedule"],
};

/** A second version of the stand-in. */
const next = { url: "http://10.89.77.1:8080/k3s-next", sha256File: ".lab/k3s-next.sha256" };

let project: Project;
const pristine = new Map<Host, string[]>();

function configure(
  servers: readonly HostInput[],
  agents: readonly HostInput[],
  more: { readonly k3s?: object; readonly ssh?: object; readonly binary?: object } = {},
): void {
  const config = {
    k3s: {
      ssh: { keyFile: ".lab/ssh/id_ed25519", knownHostsFile: ".lab/ssh/known_hosts", ...more.ssh },
      servers,
      agents,
      binary: { url: "http://10.89.77.1:8080/k3s", sha256File: ".lab/k3s.sha256", ...more.binary },
      registries: { mirrors: { "docker.io": { endpoint: ["http://10.89.77.1:5000"] } } },
      // The lab's hosts share one disk, which others fill too.
      preflight: { minFreeDiskGibibytes: 1 },
      readyTimeoutSeconds: 120,
      ...more.k3s,
    },
    ...Object.fromEntries(inClusterParts.map((part) => [part, { mode: "off" }])),
  };
  writeFileSync(project.file("configs/clusters/e2e.yaml"), stringify(config));
}

async function nodes(): Promise<readonly Node[]> {
  const { kubeconfig } = await project.outputs(stack, ["--show-secrets"]);
  writeFileSync(project.file("kubeconfig"), String(kubeconfig), { mode: 0o600 });
  return (await project.kubectl<{ readonly items: readonly Node[] }>("get", "nodes")).items;
}

/** `name` of every node that is Ready and in service. */
async function ready(): Promise<string[]> {
  return (await nodes())
    .filter(({ spec }) => spec.unschedulable !== true)
    .filter(({ status }) =>
      status.conditions.some(({ type, status }) => type === "Ready" && status === "True"),
    )
    .map(({ metadata }) => metadata.name);
}

/** What changes whenever the host's K3s is started. */
async function starts(host: Host): Promise<string> {
  const unit = host.startsWith("server") ? "k3s" : "k3s-agent";
  return (await ssh(host, `systemctl show -p InvocationID ${unit}`)).stdout;
}

async function allStarts(): Promise<Record<string, string>> {
  return Object.fromEntries(await Promise.all(all.map(async (host) => [host, await starts(host)])));
}

/** The words that a user looks for: of our report, or of the host that failed. */
function wordsOf(output: string): string[] {
  const diagnostics = output.slice(output.indexOf("Diagnostics:"));
  const lines = diagnostics.split("\n").map((line) => line.trim());
  return [
    ...new Set(lines.filter((line) => /^(preflight:|- (server|agent)-\d|(server|agent)-\d: )/.test(line))),
  ];
}

beforeAll(async () => {
  project = new Project();
  for (const host of all) pristine.set(host, await hostState(host));
  expect(inClusterParts).toContain("prometheus");
  await project.init(stack, {
    "llmeval:kind": "cluster",
    "llmeval:cluster": "e2e",
    "pulumi:disable-default-providers": ["kubernetes"],
  });
});

afterAll(async () => {
  project?.dispose();
});

test("what is wrong with any host is one report, and no host is touched", async () => {
  await ssh("agent-2", "mkdir -p /var/lib/rancher && mount -t tmpfs -o size=64m tmpfs /var/lib/rancher");
  await ssh("server-2", "systemd-run --quiet --collect --unit=squatter socat TCP-LISTEN:6443,fork /dev/null");
  const known = readFileSync(join(repository, ".lab/ssh/known_hosts"), "utf8");
  const ownKey = known.split("\n").find((line) => line.startsWith(`${clusterHosts["server-2"]} `)) ?? "";
  const hostKey = ownKey.split(" ").slice(1).join(" ");
  const gone = { name: "agent-3", address: "10.89.77.99", hostKey };
  configure([server], [{ ...agent1, hostKey }, agent2, gone], {
    k3s: { preflight: { minFreeDiskGibibytes: 0.5 } },
  });
  const { output, seconds } = await project.pulumi("up", stack, up, fails);
  expect(wordsOf(output).map((line) => line.replace(/process \d+/, "process PID"))).toMatchInlineSnapshot(`
    [
      "preflight: 4 problems on 4 of 4 hosts; nothing was changed on any host",
      "- server-2 (10.89.77.12): port 6443, which K3s needs, is taken by socat, process PID",
      "- agent-1 (10.89.77.21): shows another host key than the pinned one (ssh-ed25519); compare the fingerprints before you change the pin",
      "- agent-2 (10.89.77.22): 0.1 GiB are free for /var/lib/rancher/k3s, at least 0.5 GiB are needed (k3s.preflight.minFreeDiskGibibytes)",
      "- agent-3 (10.89.77.99): cannot be reached: ssh: connect to host 10.89.77.99 port 22: No route to host",
      "- server-2, agent-2: uses cgroup v1, which Kubernetes gives up; boot with systemd.unified_cgroup_hierarchy=1",
      "- server-2, agent-2: no time service runs (chrony, systemd-timesyncd); clocks that drift spoil every measurement",
      "- server-2, agent-2: at most 20000 files may be open; large Ray clusters need more (65536 or more)",
    ]
  `);
  expect(seconds).toBeLessThan(60);
  await ssh("server-2", "systemctl stop squatter; systemctl reset-failed squatter || true");
  await ssh("agent-2", "umount /var/lib/rancher && rmdir /var/lib/rancher");
  for (const host of all) expect(await hostState(host)).toEqual(pristine.get(host));
});

test("a wrong checksum stops at the first server and leaves it as it was", async () => {
  configure([server], [agent1, agent2], { binary: { sha256File: undefined, sha256: "f".repeat(64) } });
  const { output } = await project.pulumi("up", stack, up, fails);
  expect(
    wordsOf(output).map((line) => line.replace(/[0-9a-e][0-9a-f]{63}/, "SHA256")),
  ).toMatchInlineSnapshot(`
    [
      "server-2: fetching http://10.89.77.1:8080/k3s",
      "server-2: http://10.89.77.1:8080/k3s has sha256 SHA256, expected ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff; the host was left as it was",
    ]
  `);
  for (const host of all) expect(await hostState(host)).toEqual(pristine.get(host));
});

test("SIGKILL of `pulumi up` at several points of the installation; the next one completes it", async () => {
  configure([server], [agent1, agent2]);
  for (const seconds of [4, 9, 15]) {
    const cut = project.start("up", stack, up);
    await sleep(seconds * 1000);
    const processes = cut.tree;
    cut.kill();
    await cut.end(5_000);
    for (const pid of processes.filter((pid) => commandOf(pid).includes("pulumi")))
      process.kill(pid, "SIGKILL");
    await project.run("pulumi", ["cancel", "--yes", "--stack", stack]);
  }
  await project.pulumi("up", stack, up, limit);
  expect(await ready()).toEqual(["agent-1", "agent-2", "server-2"]);
  await project.pulumi("up", stack, unchanged, limit);
});

test("tokens are in no state; agents have only theirs", async () => {
  const read = async (host: Host, file: string): Promise<string> =>
    (await ssh(host, `cat /etc/rancher/k3s/${file}`)).stdout.trim();
  const token = await read("server-2", "token");
  const agentToken = await read("server-2", "agent-token");
  expect(await read("agent-1", "token")).toBe(agentToken);
  expect(agentToken).not.toBe(token);
  for (const secret of [token, agentToken, "PRIVATE KEY", "client-key-data"]) {
    expect(project.stateText(stack)).not.toContain(secret);
  }
});

test("a change of one agent restarts that agent only; labels and taints follow", async () => {
  const before = await allStarts();
  const changed = {
    ...agent2,
    labels: { tier: "b" },
    taints: ["gpu=no:NoSchedule"],
    kubeletArgs: ["max-pods=50"],
  };
  configure([server], [agent1, changed]);
  await project.pulumi("up", stack, up, limit);
  const after = await allStarts();
  expect(all.filter((host) => before[host] !== after[host])).toEqual(["agent-2"]);
  const node = (await nodes()).find(({ metadata }) => metadata.name === "agent-2");
  expect(node?.metadata.labels).toMatchObject({ tier: "b" });
  expect(node?.metadata.labels).not.toHaveProperty("zone");
  expect(node?.spec.taints).toEqual([{ key: "gpu", value: "no", effect: "NoSchedule" }]);
  expect((await ssh("agent-2", "cat /etc/rancher/k3s/config.yaml")).stdout).toContain("max-pods=50");
});

test("a change that does not start is undone on its host, and the error says so", async () => {
  configure([server], [{ ...agent1, kubeletArgs: ["no-such-flag=1"] }, agent2], {
    k3s: { readyTimeoutSeconds: 15 },
  });
  const { output } = await project.pulumi("up", stack, up, { ...fails, timeoutMs: 180_000 });
  expect(wordsOf(output).at(-1)).toMatchInlineSnapshot(
    `"agent-1: not ready after 15 s: still waiting for the kubelet to be healthy (journal lines above); the host went back to what it ran before"`,
  );
  expect(output).toMatch(/kubelet ended|unknown flag: --no-such-flag/);
  configure([server], [agent1, agent2]);
  await project.pulumi("up", stack, up, limit);
  expect(await ready()).toEqual(["agent-1", "agent-2", "server-2"]);
});

test("an agent is removed without a trace; one whose token is refused says so at once", async () => {
  const before = await starts("agent-1");
  configure([server], [agent1]);
  await project.pulumi("up", stack, up, limit);
  expect(await ready()).toEqual(["agent-1", "server-2"]);
  expect(await hostState("agent-2")).toEqual(pristine.get("agent-2"));

  // The stand-in keeps tokens as objects of the API and makes them when it starts.
  await ssh(
    "server-2",
    "k3s kubectl -n kube-system delete secret --field-selector type=bootstrap.kubernetes.io/token",
  );
  configure([server], [agent1, agent2]);
  const { output, seconds } = await project.pulumi("up", stack, up, fails);
  expect(wordsOf(output).at(-1)).toMatchInlineSnapshot(
    `"agent-2: K3s refuses to go on: k3s: token is not accepted by https://10.89.77.12:6443; copy <data-dir>/server/token of that server (journal lines above). The next \`pulumi up\` goes on from here; to clean the host, run /usr/local/bin/llmeval-k3s-agent-uninstall.sh"`,
  );
  expect(seconds).toBeLessThan(60);

  await ssh("server-2", "systemctl restart k3s");
  await project.pulumi("up", stack, up, limit);
  expect(await ready()).toEqual(["agent-1", "agent-2", "server-2"]);
  expect(await starts("agent-1")).toBe(before);
});

test("an upgrade takes the server first and then one agent at a time, and saves the datastore before", async () => {
  const old = (await nodes())[0]?.status.nodeInfo.kubeletVersion;
  configure([server], [agent1, agent2], {
    binary: next,
  });
  const upgrade = project.start("up", stack, up);
  let ended = false;
  const end = upgrade.end(limit.timeoutMs).finally(() => {
    ended = true;
  });
  const outOfService = new Set<string>();
  const order: string[] = [];
  while (!ended) {
    // The API server is away while it is replaced.
    const seen = await nodes().catch(() => []);
    const cordoned = seen.filter(({ spec }) => spec.unschedulable === true);
    expect(cordoned.length).toBeLessThanOrEqual(1);
    for (const { metadata } of cordoned) outOfService.add(metadata.name);
    for (const { metadata, status } of seen) {
      if (status.nodeInfo.kubeletVersion !== old && !order.includes(metadata.name)) order.push(metadata.name);
    }
    await sleep(200);
  }
  expect(await end, upgrade.tail()).toBe(0);
  expect(order).toEqual(["server-2", "agent-1", "agent-2"]);
  expect([...outOfService]).toEqual(["agent-1", "agent-2"]);
  expect(await ready()).toEqual(["agent-1", "agent-2", "server-2"]);
  // A server alone has no etcd: its datastore is copied while it is stopped.
  expect((await ssh("server-2", "ls /var/lib/rancher/k3s/server")).stdout).toContain(
    "llmeval-before-upgrade",
  );
  await project.pulumi("up", stack, unchanged, limit);
});

test("destroy leaves the hosts as they were", async () => {
  await project.pulumi("destroy", stack, up, limit);
  for (const host of all) expect(await hostState(host)).toEqual(pristine.get(host));
});

test("three servers, through a jump host: the API answers when one of them is gone", async () => {
  const servers = all.map((host, index) => ({ name: `server-${index + 1}`, address: clusterHosts[host] }));
  const through = { ssh: { jumpHost: { address: clusterHosts["agent-2"] } } };
  configure(servers, [], through);
  await project.pulumi("up", stack, up, limit);
  expect(await ready()).toEqual(["server-1", "server-2", "server-3"]);
  await project.pulumi("up", stack, unchanged, limit);

  await ssh("server-2", "systemctl kill --signal=KILL k3s; systemctl stop k3s");
  const second = [`--server=https://${clusterHosts["agent-1"]}:6443`, "get", "nodes"];
  await until("the API server of server-2 to answer", 60, async () => {
    const { items } = await project.kubectl<{ readonly items: readonly Node[] }>(...second);
    return items.length === 3 ? undefined : `it knows ${items.length} nodes`;
  });
  await ssh("server-2", "systemctl start k3s");
  await until("server-1 to be back", 60, async () =>
    (await ready()).includes("server-1") ? undefined : "it is not Ready",
  );

  configure(servers, [], { ...through, binary: next });
  const { output } = await project.pulumi("up", stack, up, limit);
  const restarts = output.matchAll(/(server-\d): restarting k3s with the new configuration/g);
  expect([...new Set([...restarts].map(([, host]) => host))]).toEqual(["server-1", "server-2", "server-3"]);
  const snapshots = await ssh("server-2", "ls /var/lib/rancher/k3s/server/db/snapshots");
  expect(snapshots.stdout).toMatch(/^llmeval-before-upgrade/);
  await project.pulumi("destroy", stack, up, limit);
  for (const host of all) expect(await hostState(host)).toEqual(pristine.get(host));
});
