// What the end-to-end tests need: processes with a time limit, a copy of the project with a state store of its own,
// and looks at the lab's hosts.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse, stringify } from "yaml";

/** The repository. */
export const repository = resolve(import.meta.dirname, "../..");

const tailLines = 40;

export interface RunOptions {
  readonly timeoutMs: number;
  /** @default the repository */
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** Exit status that counts as success. @default 0 */
  readonly expectedCode?: number;
}

/** What a child has written before its end may come so long after it. */
const drainMs = 1000;

/** A child in a process group of its own; its output is kept as it comes. */
export class Running {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  readonly #what: string;
  #output = "";
  #stdout = "";

  constructor(command: string, args: readonly string[], options: Omit<RunOptions, "timeoutMs">) {
    this.#what = [command, ...args].join(" ").slice(0, 200);
    this.#child = spawn(command, args, {
      cwd: options.cwd ?? repository,
      env: { ...process.env, ...options.env },
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stdout?.on("data", (data: Buffer) => {
      this.#output += data;
      this.#stdout += data;
    });
    this.#child.stderr?.on("data", (data: Buffer) => {
      this.#output += data;
    });
    this.#child.stdin?.on("error", () => {});
    this.#child.stdin?.end(options.stdin ?? "");
    this.#ended = new Promise((done, fail) => {
      this.#child.once("error", fail);
      this.#child.once("close", done);
      // A process that was left behind may hold the pipes for ever.
      this.#child.once("exit", (code) => setTimeout(done, drainMs, code));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The child and everything below it, also what has a process group of its own. */
  get tree(): number[] {
    return existsSync(`/proc/${this.pid}`) ? [this.pid, ...descendants(this.pid)] : [];
  }

  /** Both streams as they came. */
  get output(): string {
    return this.#output;
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** Ends the whole group at once, as a machine that goes down does. */
  kill(): void {
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }

  /** Ends the child and everything below it. */
  killTree(): void {
    const below = this.tree;
    this.kill();
    for (const pid of below) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended by itself.
      }
    }
  }

  /** Waits for the end; kills and fails when it takes longer. */
  async end(timeoutMs: number): Promise<number | null> {
    const late = new AbortController();
    const limit = sleep(timeoutMs, "late" as const, { signal: late.signal }).catch(() => "late" as const);
    const code = await Promise.race([this.#ended, limit]);
    late.abort();
    if (code !== "late") return code;
    this.killTree();
    throw new Error(`${this.#what} did not end within ${timeoutMs / 1000} s\n${this.tail()}`);
  }

  /** Waits until the output matches. */
  async saw(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match !== null) return match;
      if (this.#child.exitCode !== null || performance.now() > deadline) {
        this.killTree();
        throw new Error(`${this.#what} did not print ${pattern}\n${this.tail()}`);
      }
      await sleep(100);
    }
  }

  tail(): string {
    return `  ${this.#output.trimEnd().split("\n").slice(-tailLines).join("\n  ")}`;
  }
}

function descendants(pid: number): number[] {
  // A task may end between two looks.
  const read = <T>(look: () => T, none: T): T => {
    try {
      return look();
    } catch {
      return none;
    }
  };
  const tasks = read(() => readdirSync(`/proc/${pid}/task`), []);
  const children = tasks.flatMap((task) => {
    const text = read(() => readFileSync(`/proc/${pid}/task/${task}/children`, "utf8"), "");
    return text.trim().split(" ").filter(Boolean).map(Number);
  });
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** Command line of a process; empty when it has ended. */
export function commandOf(pid: number | string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

export interface Result {
  readonly output: string;
  readonly stdout: string;
  readonly seconds: number;
}

/** Runs a command to its end and fails, with the end of its output, where it ends otherwise than expected. */
async function run(command: string, args: readonly string[], options: RunOptions): Promise<Result> {
  const began = performance.now();
  const running = new Running(command, args, options);
  const code = await running.end(options.timeoutMs);
  if (code !== (options.expectedCode ?? 0)) {
    throw new Error(
      `${command} ${args.join(" ").slice(0, 200)} ended with status ${code}\n${running.tail()}`,
    );
  }
  const seconds = (performance.now() - began) / 1000;
  return { output: running.output, stdout: running.stdout, seconds };
}

/** Looks again until there is nothing missing. */
export async function until(
  what: string,
  timeoutSeconds: number,
  missing: () => Promise<string | undefined>,
): Promise<void> {
  const deadline = performance.now() + timeoutSeconds * 1000;
  for (;;) {
    const text = await missing().catch((error: Error) => error.message);
    if (text === undefined) return;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutSeconds} s for ${what}: ${text}`);
    await sleep(500);
  }
}

const passphrase = "e2e";
const copied = ["cli", "components", "configs", "experiments", "stacks", "workloads"];
const copiedFiles = ["Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.exp-smoke.yaml", "index.ts", "package.json"];

/**
 * A copy of the project with an empty state store: the repository's own stacks, their files and fetched/ stay as they
 * are. Keys and facts of the lab are those of the repository.
 */
export class Project {
  readonly #home = mkdtempSync(join(tmpdir(), "e2e-"));
  readonly #started: Running[] = [];
  readonly directory = join(this.#home, "project");

  constructor() {
    mkdirSync(this.directory);
    mkdirSync(join(this.#home, "state"));
    for (const path of [...copied, ...copiedFiles]) {
      cpSync(join(repository, path), join(this.directory, path), { recursive: true });
    }
    for (const link of ["node_modules", ".lab"]) symlinkSync(join(repository, link), this.file(link));
  }

  file(path: string): string {
    return join(this.directory, path);
  }

  get #environment(): Record<string, string> {
    return {
      // As in lab/with-tools: what is killed must leave a state that can be read.
      PULUMI_BACKEND_URL: `file://${join(this.#home, "state")}?metadata=skip`,
      PULUMI_CONFIG_PASSPHRASE: passphrase,
      KUBECONFIG: this.file("kubeconfig"),
    };
  }

  /** Runs a command in the copy, with its state store and its cluster. */
  run(
    command: string,
    args: readonly string[],
    options: RunOptions = { timeoutMs: 30_000 },
  ): Promise<Result> {
    return run(command, args, { cwd: this.directory, env: this.#environment, ...options });
  }

  /** `pulumi up`, `destroy` or `preview` of a stack. */
  pulumi(verb: string, stack: string, args: readonly string[], options: RunOptions): Promise<Result> {
    return this.run("pulumi", operation(verb, stack, args), options);
  }

  start(verb: string, stack: string, args: readonly string[]): Running {
    const options = { cwd: this.directory, env: this.#environment };
    const running = new Running("pulumi", operation(verb, stack, args), options);
    this.#started.push(running);
    return running;
  }

  /** Makes a stack, with the given configuration where the repository has none for it. */
  async init(stack: string, config?: Readonly<Record<string, unknown>>): Promise<void> {
    const file = this.file(`Pulumi.${stack}.yaml`);
    if (config === undefined) {
      // The salt belongs to the passphrase of the repository's own stack.
      writeFileSync(file, readFileSync(file, "utf8").replace(/^encryptionsalt:.*\n?/m, ""));
    }
    await this.run("pulumi", ["stack", "init", stack, "--non-interactive"]);
    if (config !== undefined) this.configure(stack, config);
  }

  /** Replaces the whole configuration of a stack. */
  configure(stack: string, config: Readonly<Record<string, unknown>>): void {
    const file = this.file(`Pulumi.${stack}.yaml`);
    const { encryptionsalt } = parse(readFileSync(file, "utf8")) as { readonly encryptionsalt?: string };
    writeFileSync(file, stringify({ config, encryptionsalt }));
  }

  async outputs(stack: string, args: readonly string[] = []): Promise<Record<string, unknown>> {
    const { stdout } = await this.run("pulumi", ["stack", "output", "--json", "-s", stack, ...args]);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  /** The stack's state as it lies on disk. */
  stateText(stack: string): string {
    return readFileSync(join(this.#home, "state/.pulumi/stacks/llm-serving-eval", `${stack}.json`), "utf8");
  }

  /** Types and names of the resources that the state holds, without the stack itself and what read other stacks. */
  resources(stack: string): string[] {
    const { checkpoint } = JSON.parse(this.stateText(stack)) as {
      readonly checkpoint: { readonly latest?: { readonly resources?: readonly { readonly urn: string }[] } };
    };
    return (checkpoint.latest?.resources ?? [])
      .map(({ urn }) => urn.split("::").slice(2).join("::"))
      .filter((name) => !/^pulumi:(pulumi:Stack|providers:pulumi)::/.test(name));
  }

  /** kubectl on the cluster whose kubeconfig lies in the copy; the output is JSON. */
  async kubectl<T>(...args: readonly string[]): Promise<T> {
    const { stdout } = await this.run("kubectl", [...args, "--request-timeout=10s", "-o", "json"]);
    return JSON.parse(stdout) as T;
  }

  dispose(): void {
    for (const running of this.#started) running.killTree();
    rmSync(this.#home, { recursive: true, force: true });
  }
}

function operation(verb: string, stack: string, args: readonly string[]): string[] {
  return [verb, "-s", stack, "--non-interactive", "--color", "never", ...args];
}

/** Those that experiments run on: `lab/up.sh 1`. */
export const hosts = { "server-1": "10.89.77.11", "agent-1": "10.89.77.21" } as const;
/** Those that cluster.test.ts turns into clusters, beside an experiment on server-1: `lab/up.sh 2 2`. */
export const clusterHosts = {
  "server-2": "10.89.77.12",
  "agent-1": hosts["agent-1"],
  "agent-2": "10.89.77.22",
} as const;
const allHosts = { ...hosts, ...clusterHosts };
export type Host = keyof typeof allHosts;

/** Starts the lab (with so many agents and servers) or removes it. */
export function lab(script: "up.sh" | "down.sh", ...args: string[]): Promise<Result> {
  return run(join(repository, "lab", script), args, { timeoutMs: 180_000 });
}

/** Runs a script as root on a host of the lab. */
export function ssh(host: Host, script: string, options: Partial<RunOptions> = {}): Promise<Result> {
  const known = join(repository, ".lab/ssh/known_hosts");
  const key = join(repository, ".lab/ssh/id_ed25519");
  const client = [
    "-i",
    key,
    "-o",
    `UserKnownHostsFile=${known}`,
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=3",
  ];
  return run("ssh", [...client, `root@${allHosts[host]}`, "sh -s"], {
    timeoutMs: 60_000,
    stdin: script,
    ...options,
  });
}

/**
 * What an installation could leave on a host: files outside of logs and temporary folders, enabled units, processes,
 * mounts, links, firewall rules and control groups.
 */
export async function hostState(host: Host): Promise<string[]> {
  const { stdout } = await ssh(
    host,
    `{
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \\
  -o -path /var/lib/systemd -o -path /var/cache -o -path /var/backups \\) -prune -o -printf 'file %p\\n'
ls -d /run/k3s /run/flannel /run/netns/* /var/log/pods /var/log/containers 2>/dev/null
systemctl list-unit-files --no-legend --plain | awk '{ print "unit", $1, $2 }'
ps -e -o args= | grep -E 'k3s|kube|containerd|etcd' | grep -v grep
cut -d ' ' -f 2 /proc/self/mounts | sed 's/^/mount /'
ip -o link | awk -F '[:@ ]+' '{ print "link", $2 }'
iptables-save | grep -E '^-A|^:.* - '
find /sys/fs/cgroup -type d -name 'k3s*' -o -type d -name 'kubepods*'
} | sort`,
  );
  return stdout.trimEnd().split("\n");
}

export function readJson<T>(file: string): T {
  return JSON.parse(readFileSync(file, "utf8")) as T;
}

/** The rows of a file of JSON lines. */
export function readRows<T>(file: string): T[] {
  return readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
}

export function sha256(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}
