// The program of a GPU fault against a pretended nvidia-smi: it puts back what it found under every exit.
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { root, temporaryFolder } from "./support.ts";

const script = join(root, "workloads/gpu-fault/gpu-fault.sh");
const podUid = "0b5e8d1c-55aa-4d6e-9a51-7d1d2f4a7c11";

/** Keeps each GPU's limit in a file. Two GPUs, of which GPU-a runs a process of the target. */
const nvidiaSmi = `#!/bin/bash
gpu=
[ "$1" = -i ] && { gpu=$2; shift 2; }
echo "$gpu $*" >>"$GPU_DIR/calls"
case $1 in
  --query-compute-apps=*) printf 'GPU-a, 101\\nGPU-b, 202\\n' ;;
  --query-gpu=power.limit) cat "$GPU_DIR/$gpu.power" ;;
  --query-gpu=power.min_limit) echo 100.00 ;;
  --query-gpu=power.max_limit) echo 350.00 ;;
  --query-gpu=clocks.current.graphics) cat "$GPU_DIR/$gpu.clock" 2>/dev/null || echo 1980 ;;
  -pl) [ -e "$GPU_DIR/stuck" ] || printf '%.2f\\n' "$2" >"$GPU_DIR/$gpu.power" ;;
  --lock-gpu-clocks=0,*) echo "\${1#*,}" >"$GPU_DIR/$gpu.clock" ;;
  --reset-gpu-clocks) rm -f "$GPU_DIR/$gpu.clock" ;;
  *) exit 2 ;;
esac
`;

interface Node {
  readonly folder: string;
  start(role: "act" | "guard", env?: Record<string, string>): Program;
  power(gpu: string): string;
  report(role: string): string;
  /** Files that are left of what was to be put back. */
  left(): string[];
}

interface Program {
  readonly child: ChildProcess;
  readonly ended: Promise<number | string | null>;
}

function node(): Node {
  const folder = temporaryFolder();
  for (const name of ["bin", "gpu", "proc/101", "proc/202"])
    mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, "bin/nvidia-smi"), nvidiaSmi);
  chmodSync(join(folder, "bin/nvidia-smi"), 0o755);
  for (const gpu of ["GPU-a", "GPU-b"]) writeFileSync(join(folder, `gpu/${gpu}.power`), "300.00\n");
  const group = `0::/kubepods.slice/kubepods-pod${podUid.replaceAll("-", "_")}.slice/cri-x.scope\n`;
  writeFileSync(join(folder, "proc/101/cgroup"), group);
  writeFileSync(join(folder, "proc/202/cgroup"), "0::/kubepods.slice/kubepods-podother.slice\n");
  const start = (role: "act" | "guard", env: Record<string, string> = {}): Program => {
    const child = spawn("bash", [script, role], {
      env: {
        PATH: `${folder}/bin:${process.env["PATH"] ?? ""}`,
        GPU_DIR: join(folder, "gpu"),
        PROC_DIR: join(folder, "proc"),
        STATE_DIR: join(folder, "state"),
        REPORT_FILE: join(folder, `report-${role}`),
        READY_FILE: join(folder, "injected"),
        LIMIT: "power",
        VALUE: "200",
        DURATION_SECONDS: "30",
        DEADLINE_SECONDS: "30",
        END_UNIX_SECONDS: String(Date.now() / 1000 + 20),
        TARGET_POD_UID: podUid,
        ...env,
      },
      stdio: "ignore",
    });
    onTestFinished(() => {
      child.kill("SIGKILL");
    });
    return {
      child,
      ended: new Promise((done) => child.once("close", (code, signal) => done(code ?? signal))),
    };
  };
  return {
    folder,
    start,
    power: (gpu) => readFileSync(join(folder, `gpu/${gpu}.power`), "utf8").trim(),
    report: (role) => readFileSync(join(folder, `report-${role}`), "utf8"),
    left: () => (existsSync(join(folder, "state")) ? readdirSync(join(folder, "state")) : []),
  };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let n = 0; n < 300; n++) {
    if (holds()) return;
    await sleep(20);
  }
  throw new Error(`${what} has not come`);
}

const injected = ({ folder }: Node) => until("the injection", () => existsSync(join(folder, "injected")));

test("caps the GPU of the target alone, until its end, and puts back what it found", async () => {
  const host = node();
  const guard = host.start("guard");
  const act = host.start("act", { END_UNIX_SECONDS: String(Date.now() / 1000 + 1.5) });
  await injected(host);
  expect([host.power("GPU-a"), host.power("GPU-b")]).toEqual(["200.00", "300.00"]);
  expect([await act.ended, await guard.ended]).toEqual([0, 0]);
  expect(host.power("GPU-a")).toBe("300.00");
  expect(host.report("act")).toBe(
    "set GPU-a power before=300.00 value=200 after=200.00\nrestored GPU-a power before=300.00 after=300.00\n",
  );
  expect(existsSync(join(host.folder, "injected"))).toBe(false);
  expect(existsSync(join(host.folder, "state"))).toBe(false);
});

test("told to stop, it puts it back at once", async () => {
  const host = node();
  const guard = host.start("guard");
  const act = host.start("act");
  await injected(host);
  act.child.kill("SIGTERM");
  expect(await act.ended).toBe(143);
  expect(host.power("GPU-a")).toBe("300.00");
  expect(await guard.ended).toBe(0);
});

test("killed, its guard puts it back", async () => {
  const host = node();
  const guard = host.start("guard");
  const act = host.start("act");
  await injected(host);
  act.child.kill("SIGKILL");
  await act.ended;
  expect(await guard.ended).toBe(0);
  expect(host.power("GPU-a")).toBe("300.00");
  expect(host.report("guard")).toBe("restored GPU-a power before=300.00 after=300.00\n");
  expect(existsSync(join(host.folder, "state"))).toBe(false);
});

test("hanging beyond its deadline, its guard puts it back", async () => {
  const host = node();
  const guard = host.start("guard", { DEADLINE_SECONDS: "1" });
  const act = host.start("act");
  await injected(host);
  act.child.kill("SIGSTOP");
  expect(await guard.ended).toBe(0);
  expect(host.power("GPU-a")).toBe("300.00");
});

test("both told to stop, as when the namespace goes: it is put back", async () => {
  const host = node();
  const guard = host.start("guard");
  const act = host.start("act");
  await injected(host);
  guard.child.kill("SIGTERM");
  act.child.kill("SIGTERM");
  expect([await act.ended, await guard.ended]).toEqual([143, 143]);
  expect(host.power("GPU-a")).toBe("300.00");
});

test("changes nothing without its guard, for a pod without a GPU, beyond the GPU's range, or where it is refused", async () => {
  const cases: [Record<string, string>, string][] = [
    [{ TARGET_POD_UID: "none" }, "no GPU runs a process of pod none\n"],
    [{ VALUE: "50" }, "GPU GPU-a allows power limits from 100.00 to 350.00 W, not 50\n"],
  ];
  for (const [env, text] of cases) {
    const host = node();
    host.start("guard", { DEADLINE_SECONDS: "1" });
    expect(await host.start("act", env).ended).toBe(1);
    expect(host.report("act")).toBe(text);
    expect(host.power("GPU-a")).toBe("300.00");
  }
  const stuck = node();
  writeFileSync(join(stuck.folder, "gpu/stuck"), "");
  stuck.start("guard", { DEADLINE_SECONDS: "1" });
  expect(await stuck.start("act").ended).toBe(1);
  expect(stuck.report("act")).toBe(
    "GPU GPU-a has a power limit of 300.00 W after 200 W were set\nrestored GPU-a power before=300.00 after=300.00\n",
  );
  const alone = node();
  const act = alone.start("act");
  await sleep(1000);
  expect(readFileSync(join(alone.folder, "gpu/GPU-a.power"), "utf8")).toBe("300.00\n");
  expect(existsSync(join(alone.folder, "gpu/calls"))).toBe(false);
  act.child.kill("SIGTERM");
  expect(await act.ended).toBe(143);
});

test("caps clocks and lets them go", async () => {
  const host = node();
  const guard = host.start("guard", { LIMIT: "clock", VALUE: "900" });
  const act = host.start("act", {
    LIMIT: "clock",
    VALUE: "900",
    END_UNIX_SECONDS: String(Date.now() / 1000 + 1),
  });
  expect([await act.ended, await guard.ended]).toEqual([0, 0]);
  expect(host.report("act")).toBe(
    "set GPU-a clock before=default value=900 after=900\nrestored GPU-a clock before=default after=default\n",
  );
  expect(existsSync(join(host.folder, "gpu/GPU-a.clock"))).toBe(false);
});
