// The preflight: what it asks, what a host answers, the report, and the program that asks over SSH.

import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { k3sSchema } from "../../../../components/cluster/hosts/k3s-config.ts";
import {
  type Answer,
  type PreflightPlan,
  toPreflightPlan,
  toReport,
} from "../../../../components/cluster/hosts/preflight.ts";
import { scriptCommand } from "../../../../components/cluster/hosts/shell.ts";
import { connectHosts } from "../../../../components/cluster/hosts/ssh.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { temporaryProject } from "../../../stacks/project.ts";
import { freePort } from "../../../support/port.ts";
import { createSshd, type Sshd } from "../../../support/sshd.ts";

const repository = path.resolve(import.meta.dirname, "../../../..");
const script = fs.readFileSync(
  path.join(repository, "components/cluster/hosts/scripts/preflight.sh"),
  "utf8",
);

function plan(names: readonly string[]): PreflightPlan {
  return {
    keyFile: "key",
    maxClockOffsetSeconds: 1,
    hosts: names.map((name, index) => ({
      name,
      endpoint: { host: `10.0.0.${index + 1}`, port: 22, user: "root", hostKey: "ssh-rsa KEY" },
      parameters: {},
    })),
    script: "",
  };
}

function answer(lines: readonly string[], clock = 1000.2): Answer {
  return {
    output: ["ready", `clock ${clock}`, ...lines, "fact end 1", ""].join("\n"),
    asked: 1000,
    answered: 1000.5,
  };
}

test("the plan holds what each role needs, paths as they were given, and no secret", () => {
  const host = (name: string, address: string) => ({ name, address, accelerators: { H100: 8 } });
  const value = {
    ssh: {
      keyFile: "key",
      knownHostsFile: "known_hosts",
      jumpHost: { address: "jump.test", user: "hop", hostKey: "ssh-ed25519 JUMP" },
    },
    servers: ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map((address, index) =>
      host(`server-${index + 1}`, address),
    ),
    agents: [{ ...host("agent-1", "10.0.0.4"), dataDir: "/data" }],
    binary: { url: "https://mirror.test/k3s", sha256: "a".repeat(64) },
    preflight: { minFreeDiskGibibytes: 100, nvidiaDriver: "require" },
  };
  const config = parseConfig(k3sSchema, value, { file: "x" });
  const known = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map((address) => `${address} ssh-rsa KEY\n`);
  const projectDir = temporaryProject({ key: "PRIVATE", known_hosts: known.join("") });
  const hosts = [...config.servers, ...config.agents];
  const connections = connectHosts(config.ssh, hosts, { projectDir, preview: false, warn: () => {} });
  const result = toPreflightPlan(config, connections, "the script");
  expect(JSON.stringify(result)).not.toContain("PRIVATE");
  expect({ ...result, hosts: [result.hosts[0], result.hosts[3]] }).toMatchInlineSnapshot(`
    {
      "hosts": [
        {
          "endpoint": {
            "host": "10.0.0.1",
            "hostKey": "ssh-rsa KEY",
            "port": 22,
            "user": "root",
          },
          "name": "server-1",
          "parameters": {
            "BINARY_URL": "https://mirror.test/k3s",
            "DATA_DIR": "/var/lib/rancher/k3s",
            "MIN_FREE_GIB": "100",
            "MIN_KERNEL": "5.10",
            "NVIDIA": "1",
            "PORTS": "6443 6444 10250 2379 2380",
          },
        },
        {
          "endpoint": {
            "host": "10.0.0.4",
            "hostKey": "ssh-rsa KEY",
            "port": 22,
            "user": "root",
          },
          "name": "agent-1",
          "parameters": {
            "BINARY_URL": "https://mirror.test/k3s",
            "DATA_DIR": "/data",
            "MIN_FREE_GIB": "100",
            "MIN_KERNEL": "5.10",
            "NVIDIA": "1",
            "PORTS": "6444 10250",
          },
        },
      ],
      "jump": {
        "endpoint": {
          "host": "jump.test",
          "hostKey": "ssh-ed25519 JUMP",
          "port": 22,
          "user": "hop",
        },
        "keyFile": "key",
      },
      "keyFile": "key",
      "maxClockOffsetSeconds": 1,
      "script": "the script",
    }
  `);
  const single = parseConfig(k3sSchema, { ...value, servers: value.servers.slice(0, 1) }, { file: "x" });
  expect(toPreflightPlan(single, connections, "").hosts[0]?.parameters["PORTS"]).toBe("6443 6444 10250");
});

test("hosts that are fit, with what may be better", () => {
  const warning = "warning has swap";
  expect(toReport(plan(["a", "b", "c"]), [answer([warning]), answer([]), answer([warning])])).toEqual({
    fit: true,
    text: "preflight: 3 hosts checked, fit for K3s\nwarnings:\n  - a, c: has swap",
  });
});

test("every problem of every host is in one report, in the order of the hosts", () => {
  const report = toReport(plan(["a", "b", "c", "d", "e", "f"]), [
    answer(["fact machine-id 1234", "fact arch x86_64", "problem port 6443 is taken", "problem no room"]),
    { failure: "cannot be reached: no route" },
    answer(["fact machine-id 1234", "fact arch aarch64"]),
    answer(["fact hostname x"], 998.8),
    answer(["fact hostname x"], 1003),
    { output: "ready\nclock 1000.2\nsh: 1: oops\n", asked: 1000, answered: 1000.5 },
  ]);
  expect(report.fit).toBe(false);
  expect(report.text).toMatchInlineSnapshot(`
    "preflight: 9 problems on 6 of 6 hosts; nothing was changed on any host
      - a (10.0.0.1): port 6443 is taken
      - a (10.0.0.1): no room
      - b (10.0.0.2): cannot be reached: no route
      - c (10.0.0.3): its machine-id 1234 is that of a; hosts cloned from one image need a new one each (/etc/machine-id)
      - c (10.0.0.3): is a machine of type aarch64, a is x86_64; one executable is installed on all hosts
      - d (10.0.0.4): its clock is 1.2 s behind this machine's, allowed: 1 s; synchronise it (chrony, systemd-timesyncd)
      - e (10.0.0.5): its clock is 2.5 s ahead of this machine's, allowed: 1 s; synchronise it (chrony, systemd-timesyncd)
      - e (10.0.0.5): its hostname x is that of d; give every host its own (hostnamectl set-hostname)
      - f (10.0.0.6): the checks did not run to their end: sh: 1: oops"
  `);
});

test("a clock counts as wrong only when the time of the answer cannot explain it", () => {
  const fit = (clock: number): boolean => toReport(plan(["a"]), [answer([], clock)]).fit;
  expect([999.1, 1000, 1001.4].map(fit)).toEqual([true, true, true]);
  expect([998.9, 1001.6].map(fit)).toEqual([false, false]);
});

/** A root folder with stand-ins for what preflight.sh asks; `run` returns what it says beyond facts. */
function host(): { root: string; run(parameters?: Record<string, string>): string[] } {
  const root = temporaryProject({
    "run/systemd/system/x": "",
    "etc/machine-id": "1234\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "proc/swaps": "Filename Type Size Used Priority\n",
    "proc/self/limits": "Max open files            1024                 1048576              files\n",
    "answers/uname-r": "6.1.0-18-amd64",
    "answers/uname-m": "x86_64",
    "answers/uname-n": "host-1",
    "answers/active": "chrony",
    "answers/ss": 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n',
    "answers/df": "Filesystem 1024-blocks Used Available Capacity Mounted\n/dev/sda 1 1 104857600 1% /\n",
    "answers/code": "200",
    "bin/uname": '#!/bin/sh\ncat "$STATE/answers/uname$1"\n',
    "bin/systemctl": '#!/bin/sh\ngrep -qx "$3" "$STATE/answers/active"\n',
    "bin/ss": '#!/bin/sh\ncat "$STATE/answers/ss"\n',
    "bin/df": '#!/bin/sh\ncat "$STATE/answers/df"\n',
    "bin/id": "#!/bin/sh\necho 0\n",
    "bin/curl": '#!/bin/sh\ncat "$STATE/answers/code"\n[ ! -e "$STATE/answers/unreachable" ]\n',
    "bin/iptables": "#!/bin/sh\n",
    "bin/nvidia-smi": '#!/bin/sh\n[ -e "$STATE/answers/gpu" ]\n',
  });
  for (const name of fs.readdirSync(path.join(root, "bin"))) {
    fs.chmodSync(path.join(root, "bin", name), 0o755);
  }
  const run = (parameters: Record<string, string> = {}): string[] => {
    const command = scriptCommand("root", {
      DATA_DIR: "/var/lib/rancher/k3s",
      MIN_FREE_GIB: "10",
      MIN_KERNEL: "5.10",
      PORTS: "6443 6444 10250",
      BINARY_URL: "https://mirror.test/k3s",
      NVIDIA: "0",
      ...parameters,
    });
    const result = spawnSync("sh", ["-c", command], {
      input: script,
      env: { PATH: `${root}/bin:/usr/bin:/bin`, STATE: root, ROOT: root },
      encoding: "utf8",
    });
    expect({ status: result.status, stderr: result.stderr }).toEqual({ status: 0, stderr: "" });
    const lines = result.stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^clock \d+\.\d+$/);
    expect(lines.at(-1)).toBe("fact end 1");
    expect(lines).toEqual(
      expect.arrayContaining(["fact machine-id 1234", "fact hostname host-1", "fact arch x86_64"]),
    );
    return lines.filter((line) => /^(problem|warning)/.test(line));
  };
  return { root, run };
}

test("a good host has nothing to say", () => {
  expect(host().run()).toEqual([]);
});

test("a bad host says all at once", () => {
  const { root, run } = host();
  const answers: Record<string, string> = {
    "answers/uname-r": "5.4.0-100-generic",
    "answers/active": "docker",
    "answers/ss":
      'LISTEN 0 1 *:6443 *:* users:(("haproxy",pid=77,fd=3))\nLISTEN 0 1 127.0.0.1:10250 *:* users:(("k3s-server",pid=9,fd=3))\nLISTEN 0 1 [::]:6444 [::]:*\n',
    "answers/df": "Filesystem 1024-blocks Used Available Capacity Mounted\n/dev/sda 1 1 3145728 1% /\n",
    "answers/code": "404",
    "proc/self/limits": "Max open files            1024                 1024              files\n",
    "proc/swaps": "Filename Type Size Used Priority\n/swap file 1 1 1\n",
    "proc/cgroups": "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 0 1 0\npids 8 1 1\n",
    "etc/rancher/k3s/config.yaml": "",
  };
  for (const [file, text] of Object.entries(answers)) {
    fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    fs.writeFileSync(path.join(root, file), text);
  }
  fs.rmSync(path.join(root, "sys"), { recursive: true });
  expect(run({ NVIDIA: "1" })).toMatchInlineSnapshot(`
    [
      "problem kernel 5.4.0-100-generic is older than 5.10, which the network needs",
      "warning uses cgroup v1, which Kubernetes gives up; boot with systemd.unified_cgroup_hierarchy=1",
      "problem the cgroup controller memory is off; switch it on at boot (cgroup_enable=memory)",
      "warning no time service runs (chrony, systemd-timesyncd); clocks that drift spoil every measurement",
      "problem 3.0 GiB are free for /var/lib/rancher/k3s, at least 10 GiB are needed (k3s.preflight.minFreeDiskGibibytes)",
      "problem port 6443, which K3s needs, is taken by haproxy, process 77",
      "problem port 6444, which K3s needs, is taken by a process of another namespace",
      "problem at most 1024 files may be open; K3s and Ray need more (65536 or more)",
      "warning has swap; pods that are swapped out spoil latencies (swapoff -a, and /etc/fstab)",
      "warning docker runs beside K3s's own containerd; GPU set-up may change the wrong one",
      "warning has a K3s configuration already, of an installation that was cut or is not ours; it will be replaced",
      "problem has accelerators, but no NVIDIA driver that works (nvidia-smi -L); install it, or set k3s.preflight.nvidiaDriver: ignore where the GPU operator brings it",
      "problem there is nothing at https://mirror.test/k3s (HTTP status 404); check k3s.binary.url",
    ]
  `);
  // On a host with K3s from us a change must stay possible.
  fs.writeFileSync(path.join(root, "etc/rancher/k3s/.applied-sha256"), "");
  expect(run({ NVIDIA: "1" }).filter((line) => line.startsWith("problem"))).toMatchInlineSnapshot(`
    [
      "problem the cgroup controller memory is off; switch it on at boot (cgroup_enable=memory)",
      "problem port 6443, which K3s needs, is taken by haproxy, process 77",
      "problem port 6444, which K3s needs, is taken by a process of another namespace",
      "problem has accelerators, but no NVIDIA driver that works (nvidia-smi -L); install it, or set k3s.preflight.nvidiaDriver: ignore where the GPU operator brings it",
    ]
  `);
});

test("a download address that cannot be reached, and one that does not take HEAD", () => {
  const { root, run } = host();
  fs.writeFileSync(path.join(root, "answers/code"), "405");
  expect(run()).toEqual([]);
  fs.writeFileSync(path.join(root, "answers/code"), "curl: (6) Could not resolve host: mirror.test\n000");
  fs.writeFileSync(path.join(root, "answers/unreachable"), "");
  expect(run()).toEqual([
    "problem cannot reach https://mirror.test/k3s: curl: (6) Could not resolve host: mirror.test",
  ]);
});

test("room is looked for where the data directory will be made; a little less than enough is not enough", () => {
  const { root, run } = host();
  const df = (kib: number): void =>
    fs.writeFileSync(path.join(root, "answers/df"), `head\n/dev/sda 1 1 ${kib} 1% /\n`);
  df(10 * 1048576);
  expect(run()).toEqual([]);
  df(10 * 1048576 - 1);
  expect(run({ MIN_FREE_GIB: "10" })).toHaveLength(1);
  expect(run({ MIN_FREE_GIB: "0.5" })).toEqual([]);
});

let sshd: Sshd;
beforeAll(async () => {
  sshd = await createSshd("LANG");
  await sshd.start();
});
afterAll(() => sshd.dispose());

test("the program asks over SSH, side by side, and also through a jump host", async () => {
  const folder = temporaryProject({ key: sshd.privateKey });
  fs.chmodSync(path.join(folder, "key"), 0o600);
  const good = { host: "127.0.0.1", port: sshd.port, user: sshd.user, hostKey: sshd.hostKey };
  const otherKey = sshd.hostKey.replace(/AAAA\S+/, (key) => `${key.slice(0, -8)}AAAAAAAA`);
  const closed = await freePort();
  const hosts = [
    { name: "good", endpoint: good, parameters: { WORD: "it's me" } },
    { name: "impostor", endpoint: { ...good, host: "localhost", hostKey: otherKey }, parameters: {} },
    { name: "closed", endpoint: { ...good, port: closed }, parameters: {} },
    { name: "failing", endpoint: good, parameters: { WORD: "fail" } },
  ];
  const text = `echo "clock $(date +%s.%N)"
[ "$WORD" != fail ] || { echo "no such luck" >&2; exit 3; }
echo "warning $WORD"
echo "fact end 1"
`;
  const ask = (given: object) =>
    runProgram(folder, { keyFile: "key", maxClockOffsetSeconds: 1, script: text, ...given });
  const bad = await ask({ hosts });
  expect(bad.status).toBe(1);
  expect(bad.output.replaceAll(String(closed), "PORT")).toMatchInlineSnapshot(`
    "preflight: 3 problems on 3 of 4 hosts; nothing was changed on any host
      - impostor (localhost): shows another host key than the pinned one (ssh-ed25519); compare the fingerprints before you change the pin
      - closed (127.0.0.1): cannot be reached: ssh: connect to host 127.0.0.1 port PORT: Connection refused
      - failing (127.0.0.1): the checks cannot be run: no such luck
    warnings:
      - good: it's me
    "
  `);
  const jump = { endpoint: good, keyFile: "key" };
  expect(await ask({ hosts: hosts.slice(0, 1), jump })).toEqual({
    status: 0,
    output: "preflight: 1 host checked, fit for K3s\nwarnings:\n  - good: it's me\n",
  });
  const wrongJump = await ask({ hosts: hosts.slice(0, 1), jump: { ...jump, endpoint: hosts[1]?.endpoint } });
  expect(wrongJump.status).toBe(1);
});

function runProgram(folder: string, input: object): Promise<{ status: number | null; output: string }> {
  const program = path.join(repository, "components/cluster/hosts/preflight-run.ts");
  const child = spawn(process.execPath, [program], { cwd: folder, stdio: ["pipe", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (data: Buffer) => {
    output += data;
  });
  child.stdin.end(JSON.stringify(input));
  return new Promise((resolve) => child.once("close", (status) => resolve({ status, output })));
}
