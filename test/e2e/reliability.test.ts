// What happens to experiments when something is cut, killed, restarted or full: nothing measured is lost, no fault is
// left, and whoever ran `pulumi up` is told. Two experiments play side by side; the tests are one story. Needs the tools
// of `lab/with-tools`, and root.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { experimentId } from "../../experiments/id.ts";
import { resolveExperiment } from "../../experiments/resolve.ts";
import type { ResolvedExperiment } from "../../experiments/schema.ts";
import { timelineOf } from "../../experiments/timeline.ts";
import type { Verdicts } from "../../workloads/collector/verdicts.ts";
import type { LoadReport, Manifest, RequestRow, Timeline } from "../../workloads/shared/rows.ts";
import { Project, type Running, readJson, sha256, ssh, until } from "./support.ts";

const up = ["--yes", "--skip-preview"];
const limit = { timeoutMs: 240_000 };
/** What nothing here needs: the stack is there sooner without. */
const partsOff = ["entry", "loki", "opentelemetry", "gatewayApi", "grafana"];
const ratePerSecond = 4;

/** Both play for 45 s; the first with a fault. */
const common = {
  modelId: "falcon-h1-7b-instruct",
  engine: "llm-d-inference-sim",
  load: {
    ratePerSecond,
    promptTokens: 64,
    outputTokens: 16,
    workers: 64,
    spawnRatePerSecond: 100,
    requestTimeoutSeconds: 10,
  },
  timeline: { profile: "smoke", warmUpSeconds: 12, beforeSeconds: 3, faultSeconds: 15, afterSeconds: 15 },
  timeouts: { serviceReadySeconds: 600, gateSeconds: 300, collectSeconds: 120 },
  // Both fit on the host at once.
  resources: {
    head: { cpu: "100m" },
    worker: { cpu: "200m" },
    load: { cpu: "100m" },
    gate: { cpu: "20m" },
    collector: { cpu: "20m" },
    conductor: { cpu: "20m" },
  },
};
const experiments = {
  first: { ...common, faults: [{ kind: "cpu", target: { replica: 0 }, workers: 1 }] },
  second: common,
} as const;
type Name = keyof typeof experiments;
const names = Object.keys(experiments) as Name[];
const requests = 45 * ratePerSecond;

interface List<T> {
  readonly items: readonly T[];
}
interface Named {
  readonly metadata: { readonly name: string; readonly namespace?: string };
}
interface Pod extends Named {
  readonly status: { readonly phase: string };
}

let project: Project;
/** Figures of the whole file, printed at its end. */
const cutIn: string[] = [];
let lost = 0;
let faultsLeft = 0;

const stackOf = (name: Name): string => `exp-${name}`;

function resolved(name: Name): ResolvedExperiment {
  return resolveExperiment({ projectDir: project.directory, name });
}

/** One run of one of the experiments. */
class Run {
  readonly name: Name;
  readonly id: string;
  readonly folder: string;

  constructor(name: Name, number: number) {
    this.name = name;
    this.id = experimentId(resolved(name), number);
    this.folder = project.file(`fetched/${this.id}`);
  }

  async configure(): Promise<this> {
    const number = /-r(\d+)-/.exec(this.id)?.[1] ?? "";
    await project.run("pulumi", ["config", "set", "llmeval:run", number, "-s", stackOf(this.name)]);
    return this;
  }

  start(): Running {
    return project.start("up", stackOf(this.name), up);
  }

  /** A file on the results volume, through the reader; undefined where it is not there yet. */
  async file<T>(path: string): Promise<T | undefined> {
    const reader = `/api/v1/namespaces/${stackOf(this.name)}/services/http:results:8080/proxy/${this.id}`;
    const { stdout } = await project.run("kubectl", ["get", "--raw", `${reader}/${path}`]).catch(() => ({
      stdout: "",
    }));
    return stdout === "" ? undefined : (JSON.parse(stdout) as T);
  }

  /** Waits until so many seconds after T0, and returns how late it is then. */
  async at(seconds: number): Promise<number> {
    let t0 = 0;
    await until(`T0 of ${this.id}`, 120, async () => {
      const timeline = await this.file<Timeline>("timeline.json");
      t0 = Number(BigInt(timeline?.t0UnixNs ?? 0) / 1_000_000n);
      return timeline === undefined ? "there is no timeline.json" : undefined;
    });
    const lateMs = Date.now() - t0 - seconds * 1000;
    if (lateMs < 0) await sleep(-lateMs);
    return Math.max(0, lateMs / 1000);
  }

  phase(name: string): { readonly from: number; readonly to: number } {
    const [cell] = timelineOf(resolved(this.name)).cells;
    const found = cell?.phases.find((phase) => phase.name === name);
    if (found === undefined) throw new Error(`there is no phase ${name}`);
    return {
      from: found.startOffsetSeconds,
      to: found.startOffsetSeconds + found.durationSeconds,
    };
  }

  async pod(role: string): Promise<string> {
    const selector = `app.kubernetes.io/name=${role},llmeval/experiment-id=${this.id}`;
    const { items } = await project.kubectl<List<Pod>>(
      ...["get", "pods", "-n", stackOf(this.name), "-l", selector],
    );
    const running = items.find(({ status }) => status.phase === "Running");
    if (running === undefined) throw new Error(`no pod of ${role} runs`);
    return running.metadata.name;
  }

  rows(): RequestRow[] {
    const text = readFileSync(join(this.folder, "load/requests.jsonl"), "utf8").trimEnd();
    return text.split("\n").flatMap((line) => {
      try {
        return [JSON.parse(line) as RequestRow];
      } catch {
        // Where the disk was full a line can be cut.
        return [];
      }
    });
  }

  /** Checks that what was fetched is whole, and counts what is missing. */
  check(): void {
    const manifest = readJson<Manifest>(join(this.folder, "manifest.json"));
    expect(manifest).toMatchObject({ experimentId: this.id, complete: true });
    const damaged = manifest.files.filter(
      ({ path, sha256: expected }) => sha256(join(this.folder, path)) !== expected,
    );
    const ids = new Set(this.rows().map(({ requestId }) => requestId));
    lost += requests - ids.size + damaged.length;
    expect(damaged).toEqual([]);
    expect(ids.size).toBe(requests);
  }
}

async function destroyPod(namespace: string, pod: string): Promise<void> {
  await project.run("kubectl", ["delete", "pod", pod, "-n", namespace, "--grace-period=0", "--force"]);
}

/** Ends a running `pulumi up` as a machine that goes down does, and frees its stack. */
async function cut(running: Running, stack: string, where: string): Promise<void> {
  expect(running.tree, `${where}: pulumi up has ended already\n${running.tail()}`).not.toEqual([]);
  running.killTree();
  await running.end(5_000);
  if (cutIn.length === 0) {
    // State in files is still locked by the process that is gone; Pulumi says how to unlock it.
    const { output } = await project.pulumi("up", stack, up, { timeoutMs: 30_000, expectedCode: 1 });
    expect(output).toContain("`pulumi cancel`");
  }
  await project.run("pulumi", ["cancel", "--yes", "--stack", stack]);
  cutIn.push(where);
}

/** What a fault leaves on a host or in the cluster. */
async function remains(): Promise<string[]> {
  const kinds = "stresschaos,networkchaos,podchaos,iochaos,timechaos,podnetworkchaos,podiochaos";
  const { items } = await project.kubectl<List<Named>>("get", kinds, "-A");
  const host = await ssh(
    "server-1",
    `pgrep -a 'stress-ng|memStress'
for network in /proc/1/ns/net /run/netns/*; do
  nsenter --net=$network iptables-save | grep -E -- '-A CHAOS'
  nsenter --net=$network tc qdisc show | grep -E 'netem|tbf'
done
true`,
  );
  return [
    ...items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
    ...host.stdout.split("\n").filter((line) => line !== ""),
  ];
}

async function nothingIsLeft(): Promise<void> {
  const left = await remains();
  faultsLeft += left.length;
  expect(left).toEqual([]);
}

beforeAll(async () => {
  project = new Project();
  const file = project.file("configs/clusters/lab.yaml");
  const off = partsOff.map((part) => `${part}: { mode: off }`).join("\n");
  const kept = readFileSync(file, "utf8").replace(
    new RegExp(`^(${partsOff.join("|")}):\n(?:[ #].*\n)+`, "gm"),
    "",
  );
  writeFileSync(file, `${kept}${off}\n`);
  await project.init("dev");
  await project.pulumi("up", "dev", up, { timeoutMs: 400_000 });
  const { kubeconfig } = await project.outputs("dev", ["--show-secrets"]);
  writeFileSync(project.file("kubeconfig"), String(kubeconfig), { mode: 0o600 });
  for (const name of names) {
    writeFileSync(project.file(`experiments/${name}.yaml`), stringify(experiments[name]));
    await project.init(stackOf(name), { "llmeval:kind": "experiment", "llmeval:cluster": "dev" });
  }
});

afterAll(async () => {
  process.stdout.write(
    `reliability: pulumi up cut in ${cutIn.length} phases (${cutIn.join(", ")}); results lost: ${lost}; faults left behind: ${faultsLeft}\n`,
  );
  project?.dispose();
});

test("SIGKILL of `pulumi up` in every phase loses nothing; an experiment beside it notices nothing", async () => {
  const first = await new Run("first", 1).configure();
  const second = await new Run("second", 1).configure();
  const beside = second.start();
  const stack = stackOf("first");

  let running = first.start();
  await running.saw(/Namespace first creat/, 60_000);
  await cut(running, stack, "creation of the namespace");
  running = first.start();
  await running.saw(/RayService \S+ creating/, 120_000);
  // By then the operator has written the RayService back.
  await sleep(3_000);
  await cut(running, stack, "start of the engine");
  running = first.start();
  await running.saw(/Job \S*gate-\S+ created/, 240_000);
  await cut(running, stack, "gate");

  for (const name of ["warm-up", "fault", "after"]) {
    running = first.start();
    const { from, to } = first.phase(name);
    const late = await first.at(from + 2);
    expect(from + 2 + late, `phase ${name} was over before pulumi up ran`).toBeLessThan(to);
    if (name === "fault") {
      await until("the fault to act", 10, async () =>
        (await remains()).some((line) => line.includes("stress-ng")) ? undefined : "no stress-ng runs",
      );
    }
    await cut(running, stack, name);
  }
  running = first.start();
  await running.saw(/collecting:/, 120_000);
  await cut(running, stack, "collection");
  running = first.start();
  await until("the fetch to begin", 120, async () =>
    existsSync(`${first.folder}.partial`) || existsSync(first.folder) ? undefined : "nothing is fetched yet",
  );
  await cut(running, stack, "fetch");
  await project.pulumi("up", stack, up, limit);
  first.check();
  const { cells } = readJson<Verdicts>(join(first.folder, "verdicts.json"));
  expect(cells.flatMap(({ faults }) => faults.map(({ fault, verdict }) => [fault, verdict]))).toEqual([
    ["cpu", expect.stringMatching(/^(valid|unmeasured)$/)],
  ]);
  await nothingIsLeft();

  expect(await beside.end(limit.timeoutMs), beside.tail()).toBe(0);
  second.check();
});

test("nothing of one experiment is in the results of another", async () => {
  for (const [own, other] of [
    ["first", "second"],
    ["second", "first"],
  ] as const) {
    const { folder } = new Run(own, 1);
    const mark = new RegExp(`\\b${other}-r\\d+-|\\bexp-${other}\\b`);
    const foreign = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .flatMap((file) => {
        const content = readFileSync(file);
        const text = (file.endsWith(".gz") ? gunzipSync(content) : content).toString();
        const line = text.split("\n").find((one) => mark.test(one));
        return line === undefined ? [] : [`${file.slice(folder.length + 1)}: ${line.slice(0, 300)}`];
      });
    expect(foreign).toEqual([]);
  }
});

test("a restart of the API server during load and fault, and a collector that is killed, cost no result", async () => {
  const first = await new Run("first", 2).configure();
  const second = await new Run("second", 2).configure();
  const both = [first, second].map((one) => ({ one, running: one.start() }));
  await first.at(first.phase("fault").from + 3);
  await ssh("server-1", "systemctl restart k3s");
  await both[1]?.running.saw(/collecting:/, 120_000);
  await destroyPod(stackOf("second"), await second.pod("collector"));
  for (const { one, running } of both) {
    expect(await running.end(limit.timeoutMs), running.tail()).toBe(0);
    one.check();
  }
  await nothingIsLeft();

  // Each run has Jobs and a folder of its own.
  const { items } = await project.kubectl<List<Named>>("get", "jobs", "-n", stackOf("second"));
  expect(items.map(({ metadata }) => metadata.name).sort()).toEqual(
    ["collector", "gate", "load"].map((role) => `${role}-${second.id}`),
  );
  for (const name of names) new Run(name, 1).check();
});

test("a killed load and a full volume are clear errors, and what was measured until then is kept", async () => {
  const first = await new Run("first", 3).configure();
  const second = await new Run("second", 3).configure();
  const volume = await limitVolume("second");
  const both = [first, second].map((one) => ({ one, running: one.start() }));
  await first.at(8);
  await destroyPod(stackOf("first"), await first.pod("load"));
  await second.at(10);
  // No more than 32 MiB, were it another disk.
  await ssh("server-1", `! dd if=/dev/zero of=${volume}/filler bs=64k count=512 2>/dev/null`);
  await until("the load to fail", 90, async () => {
    const failed = await project.kubectl<{ readonly status: { readonly failed?: number } }>(
      ...["get", "job", `load-${second.id}`, "-n", stackOf("second")],
    );
    return failed.status.failed === undefined ? "it has not failed" : undefined;
  });
  await ssh("server-1", `rm ${volume}/filler`);

  const texts = { first: /did not complete: .*signal: terminated/, second: /no space left on device/i };
  for (const { one, running } of both) {
    expect(await running.end(limit.timeoutMs), running.tail()).not.toBe(0);
    expect(running.output).toMatch(texts[one.name]);
    const ok = one.rows().filter(({ status }) => status === "ok").length;
    expect(ok).toBeGreaterThan(5 * ratePerSecond);
    expect(ok).toBeLessThan(requests);
    expect(readJson<Manifest>(join(one.folder, "manifest.json")).complete).toBe(false);
  }
  await nothingIsLeft();
});

/** Puts a small disk in place of an experiment's results volume; returns its path on the host. */
async function limitVolume(name: Name): Promise<string> {
  const scaleReader = (replicas: number) =>
    project.run("kubectl", [
      ...["scale", "deployment/results", "-n", stackOf(name), `--replicas=${replicas}`],
    ]);
  // Over a directory that a pod has mounted already, the disk would go with that pod.
  await scaleReader(0);
  await until("the reader to be gone", 60, async () => {
    const { items } = await project.kubectl<List<Pod>>("get", "pods", "-n", stackOf(name));
    return items.some(({ metadata }) => metadata.name.startsWith("results-")) ? "it is there" : undefined;
  });
  const { stdout } = await ssh("server-1", `ls -d /var/lib/rancher/k3s/storage/*_exp-${name}_results`);
  const path = stdout.trim();
  await ssh("server-1", `mount -t tmpfs -o size=16m,mode=777 tmpfs ${path}`);
  await scaleReader(1);
  return path;
}

test("Ctrl-C during a fault, then destroy: it is reverted; head and worker killed beside it: failures are rows", async () => {
  const first = await new Run("first", 4).configure();
  const second = await new Run("second", 4).configure();
  const beside = second.start();
  const running = first.start();
  await first.at(first.phase("fault").from + 2);
  await until("the fault to act", 10, async () =>
    (await remains()).some((line) => line.includes("stress-ng")) ? undefined : "no stress-ng runs",
  );
  // A terminal sends it to the whole group.
  process.kill(-running.pid, "SIGINT");
  expect(await running.end(30_000)).not.toBe(0);
  await second.at(5);
  const { items } = await project.kubectl<List<Pod>>(
    ...["get", "pods", "-n", stackOf("second"), "-l", "ray.io/cluster"],
  );
  expect(items.length).toBe(2);
  for (const { metadata } of items) await destroyPod(stackOf("second"), metadata.name);

  await project.pulumi("destroy", stackOf("first"), up, { timeoutMs: 120_000 });
  await nothingIsLeft();
  const namespaces = await project.kubectl<List<Named>>("get", "namespaces");
  expect(namespaces.items.map(({ metadata }) => metadata.name)).not.toContain(stackOf("first"));

  expect(await beside.end(limit.timeoutMs), beside.tail()).toBe(0);
  second.check();
  const failed = second.rows().filter(({ status }) => status !== "ok").length;
  expect(failed).toBeGreaterThan(0);
  const { requests: reported } = readJson<LoadReport>(join(second.folder, "load/load.json"));
  expect(reported).toMatchObject({ scheduled: requests, failed });
});
