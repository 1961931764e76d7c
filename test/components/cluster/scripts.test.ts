// The scripts that run on hosts, in a temporary root with stand-ins for systemctl, curl and k3s.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import { quote, rootCommand, scriptCommand, scriptInput } from "../../../components/cluster/shell.ts";
import { temporaryProject } from "../../stacks/project.ts";

const scripts = path.resolve(import.meta.dirname, "../../../components/cluster/scripts");
const install = fs.readFileSync(path.join(scripts, "k3s-install.sh"), "utf8");

/** The "binary" is itself a script that answers as a ready cluster, or not while the file `broken` exists. */
const k3s = `#!/bin/sh
[ -e "$STATE/broken" ] && exit 1
case "$*" in
  *readyz*) printf ok ;;
  *"get node"*) printf True ;;
esac
`;
const sha256 = createHash("sha256").update(k3s).digest("hex");

interface Host {
  readonly root: string;
  run(parameters?: Record<string, string>): { status: number | null; output: string; calls: string[] };
}

function host(): Host {
  const root = temporaryProject({
    "mirror/k3s": k3s,
    "bin/systemctl": `#!/bin/sh
echo "systemctl $*" >>"$STATE/calls"
case "$1" in
  start) touch "$STATE/active" ;;
  stop) rm -f "$STATE/active" ;;
  is-active) [ -e "$STATE/active" ] ;;
esac
`,
    "bin/curl": `#!/bin/sh
echo curl >>"$STATE/calls"
while [ "$1" != --output ]; do shift; done
cp "$STATE/mirror/k3s" "$2"
`,
    "bin/journalctl": "#!/bin/sh\necho 'k3s: the last journal line'\n",
    "bin/sleep": "#!/bin/sh\n",
  });
  for (const name of fs.readdirSync(path.join(root, "bin"))) {
    fs.chmodSync(path.join(root, "bin", name), 0o755);
  }
  const run: Host["run"] = (parameters = {}) => {
    fs.rmSync(path.join(root, "calls"), { force: true });
    const command = scriptCommand("root", {
      ROLE: "server",
      NODE_NAME: "server-1",
      BINARY_URL: "http://mirror.test/k3s",
      BINARY_SHA256: sha256,
      CONFIG: "node-name: server-1\nlabel: it's",
      REGISTRIES: "mirrors: {}",
      UNIT: "[Service]\nExecStart=/usr/local/bin/k3s server",
      WAIT_SECONDS: "0",
      WAIT_NODE: "1",
      WAIT_STORAGE_CLASS: "local-path",
      ...parameters,
    });
    const result = spawnSync("sh", ["-c", command], {
      input: scriptInput({ TOKEN: "secret token", UNINSTALL: "#!/bin/sh" }, install),
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
            .filter((call) => !call.includes("is-active"))
        : [],
    };
  };
  return { root, run };
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
    server-1: not ready after 0 s: still waiting for the API server's /readyz (journal lines above)
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

test("waiting for a node ends with what is known about it", () => {
  const { root } = host();
  const script = path.join(scripts, "k3s-node-ready.sh");
  const run = (): { status: number | null; output: string } => {
    const result = spawnSync("sh", [script], {
      env: {
        PATH: `${root}/bin:/usr/bin:/bin`,
        STATE: root,
        NODE_NAME: "agent-1",
        WAIT_SECONDS: "0",
        K3S: `${root}/mirror/k3s`,
      },
      encoding: "utf8",
    });
    return { status: result.status, output: result.stdout + result.stderr };
  };
  fs.chmodSync(path.join(root, "mirror/k3s"), 0o755);
  expect(run()).toEqual({ status: 0, output: "agent-1: the node is Ready\n" });
  fs.writeFileSync(path.join(root, "broken"), "");
  expect(run()).toEqual({
    status: 1,
    output: "agent-1: not Ready after 0 s (status: absent); see journalctl -u k3s-agent on that host\n",
  });
});

test.each(fs.readdirSync(scripts))("%s is valid for a POSIX shell", (file) => {
  expect(spawnSync("sh", ["-n", path.join(scripts, file)], { encoding: "utf8" })).toMatchObject({
    status: 0,
    stderr: "",
  });
});

test("parameters survive quoting; other users get root by sudo", () => {
  const nasty = `a'b"c$d \\e\n;f`;
  expect(spawnSync("sh", ["-c", `printf %s ${quote(nasty)}`], { encoding: "utf8" }).stdout).toBe(nasty);
  expect(scriptCommand("admin", { A: "1" })).toBe("sudo -n env A='1' sh -s");
  expect(rootCommand("admin", "cat x")).toBe("sudo -n sh -c 'cat x'");
  expect(rootCommand("root", "cat x")).toBe("cat x");
});
