// The conductor when something is cut while faults act: what was made is taken back, and nothing is made twice.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { PlanEntry, PodLine } from "../../workloads/shared/faults.ts";
import { entry, inState, ms, prepare, recordOf, until } from "./conductor-run.ts";
import { type FakeChaos, fakeChaos, namespace, rayPod } from "./fake-chaos.ts";

const made = (fake: FakeChaos): number => fake.requests.filter((line) => line.startsWith("POST")).length;

/** A fault with an object of its own. */
function named(fault: string, more: Partial<PlanEntry> = {}): PlanEntry {
  const plain = entry();
  const object = plain.object as NonNullable<PlanEntry["object"]>;
  const metadata = { ...object.metadata, name: `fault-${fault}` };
  return { ...plain, fault, object: { ...object, metadata }, ...more };
}

test("several faults, at once and staggered: each acts in its own window, and what one lacks holds up no other", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const faults = [
    named("cpu", { durationSeconds: 2 }),
    named("memory", { durationSeconds: 0.8 }),
    named("cpu-2", { startOffsetSeconds: 1.2, durationSeconds: 1 }),
    named("network-loss", { startOffsetSeconds: 1.2, expectedTargets: 2 }),
    named("pod-kill", { startOffsetSeconds: 1.8, durationSeconds: 1, oneShot: true }),
  ];
  const run = prepare(fake, faults);
  expect(await (await run.play()).ended).toBe(0);
  const records = faults.map(({ fault }) => recordOf(run, fault));
  expect(records.map(({ fault, delivery, state }) => [fault, delivery, state])).toEqual([
    ["cpu", "delivered", "done"],
    ["memory", "delivered", "done"],
    ["cpu-2", "delivered", "done"],
    ["network-loss", "partly", "done"],
    ["pod-kill", "delivered", "done"],
  ]);
  for (const { planned, created, recovery } of records) {
    // Not before its time, and not held up by another's.
    const late = ms(created?.requestedUnixNs) - ms(planned.startUnixNs);
    expect(late).toBeGreaterThanOrEqual(0);
    expect(late).toBeLessThan(900);
    expect(ms(recovery.requestedUnixNs) - ms(planned.endUnixNs)).toBeGreaterThanOrEqual(0);
  }
  const [cpu, memory, second] = records.map(({ injected, recovery }) => ({
    from: ms(injected.all?.notAfterUnixNs),
    to: ms(recovery.requestedUnixNs),
  })) as { from: number; to: number }[];
  expect(memory?.to).toBeLessThan(cpu?.to as number);
  expect(second?.from).toBeLessThan(cpu?.to as number);
  expect(made(fake)).toBe(faults.length);
  expect(fake.objects.size).toBe(0);
});

test("an API server that goes away before the end of a fault: it is taken back when the server answers again", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry()]);
  const conductor = await run.play();
  await until("the injection", inState(run, "injected"));
  fake.away = "cut";
  await until("the end", inState(run, "recovering"));
  await sleep(1000);
  expect(fake.objects.size).toBe(1);
  fake.away = false;
  expect(await conductor.ended).toBe(0);
  const record = recordOf(run);
  expect(record).toMatchObject({
    state: "done",
    delivery: "delivered",
    recovery: { early: null, forced: false },
  });
  // It cannot have recovered before it was asked to, and has when that was seen.
  const { requestedUnixNs, recovered } = record.recovery;
  const [stored] = fake.history;
  expect(ms(recovered?.notBeforeUnixNs)).toBeGreaterThanOrEqual(ms(requestedUnixNs));
  expect(ms(recovered?.notAfterUnixNs)).toBeGreaterThanOrEqual((stored?.stoppedMs as number) + 50);
  expect(record.errors.length).toBeGreaterThan(0);
  expect(fake.objects.size).toBe(0);
  expect(made(fake)).toBe(1);
});

test("an API server that stays away: the conductor gives up in bounded time, and says what it has not seen", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry()], { RECOVERY_SECONDS: "0.5" });
  const conductor = await run.play();
  await until("the injection", inState(run, "injected"));
  fake.away = true;
  await until("the end", inState(run, "recovering"));
  const began = Date.now();
  expect(await conductor.ended).toBe(0);
  // To ask for the end, to ask for the deletion, to see it gone.
  expect(Date.now() - began).toBeLessThan(8000);
  expect(recordOf(run)).toMatchObject({
    state: "done",
    delivery: "delivered",
    recovery: { recovered: null, goneUnixNs: null, forced: false },
  });
  expect(conductor.output()).toContain("its object is still there");
});

test("told to stop while the API server is away, it ends in its time of grace, and the next one takes back", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 20 })], { GRACE_SECONDS: "1", RECOVERY_SECONDS: "10" });
  const first = await run.play();
  await until("the injection", inState(run, "injected"));
  fake.away = true;
  const told = Date.now();
  first.child.kill("SIGTERM");
  expect(await first.ended).toBe(143);
  expect(Date.now() - told).toBeLessThan(8000);
  expect(recordOf(run).state).toBe("recovering");
  expect(fake.objects.size).toBe(1);
  fake.away = false;
  expect(await run.start().ended).toBe(0);
  expect(recordOf(run)).toMatchObject({
    state: "done",
    delivery: "delivered",
    conductorStarts: 2,
    recovery: { early: "the conductor was stopped" },
  });
  expect(fake.objects.size).toBe(0);
  expect(made(fake)).toBe(1);
});

test("killed while it takes a fault back, the next conductor waits for the same recovery", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 1500 });
  const run = prepare(fake, [entry()], { RECOVERY_SECONDS: "10" });
  const first = await run.play();
  await until("the recovery", () => fake.history[0]?.stoppedMs !== undefined);
  first.child.kill("SIGKILL");
  await first.ended;
  const before = recordOf(run);
  expect(before.state).toBe("recovering");
  expect(await run.start().ended).toBe(0);
  const record = recordOf(run);
  expect(record).toMatchObject({
    state: "done",
    delivery: "delivered",
    injected: before.injected,
    recovery: { requestedUnixNs: before.recovery.requestedUnixNs, early: null, forced: false },
  });
  const recoveredMs = (fake.history[0]?.stoppedMs as number) + 1500;
  expect(ms(record.recovery.recovered?.notBeforeUnixNs)).toBeLessThanOrEqual(recoveredMs);
  expect(ms(record.recovery.recovered?.notAfterUnixNs)).toBeGreaterThanOrEqual(recoveredMs);
  expect(fake.objects.size).toBe(0);
  expect(made(fake)).toBe(1);
});

test("killed after a fault that acts once, the next conductor does not make it act again", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ oneShot: true, durationSeconds: 3 })]);
  const first = await run.play();
  await until("the injection", inState(run, "injected"));
  first.child.kill("SIGKILL");
  await first.ended;
  // The pod that it killed has a successor by now.
  fake.pods = [rayPod("worker-1", "replica-0")];
  expect(await run.start().ended).toBe(0);
  expect(recordOf(run)).toMatchObject({
    state: "done",
    delivery: "delivered",
    intendedTargets: [{ pod: "worker-0" }],
    recovery: { recovered: null, forced: false },
  });
  expect(made(fake)).toBe(1);
});

test("an object that a stranger removes before it acts is not delivered, and not made again", async () => {
  const fake = await fakeChaos({ injectMs: 60_000, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 6 })]);
  const conductor = await run.play();
  await until("the object", inState(run, "created"));
  fake.objects.clear();
  expect(await conductor.ended).toBe(0);
  expect(recordOf(run)).toMatchObject({
    state: "done",
    delivery: "not-delivered",
    reason: "the object was removed by somebody else",
    recovery: { early: "the object was removed by somebody else", forced: false },
  });
  expect(made(fake)).toBe(1);
});

test("an object that a stranger removes while no conductor is there is not made again either", async () => {
  const fake = await fakeChaos({ injectMs: 50, recoverMs: 50 });
  const run = prepare(fake, [entry({ durationSeconds: 8 })]);
  const first = await run.play();
  await until("the injection", inState(run, "injected"));
  first.child.kill("SIGKILL");
  await first.ended;
  fake.objects.clear();
  expect(await run.start().ended).toBe(0);
  expect(recordOf(run)).toMatchObject({
    state: "done",
    delivery: "delivered",
    recovery: { early: "the object was removed by somebody else", forced: false },
  });
  expect(made(fake)).toBe(1);
});

test("targets in another namespace: found, watched and freed there, while the object stays with the run", async () => {
  const failure = "unable to set tcs: RTNETLINK answers: No such file or directory";
  const fake = await fakeChaos({ recoverMs: 50, failure });
  fake.entryPods = [
    {
      metadata: { name: "entry-0", uid: "uid-of-entry-0", labels: { "app.kubernetes.io/name": "entry" } },
      spec: { nodeName: "server-1", containers: [{ name: "nginx" }] },
      status: {
        phase: "Running",
        podIP: "127.0.0.1",
        containerStatuses: [{ name: "nginx", containerID: "containerd://e", restartCount: 1, ready: true }],
      },
    },
  ];
  const fault = named("network-delay", {
    kind: "network-delay",
    targetNamespace: "entry",
    selector: "app.kubernetes.io/name=entry",
    container: "nginx",
    object: {
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "NetworkChaos",
      metadata: { name: "fault-delay", namespace },
      spec: {},
    },
  });
  const run = prepare(fake, [fault]);
  expect(await (await run.play()).ended).toBe(0);
  expect(recordOf(run, "network-delay")).toMatchObject({
    delivery: "not-delivered",
    intendedTargets: [
      {
        namespace: "entry",
        pod: "entry-0",
        uid: "uid-of-entry-0",
        container: "nginx",
        containerId: "containerd://e",
        restartCount: 1,
        replica: null,
      },
    ],
  });
  expect(fake.requests).toContain(
    "GET /api/v1/namespaces/entry/pods?labelSelector=app.kubernetes.io%2Fname%3Dentry",
  );
  expect(fake.requests.filter((line) => /^(POST|DELETE)/.test(line))).toEqual([
    `POST /apis/chaos-mesh.org/v1alpha1/namespaces/${namespace}/networkchaos`,
    `DELETE /apis/chaos-mesh.org/v1alpha1/namespaces/${namespace}/networkchaos/fault-delay`,
    `DELETE /apis/chaos-mesh.org/v1alpha1/namespaces/${namespace}/networkchaos/fault-delay`,
    "DELETE /apis/chaos-mesh.org/v1alpha1/namespaces/entry/podnetworkchaos/entry-0",
  ]);
  const lines = readFileSync(join(run.folder, "faults/pods.jsonl"), "utf8").trim().split("\n");
  expect(
    lines
      .map((line) => JSON.parse(line) as PodLine)
      .map(({ namespace, pod, nodeType }) => [namespace, pod, nodeType]),
  ).toEqual([
    [undefined, "worker-0", "worker"],
    ["entry", "entry-0", null],
  ]);
});
