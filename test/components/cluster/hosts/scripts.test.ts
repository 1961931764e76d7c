// The scripts that run on hosts, in a temporary root with stand-ins for systemctl, curl and k3s.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import {
  quote,
  rootCommand,
  scriptCommand,
  scriptInput,
} from "../../../../components/cluster/hosts/shell.ts";
import { temporaryProject } from "../../../stacks/project.ts";

const scripts = path.resolve(import.meta.dirname, "../../../../components/cluster/hosts/scripts");
const install = fs.readFileSync(path.join(scripts, "k3s-install.sh"), "utf8");

/**
 * The "binary" is itself a script that answers as a ready cluster, or not while the file `broken` exists. The node's
 * fields are files in `node/`, and what would change it goes to `calls`.
 */
const k3s = `#!/bin/sh
[ -e "$STATE/broken" ] && exit 1
field() { if [ -e "$STATE/node/$1" ]; then cat "$STATE/node/$1"; else printf '%s' "$2"; fi; }
case "$*" in
  --version) echo 'k3s version v2 (0123abcd)' ;;
  *readyz*) printf ok ;;
  *etcd-snapshot*) echo "$*" >>"$STATE/calls" ;;
  *"get node"*kubeletVersion*) field version v2 ;;
  *"get node"*unschedulable*) field unschedulable ;;
  *"get node"*cordoned*) field cordoned ;;
  *"get node"*io/labels*) field labels ;;
  *"get node"*io/taints*) field taints ;;
  *"get node"*metadata.annotations*) field annotations ;;
  *"get node"*) printf True ;;
  *"get storageclass"*) ;;
  *drain*) echo "$*" >>"$STATE/calls"; [ ! -e "$STATE/stuck" ] ;;
  *) echo "$*" >>"$STATE/calls" ;;
esac
`;
const nextK3s = k3s.replace("version v2", "version v3");
const sha256 = sha256Of(k3s);

function sha256Of(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

interface Result {
  readonly status: number | null;
  readonly output: string;
  readonly calls: string[];
}

interface Host {
  readonly root: string;
  /** Runs the install script with these parameters instead of the usual ones. */
  run(parameters?: Record<string, string>, secrets?: Record<string, string>): Result;
  /** Runs another script with exactly these parameters. */
  runScript(file: string, parameters: Record<string, string>): Result;
}

function host(): Host {
  const root = temporaryProject({
    "mirror/k3s": k3s,
    "bin/systemctl": `#!/bin/sh
echo "systemctl $*" >>"$STATE/calls"
case "$1" in
  start) touch "$STATE/active" ;;
  stop) rm -f "$STATE/active" ;;
  is-active) [ -e "$STATE/active" ] && [ ! -e "$STATE/failing" ] ;;
  show) cat "$STATE/restarts" 2>/dev/null || echo 0 ;;
esac
`,
    "bin/curl": `#!/bin/sh
case "$*" in *healthz*) [ -e "$STATE/unhealthy" ] || printf ok; exit ;; esac
echo curl >>"$STATE/calls"
while [ "$1" != --output ]; do shift; done
cp "$STATE/mirror/k3s" "$2"
`,
    "bin/journalctl": `#!/bin/sh
cat "$STATE/journal" 2>/dev/null || echo 'k3s: the last journal line'
`,
    "bin/sleep": "#!/bin/sh\n",
  });
  for (const name of fs.readdirSync(path.join(root, "bin"))) {
    fs.chmodSync(path.join(root, "bin", name), 0o755);
  }
  fs.chmodSync(path.join(root, "mirror/k3s"), 0o755);
  const shell = (command: string, input: string): Result => {
    fs.rmSync(path.join(root, "calls"), { force: true });
    const result = spawnSync("sh", ["-c", command], {
      input,
      env: { PATH: `${root}/bin:/usr/bin:/bin`, STATE: root, ROOT: root },
      encoding: "utf8",
    });
    const calls = path.join(root, "calls");
    return {
      status: result.status,
      output: (result.stdout + result.stderr).replaceAll(root, "ROOT"),
      calls: fs.existsSync(calls)
        ? fs
            .readFileSync(calls, "utf8")
            .trim()
            .split("\n")
            .filter((call) => !/is-active|systemctl show/.test(call))
        : [],
    };
  };
  return {
    root,
    run: (parameters = {}, secrets = {}) =>
      shell(
        scriptCommand("root", {
          MODE: "apply",
          ROLE: "server",
          NODE_NAME: "server-1",
          DATA_DIR: "/data",
          BINARY_URL: "http://mirror.test/k3s",
          BINARY_SHA256: sha256,
          CONFIG: "node-name: server-1\nlabel: it's",
          REGISTRIES: "mirrors: {}",
          UNIT: "[Service]\nExecStart=/usr/local/bin/k3s server",
          WAIT_SECONDS: "0",
          WAIT_KUBELET: "1",
          WAIT_NODE: "1",
          WAIT_STORAGE_CLASS: "local-path",
          SNAPSHOT: "1",
          ...parameters,
        }),
        scriptInput({ TOKEN: "secret token", AGENT_TOKEN: "", UNINSTALL: "#!/bin/sh", ...secrets }, install),
      ),
    runScript: (file, parameters) =>
      shell(
        scriptCommand("root", { K3S: `${root}/mirror/k3s`, ...parameters }),
        fs.readFileSync(path.join(scripts, file), "utf8"),
      ),
  };
}

/** Offers another executable than the one that is installed; returns its parameters. */
function offerNext(root: string): Record<string, string> {
  fs.writeFileSync(path.join(root, "mirror/k3s"), nextK3s);
  return { BINARY_SHA256: sha256Of(nextK3s) };
}

function touch(root: string, file: string, text = ""): void {
  fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
  fs.writeFileSync(path.join(root, file), text);
}

function read(root: string, file: string): string {
  return fs.readFileSync(path.join(root, file), "utf8");
}

test("a fresh host gets executable, files and a started unit; the second run changes nothing", () => {
  const { root, run } = host();
  const first = run();
  expect(first.output).toMatchInlineSnapshot(`
    "server-1: fetching http://mirror.test/k3s
    server-1: restarting k3s with the new configuration
    server-1: k3s is ready
    "
  `);
  expect(first.status).toBe(0);
  expect(first.calls).toEqual([
    "curl",
    "systemctl daemon-reload",
    "systemctl enable --quiet k3s",
    "systemctl stop k3s",
    "systemctl reset-failed k3s",
    "systemctl start --no-block k3s",
  ]);
  expect(read(root, "etc/rancher/k3s/config.yaml")).toBe("node-name: server-1\nlabel: it's\n");
  expect(read(root, "etc/rancher/k3s/token")).toBe("secret token\n");
  expect(fs.statSync(path.join(root, "etc/rancher/k3s/token")).mode & 0o777).toBe(0o600);
  expect(fs.statSync(path.join(root, "usr/local/bin/llmeval-k3s-uninstall.sh")).mode & 0o777).toBe(0o755);
  const second = run();
  expect(second).toEqual({
    status: 0,
    output: "server-1: k3s is up to date\nserver-1: k3s is ready\n",
    calls: [],
  });
});

test("a change of config, registries or unit restarts K3s once and does not fetch it again", () => {
  const { root, run } = host();
  run();
  const changes: Record<string, string>[] = [{ CONFIG: "name: b" }, { CONFIG: "name: b", REGISTRIES: "" }];
  for (const change of changes) {
    expect(run(change).calls).toContain("systemctl start --no-block k3s");
    expect(run(change).calls).toEqual([]);
  }
  expect(fs.existsSync(path.join(root, "etc/rancher/k3s/registries.yaml"))).toBe(false);
});

test("a stopped unit is started again; a cut before readiness is caught up by the next run", () => {
  const { root, run } = host();
  run();
  fs.rmSync(path.join(root, "active"));
  expect(run().calls).toContain("systemctl start --no-block k3s");
  fs.writeFileSync(path.join(root, "broken"), "");
  const failed = run({ CONFIG: "node-name: other" });
  expect(failed.status).toBe(1);
  expect(failed.output).toMatchInlineSnapshot(`
    "server-1: restarting k3s with the new configuration
    server-1: waiting for the API server's /readyz
    last journal lines of k3s:
    k3s: the last journal line
    server-1: waiting for the API server's /readyz
    server-1: not ready after 0 s: still waiting for the API server's /readyz (journal lines above); the host went back to what it ran before, which does not become ready either: not ready after 0 s: still waiting for the API server's /readyz
    "
  `);
  fs.rmSync(path.join(root, "broken"));
  const next = run({ CONFIG: "node-name: other" });
  expect(next.status).toBe(0);
  expect(next.calls).toContain("systemctl start --no-block k3s");
});

test("a download with another sha256 is refused and leaves the host as it was", () => {
  const { root, run } = host();
  run();
  const wrong = run({ BINARY_SHA256: "f".repeat(64), CONFIG: "node-name: other" });
  expect(wrong.status).toBe(1);
  expect(wrong.output).toContain(`http://mirror.test/k3s has sha256 ${sha256}, expected ${"f".repeat(64)}`);
  expect(wrong.calls).toEqual(["curl"]);
  expect(read(root, "usr/local/bin/k3s")).toBe(k3s);
  expect(read(root, "etc/rancher/k3s/config.yaml")).toBe("node-name: server-1\nlabel: it's\n");
  expect(fs.readdirSync(path.join(root, "usr/local/bin"))).toEqual(["k3s", "llmeval-k3s-uninstall.sh"]);
});

test("an agent uses its own unit and is ready when the unit is active", () => {
  const { root, run } = host();
  fs.writeFileSync(path.join(root, "broken"), "");
  const result = run({ ROLE: "agent", NODE_NAME: "agent-1" });
  expect(result.status).toBe(0);
  expect(fs.existsSync(path.join(root, "etc/systemd/system/k3s-agent.service"))).toBe(true);
  expect(fs.existsSync(path.join(root, "usr/local/bin/llmeval-k3s-agent-uninstall.sh"))).toBe(true);
});

test("an agent that runs without a healthy kubelet is not ready, wherever its port is known", () => {
  const { root, run } = host();
  touch(root, "unhealthy");
  const parameters = { ROLE: "agent", NODE_NAME: "agent-1" };
  expect(run(parameters).output).toContain(
    "agent-1: not ready after 0 s: still waiting for the kubelet to be healthy",
  );
  expect(run({ ...parameters, WAIT_KUBELET: "0" }).status).toBe(0);
});

test("preparing an installed host fetches the executable and changes nothing else", () => {
  const { root, run } = host();
  const fresh = run({ MODE: "prepare" });
  expect(fresh.status).toBe(0);
  expect(fresh.calls).toContain("systemctl start --no-block k3s");
  const next = { ...offerNext(root), CONFIG: "node-name: other" };
  const prepared = run({ ...next, MODE: "prepare" });
  expect(prepared).toEqual({
    status: 0,
    output: "server-1: fetching http://mirror.test/k3s\nserver-1: the executable is at hand\n",
    calls: ["curl"],
  });
  expect(read(root, "usr/local/bin/k3s")).toBe(k3s);
  expect(read(root, "etc/rancher/k3s/config.yaml")).toContain("server-1");
  const switched = run(next);
  expect(switched.calls).not.toContain("curl");
  expect(read(root, "usr/local/bin/k3s")).toBe(nextK3s);
  expect(fs.existsSync(path.join(root, "usr/local/bin/k3s.next"))).toBe(false);
  expect(run(next).calls).toEqual([]);
});

test("an upgrade or a configuration that does not become ready is undone", () => {
  const { root, run } = host();
  run({}, { AGENT_TOKEN: "agents" });
  touch(root, "unhealthy");
  const failed = run(
    {
      ...offerNext(root),
      CONFIG: "node-name: other",
      REGISTRIES: "",
      UNIT: "[Service]\nother",
      SNAPSHOT: "0",
    },
    { AGENT_TOKEN: "others" },
  );
  expect(failed.status).toBe(1);
  expect(failed.output).toMatchInlineSnapshot(`
    "server-1: fetching http://mirror.test/k3s
    server-1: restarting k3s with the new configuration
    server-1: waiting for the kubelet to be healthy
    last journal lines of k3s:
    k3s: the last journal line
    server-1: waiting for the kubelet to be healthy
    server-1: not ready after 0 s: still waiting for the kubelet to be healthy (journal lines above); the host went back to what it ran before, which does not become ready either: not ready after 0 s: still waiting for the kubelet to be healthy
    "
  `);
  expect(read(root, "usr/local/bin/k3s")).toBe(k3s);
  expect(read(root, "usr/local/bin/k3s.previous")).toBe(k3s);
  expect(read(root, "etc/rancher/k3s/config.yaml")).toBe("node-name: server-1\nlabel: it's\n");
  expect(read(root, "etc/rancher/k3s/registries.yaml")).toBe("mirrors: {}\n");
  expect(read(root, "etc/rancher/k3s/agent-token")).toBe("agents\n");
  expect(read(root, "etc/systemd/system/k3s.service")).toContain("ExecStart");
  expect(failed.calls.filter((call) => call.includes("systemctl start"))).toHaveLength(2);
  fs.rmSync(path.join(root, "unhealthy"));
  expect(run({}, { AGENT_TOKEN: "agents" }).calls).toEqual([]);
});

test("a change that was cut half-way does not replace the state to go back to", () => {
  const { root, run } = host();
  run();
  // As after a cut: the new configuration is written, but never became ready.
  fs.writeFileSync(path.join(root, "etc/rancher/k3s/config.yaml"), "node-name: cut\n");
  touch(root, "unhealthy");
  run({ CONFIG: "node-name: first" });
  fs.rmSync(path.join(root, "unhealthy"));
  expect(run({ CONFIG: "node-name: second" }).status).toBe(0);
  touch(root, "unhealthy");
  run({ CONFIG: "node-name: third" });
  expect(read(root, "etc/rancher/k3s/config.yaml")).toBe("node-name: second\n");
});

test("a file that was edited on the host is put back, with one restart", () => {
  const { root, run } = host();
  run();
  fs.appendFileSync(path.join(root, "etc/rancher/k3s/config.yaml"), "more: 1\n");
  expect(run().calls).toContain("systemctl start --no-block k3s");
  expect(read(root, "etc/rancher/k3s/config.yaml")).not.toContain("more");
  expect(run().calls).toEqual([]);
});

test.each([
  ["three refusals", { journal: "not authorized\nnot authorized\nnot authorized\n" }, 1],
  ["one refusal and a restart", { journal: "token is not accepted by x\n", restarts: "1" }, 1],
  ["one refusal", { journal: "token is not accepted by x\n" }, 0],
  ["a unit that ends again and again", { restarts: "8" }, 1],
])("waiting ends early only where it is hopeless: %s", (_name, files, hopeless) => {
  const { root, run } = host();
  touch(root, "failing");
  for (const [file, text] of Object.entries(files)) touch(root, file, text);
  const { output } = run({ ROLE: "agent", NODE_NAME: "agent-1", WAIT_SECONDS: "1" });
  expect(output.includes("not ready after 1 s")).toBe(hopeless === 0);
  expect(/K3s refuses to go on: (not authorized|token is not)|ended 8 times/.test(output)).toBe(
    hopeless === 1,
  );
});

test("the datastore is saved before another executable is used, not before another configuration", () => {
  const { root, run } = host();
  touch(root, "data/server/db/etcd/member/x");
  run();
  expect(run({ CONFIG: "node-name: other" }).output).not.toContain("snapshot");
  const upgraded = run({ ...offerNext(root), CONFIG: "node-name: other" });
  expect(upgraded.status).toBe(0);
  expect(upgraded.calls.slice(0, 2)).toEqual([
    "curl",
    "etcd-snapshot save --name llmeval-before-upgrade --data-dir /data",
  ]);
});

test("an SQLite datastore is copied while K3s is stopped", () => {
  const { root, run } = host();
  touch(root, "data/server/db/state.db", "rows");
  touch(root, "data/server/db/state.db-wal", "log");
  touch(root, "data/server/db/etcd/name", "");
  run();
  const upgraded = run(offerNext(root));
  expect(upgraded.status).toBe(0);
  expect(upgraded.calls.slice(0, 2)).toEqual(["curl", "systemctl stop k3s"]);
  expect(read(root, "data/server/llmeval-before-upgrade/state.db")).toBe("rows");
  expect(read(root, "data/server/llmeval-before-upgrade/state.db-wal")).toBe("log");
});

test("without a snapshot there is no upgrade", () => {
  const { root, run } = host();
  touch(root, "data/server/db/etcd/member/x");
  run();
  fs.writeFileSync(
    path.join(root, "usr/local/bin/k3s"),
    k3s.replace("*etcd-snapshot*)", "*etcd-snapshot*) exit 1 ;; x)"),
  );
  fs.chmodSync(path.join(root, "usr/local/bin/k3s"), 0o755);
  const failed = run(offerNext(root));
  expect(failed.status).toBe(1);
  expect(failed.output).toContain("the upgrade was not begun; the host was left as it was");
  expect(failed.calls).not.toContain("systemctl stop k3s");
});

const node = { NODE_NAME: "agent-1", WAIT_SECONDS: "0", WAIT_READY: "1", LABELS: "", TAINTS: "" };

test("waiting for a node ends with what is known about it", () => {
  const { root, runScript } = host();
  expect(runScript("k3s-node.sh", node)).toEqual({
    status: 0,
    output: "agent-1: the node is ready, version v2\n",
    calls: ["kubectl annotate node agent-1 --overwrite llmeval.io/taints="],
  });
  touch(root, "node/version", "v1");
  const old = runScript("k3s-node.sh", node);
  expect(old.status).toBe(1);
  expect(old.output).toBe(
    "agent-1: waited 0 s for the node to run v2 (it runs v1); see the journal of K3s on that host\n",
  );
});

test("labels that are no longer wanted go; taints that others took away stay away", () => {
  const { root, runScript } = host();
  touch(root, "node/labels", "role zone");
  touch(root, "node/taints", "old=1:NoExecute gone=1:NoSchedule gpu=yes:NoSchedule");
  const LABELS = "role=gpu tier=a";
  const TAINTS = "gpu=no:NoSchedule gone=1:NoSchedule";
  expect(runScript("k3s-node.sh", { ...node, LABELS, TAINTS }).calls).toMatchInlineSnapshot(`
    [
      "kubectl label node agent-1 --overwrite role=gpu tier=a zone-",
      "kubectl annotate node agent-1 --overwrite llmeval.io/labels=role tier",
      "kubectl taint node agent-1 old:NoExecute-",
      "kubectl taint node agent-1 gpu:NoSchedule-",
      "kubectl taint node agent-1 --overwrite gpu=no:NoSchedule",
      "kubectl annotate node agent-1 --overwrite llmeval.io/taints=gpu=no:NoSchedule gone=1:NoSchedule",
    ]
  `);
  touch(root, "node/labels", "role tier");
  touch(root, "node/taints", TAINTS);
  expect(runScript("k3s-node.sh", { ...node, LABELS, TAINTS }).calls).toEqual([
    "kubectl label node agent-1 --overwrite role=gpu tier=a",
  ]);
});

test("a node that has just registered keeps the taints that it registered with", () => {
  const { runScript } = host();
  expect(runScript("k3s-node.sh", { ...node, TAINTS: "gpu=yes:NoSchedule" }).calls).toEqual([
    "kubectl annotate node agent-1 --overwrite llmeval.io/taints=gpu=yes:NoSchedule",
  ]);
});

test("only a node with another version is drained, and only our cordon is lifted", () => {
  const { root, runScript } = host();
  const drain = (): Result => runScript("k3s-drain.sh", { NODE_NAME: "agent-1", DRAIN_SECONDS: "60" });
  expect(drain()).toMatchObject({ status: 0, output: "agent-1: nothing to drain\n", calls: [] });
  touch(root, "node/version", "v1");
  expect(drain().calls).toMatchInlineSnapshot(`
    [
      "kubectl annotate node agent-1 llmeval.io/cordoned=upgrade --overwrite",
      "kubectl cordon agent-1",
      "kubectl drain agent-1 --ignore-daemonsets --delete-emptydir-data --timeout=60s",
    ]
  `);
  touch(root, "node/unschedulable", "true");
  expect(drain().calls).toHaveLength(1);
  fs.rmSync(path.join(root, "node/version"));
  expect(runScript("k3s-node.sh", node).calls.join()).not.toContain("uncordon");
  touch(root, "node/cordoned", "upgrade");
  expect(runScript("k3s-node.sh", node).calls).toContain("kubectl uncordon agent-1");
});

test("a node whose pods do not leave goes back into service", () => {
  const { root, runScript } = host();
  touch(root, "node/version", "v1");
  touch(root, "node/cordoned", "upgrade");
  touch(root, "stuck");
  const failed = runScript("k3s-drain.sh", { NODE_NAME: "agent-1", DRAIN_SECONDS: "60" });
  expect(failed.status).toBe(1);
  expect(failed.output).toMatchInlineSnapshot(`
    "agent-1: draining for the upgrade from v1 to v2
    agent-1: its pods did not leave within 60 s (lines above), so it was not upgraded and serves on with v1; remove what holds them, or raise k3s.drainTimeoutSeconds
    "
  `);
  expect(failed.calls).toContain("kubectl uncordon agent-1");
});

test.each(fs.readdirSync(scripts).filter((file) => file.endsWith(".sh")))(
  "%s is valid for a POSIX shell",
  (file) => {
    expect(spawnSync("sh", ["-n", path.join(scripts, file)], { encoding: "utf8" })).toMatchObject({
      status: 0,
      stderr: "",
    });
  },
);

test("parameters survive quoting; other users get root by sudo", () => {
  const nasty = `a'b"c$d \\e\n;f`;
  expect(spawnSync("sh", ["-c", `printf %s ${quote(nasty)}`], { encoding: "utf8" }).stdout).toBe(nasty);
  expect(scriptCommand("admin", { A: "1" })).toBe("sudo -n env A='1' sh -s");
  expect(rootCommand("admin", "cat x")).toBe("sudo -n sh -c 'cat x'");
  expect(rootCommand("root", "cat x")).toBe("cat x");
});
