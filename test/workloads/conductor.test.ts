// The conductor as it runs in the cluster: a child process against a fake API server with a chaos controller behind it.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import type { PodLine, ProbeLine } from "../../workloads/shared/faults.ts";
import { cell, entry, inState, ms, prepare, recordOf, until } from "./conductor-run.ts";
import { fakeChaos, namespace, rayPod } from "./fake-chaos.ts";
import { stable } from "./support.ts";

test("a fault is made on time, watched, taken back, and written down with what is known of each instant", async () => {
  const fake = await fakeChaos({ injectMs: 150, recoverMs: 150 });
  const run = prepare(fake, [entry()]);
  const conductor = await run.play();
  expect(await conductor.ended).toBe(0);
  const record = recordOf(run);
  expect(record).toMatchObject({
    cell,
    fault: "cpu",
    kind: "cpu",
    parameters: { workers: 2 },
    state: "done",
    delivery: "delivered",
    reason: null,
    adopted: false,
    errors: [],
    conductorStarts: 1,
    intendedTargets: [
      {
        pod: "worker-0",
        uid: "uid-of-worker-0",
        node: "server-1",
        container: "ray-worker",
        containerId: "containerd://of-worker-0",
        restartCount: 0,
        replica: "replica-0",
      },
    ],
    actualTargets: [
      {
        id: "exp-smoke/worker-0/ray-worker",
        pod: "worker-0",
        isTarget: true,
        injected: true,
        recovered: true,
      },
    ],
    objects: [{ kind: "StressChaos", metadata: { name: "fault-cpu" } }],
    recovery: { forced: false, early: null },
  });
  const [made] = fake.history;
  const start = ms(record.planned.startUnixNs);
  expect(ms(record.planned.endUnixNs)).toBe(start + 1000);
  const created = ms(record.created?.requestedUnixNs);
  expect(created).toBeGreaterThanOrEqual(start);
  expect(made?.createdMs).toBeGreaterThanOrEqual(created);
  expect(made?.createdMs).toBeLessThanOrEqual(ms(record.created?.answeredUnixNs));
  // The true instants lie between the two stamps.
  const { requestedUnixNs, recovered, goneUnixNs } = record.recovery;
  const injected = record.injected.all;
  const injectedMs = (made?.createdMs ?? 0) + 150;
  expect(ms(injected?.notBeforeUnixNs)).toBeLessThanOrEqual(injectedMs);
  expect(ms(injected?.notAfterUnixNs)).toBeGreaterThanOrEqual(injectedMs);
  expect(injected?.stampFirst).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(ms(requestedUnixNs)).toBeGreaterThanOrEqual(start + 1000);
  const recoveredMs = (made?.stoppedMs ?? 0) + 150;
  expect(ms(recovered?.notBeforeUnixNs)).toBeLessThanOrEqual(recoveredMs);
  expect(ms(recovered?.notAfterUnixNs)).toBeGreaterThanOrEqual(recoveredMs);
  expect(ms(goneUnixNs)).toBeGreaterThanOrEqual(ms(recovered?.notAfterUnixNs));
  // The status is the last one before the deletion, with both operations in it.
  expect(JSON.stringify(record.finalStatus)).toContain('"operation":"Recover"');
  expect(fake.objects.size).toBe(0);
  expect(fake.requests.filter((line) => /^(POST|PATCH|DELETE)/.test(line))).toEqual([
    "POST /apis/chaos-mesh.org/v1alpha1/namespaces/exp-smoke/stresschaos",
    "PATCH /apis/chaos-mesh.org/v1alpha1/namespaces/exp-smoke/stresschaos/fault-cpu",
    "DELETE /apis/chaos-mesh.org/v1alpha1/namespaces/exp-smoke/stresschaos/fault-cpu",
  ]);
  expect(JSON.parse(readFileSync(join(run.folder, "faults/conductor.json"), "utf8"))).toMatchObject({
    faults: 1,
    delivered: 1,
  });
  expect(conductor.output()).toContain(`cpu of ${cell}: delivered, recovered and removed`);
});

test("pods are told whenever they change, and probed where the network is at fault", async () => {
  const port = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => {
    port.close();
  });
  await new Promise((done) => port.once("listening", done));
  const fake = await fakeChaos({ injectMs: 10, recoverMs: 10 });
  fake.pods = [rayPod("worker-0", "replica-0"), rayPod("worker-1", "replica-1")];
  const run = prepare(fake, [entry({ fault: "network-loss", kind: "network-loss" })], {
    PROBE_PORT: String((port.address() as AddressInfo).port),
    PROBE_SECONDS: "0.1",
  });
  const conductor = await run.play();
  const lines = <T>(name: string): T[] => {
    try {
      const text = readFileSync(join(run.folder, "faults", name), "utf8");
      return text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as T);
    } catch {
      return [];
    }
  };
  await until("the first look at the pods", () => lines("pods.jsonl").length === 2);
  fake.pods = [rayPod("worker-0", "replica-0")];
  expect(await conductor.ended).toBe(0);
  expect(
    lines<PodLine>("pods.jsonl").map(({ pod, replica, phase, ready }) => [pod, replica, phase, ready]),
  ).toEqual([
    ["worker-0", "replica-0", "Running", true],
    ["worker-1", "replica-1", "Running", true],
    ["worker-1", "replica-1", "gone", false],
  ]);
  const probes = lines<ProbeLine>("probes.jsonl").filter(({ pod }) => pod === "worker-0");
  expect(probes.length).toBeGreaterThan(5);
  for (const { connectMs } of probes) expect(connectMs).toBeGreaterThan(0);
});

test("a conductor that comes late makes a fault whose window is open, and none whose window has passed", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const faults = [
    entry({ fault: "memory", startOffsetSeconds: 0, durationSeconds: 3 }),
    entry({ durationSeconds: 10, startOffsetSeconds: 0 }),
  ];
  const run = prepare(fake, faults);
  run.setT0(-5000);
  expect(await run.start().ended).toBe(0);
  expect(recordOf(run, "memory")).toMatchObject({
    delivery: "not-delivered",
    reason: "its window had passed when the conductor came to it",
    created: null,
    intendedTargets: [],
  });
  const late = recordOf(run);
  expect(late.delivery).toBe("delivered");
  expect(ms(late.created?.requestedUnixNs) - ms(late.planned.startUnixNs)).toBeGreaterThan(5000);
  expect(fake.requests.filter((line) => line.startsWith("POST"))).toHaveLength(1);
});

test("killed in the middle of a fault, the next conductor takes it up and takes it back on time", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 3 })]);
  const first = await run.play();
  await until("the injection", inState(run, "injected"));
  first.child.kill("SIGKILL");
  await first.ended;
  expect(fake.objects.size).toBe(1);
  const before = recordOf(run);
  expect(await run.start().ended).toBe(0);
  const record = recordOf(run);
  expect(record).toMatchObject({
    state: "done",
    delivery: "delivered",
    conductorStarts: 2,
    created: before.created,
  });
  expect(record.injected).toEqual(before.injected);
  expect(ms(record.recovery.requestedUnixNs)).toBeGreaterThanOrEqual(ms(record.planned.endUnixNs));
  expect(fake.objects.size).toBe(0);
  expect(fake.requests.filter((line) => line.startsWith("POST"))).toHaveLength(1);
});

test("killed between the request and its answer, the next conductor finds the object and does not make another", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 2 })]);
  const first = await run.play();
  await until("the injection", inState(run, "injected"));
  first.child.kill("SIGKILL");
  await first.ended;
  const file = join(run.folder, "faults", cell, "cpu.json");
  const nothing = { state: "creating", created: null, injected: { first: null, all: null } };
  writeFileSync(file, JSON.stringify({ ...recordOf(run), ...nothing }));
  expect(await run.start().ended).toBe(0);
  expect(recordOf(run)).toMatchObject({ state: "done", delivery: "delivered", adopted: true });
  expect(fake.objects.size).toBe(0);
});

test("killed and not replaced before the window has passed, the fault is taken back all the same", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry()]);
  const first = await run.play();
  await until("the injection", inState(run, "injected"));
  first.child.kill("SIGKILL");
  await first.ended;
  await sleep(1800);
  expect(fake.objects.size).toBe(1);
  expect(await run.start().ended).toBe(0);
  expect(recordOf(run)).toMatchObject({ state: "done", delivery: "delivered" });
  expect(fake.objects.size).toBe(0);
});

test("told to stop, it takes back what it has made before it ends", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 300 });
  const faults = [entry({ durationSeconds: 30 }), entry({ fault: "later", startOffsetSeconds: 20 })];
  const run = prepare(fake, faults);
  const conductor = await run.play();
  await until("the injection", inState(run, "injected"));
  conductor.child.kill("SIGTERM");
  expect(await conductor.ended).toBe(143);
  expect(fake.objects.size).toBe(0);
  expect(recordOf(run)).toMatchObject({
    state: "done",
    delivery: "delivered",
    recovery: { early: "the conductor was stopped", forced: false },
  });
  // The one that had not begun is left to the next conductor.
  expect(() => recordOf(run, "later")).toThrow();
});

test("told to stop without its rights, as when the namespace goes, it does not hold the deletion up", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 30 })], { RECOVERY_SECONDS: "30" });
  const conductor = await run.play();
  await until("the injection", inState(run, "injected"));
  fake.forbidden = true;
  const told = Date.now();
  conductor.child.kill("SIGTERM");
  expect(await conductor.ended).toBe(143);
  expect(Date.now() - told).toBeLessThan(3000);
});

test("what the controller cannot do ends as not delivered, with its reason, and leaves nothing behind", async () => {
  const failure = "unable to set tcs: RTNETLINK answers: No such file or directory";
  const fake = await fakeChaos({ recoverMs: 50, failure });
  const object = {
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "NetworkChaos",
    metadata: { name: "fault-delay", namespace },
    spec: {},
  };
  const run = prepare(fake, [entry({ object })]);
  expect(await (await run.play()).ended).toBe(0);
  const record = recordOf(run);
  expect(record).toMatchObject({
    state: "done",
    delivery: "not-delivered",
    reason: `exp-smoke/worker-0/ray-worker: Apply failed: ${failure}`,
    injected: { first: null, all: null },
    recovery: { forced: true, recovered: null },
  });
  expect(record.recovery.goneUnixNs).not.toBeNull();
  expect(fake.objects.size).toBe(0);
  // What the controller keeps of the pod would make the next fault fail too.
  expect(fake.requests).toContain(
    "DELETE /apis/chaos-mesh.org/v1alpha1/namespaces/exp-smoke/podnetworkchaos/worker-0",
  );
});

test("a fault without targets, and one that the API server refuses", async () => {
  const nobody = await fakeChaos({ recoverMs: 50, selectsNobody: true });
  const first = prepare(nobody, [entry()]);
  expect(await (await first.play()).ended).toBe(0);
  expect(recordOf(first)).toMatchObject({
    delivery: "not-delivered",
    reason: "the controller selected no target",
    recovery: { forced: false },
  });

  const without = await fakeChaos({ injectMs: 0, recoverMs: 0 });
  without.pods = [];
  const second = prepare(without, [entry()]);
  expect(await (await second.play()).ended).toBe(0);
  expect(recordOf(second)).toMatchObject({
    delivery: "not-delivered",
    reason: "no pod matches ray.io/node-type=worker",
  });

  const refusing = await fakeChaos({ injectMs: 0, recoverMs: 0 });
  refusing.refusal = { status: 422, json: { kind: "Status", message: "spec.stressors is invalid" } };
  const third = prepare(refusing, [entry()]);
  expect(await (await third.play()).ended).toBe(0);
  expect(recordOf(third).delivery).toBe("not-delivered");
  expect(stable(recordOf(third).reason ?? "")).toBe(
    "http://127.0.0.1:PORT/apis/chaos-mesh.org/v1alpha1/namespaces/exp-smoke/stresschaos answered 422: spec.stressors is invalid",
  );
});

test("no fault is made where there is no load: in a cell that was left out, and after an abort, which ends the wait too", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const saturated = "rate-8-iteration-1";
  const faults = [entry(), entry({ cell: saturated }), entry({ fault: "later", startOffsetSeconds: 60 })];
  const run = prepare(fake, faults, { PLAY_SECONDS: "70" });
  mkdirSync(join(run.folder, "load"));
  writeFileSync(join(run.folder, "load/progress.json"), JSON.stringify({ skippedCells: [saturated] }));
  const conductor = await run.play();
  await until("the injection", inState(run, "injected"));
  const abortReason = "the engine is dead";
  writeFileSync(join(run.folder, "load/load.json"), JSON.stringify({ aborted: true, abortReason }));
  expect(await conductor.ended).toBe(0);
  // What acts is held to its end.
  expect(recordOf(run)).toMatchObject({ delivery: "delivered", recovery: { early: null } });
  const unmade = { state: "done", delivery: "not-delivered", created: null };
  expect(recordOf(run, "cpu", saturated)).toMatchObject({
    ...unmade,
    reason: "the load left this cell out: a lower level was saturated",
  });
  expect(recordOf(run, "later")).toMatchObject({
    ...unmade,
    reason: "the load had ended before its time: the engine is dead",
  });
});

test("an API server that is away for a while delays, and does not harm", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 2 })]);
  fake.away = true;
  const conductor = await run.play();
  await sleep(1300);
  fake.away = false;
  await until("the injection", inState(run, "injected"));
  fake.away = true;
  await sleep(2000);
  fake.away = false;
  expect(await conductor.ended).toBe(0);
  const record = recordOf(run);
  expect(record).toMatchObject({
    state: "done",
    delivery: "delivered",
    recovery: { early: null, forced: false },
  });
  expect(record.errors.length).toBeGreaterThanOrEqual(2);
  expect(record.errors[0]?.text).toContain("answered 503: the API server is away");
  expect(fake.objects.size).toBe(0);
});

test("a fault that does not go away is told", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 1_000_000 });
  const run = prepare(fake, [entry()], { RECOVERY_SECONDS: "0.5" });
  expect(await (await run.play()).ended).toBe(0);
  expect(recordOf(run)).toMatchObject({
    state: "done",
    delivery: "delivered",
    recovery: { recovered: null, goneUnixNs: null, forced: false },
  });
});

test("an object that somebody else removes is not made again", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 6 })]);
  const conductor = await run.play();
  await until("the injection", inState(run, "injected"));
  fake.objects.clear();
  expect(await conductor.ended).toBe(0);
  expect(recordOf(run).recovery.early).toBe("the object was removed by somebody else");
  expect(fake.requests.filter((line) => line.startsWith("POST"))).toHaveLength(1);
});
