// The two Jobs of a GPU fault: made for each target, guard first, and read back from their state and their last words.
import { expect, test } from "vitest";
import { GpuInjector, toTargetJob } from "../../workloads/conductor/gpu.ts";
import type { IntendedTarget, Manifest } from "../../workloads/shared/faults.ts";
import { KubeClient } from "../../workloads/shared/kube.ts";
import { fakeServer, type Reply } from "./support.ts";

const jobs = "/apis/batch/v1/namespaces/exp-x/jobs";

function manifest(role: string): Manifest {
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: `fault-cap-${role}`, namespace: "exp-x" },
    spec: {
      backoffLimit: 0,
      template: {
        spec: { containers: [{ name: role, env: [{ name: "STATE_DIR", value: "/state/fault-cap" }] }] },
      },
    },
  };
}

function target(index: number): IntendedTarget {
  return {
    pod: `worker-${index}`,
    uid: `uid-${index}`,
    node: `gpu-${index}`,
    container: "ray-worker",
    containerId: null,
    restartCount: 0,
    replica: `replica-${index}`,
  };
}

test("a Job is pinned to its target's node, and told the pod and its end", () => {
  expect(toTargetJob(manifest("act"), target(1), 1, 1700000000.5)).toEqual({
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "fault-cap-act-1", namespace: "exp-x" },
    spec: {
      backoffLimit: 0,
      template: {
        spec: {
          nodeName: "gpu-1",
          containers: [
            {
              name: "act",
              env: [
                { name: "STATE_DIR", value: "/state/fault-cap-1" },
                { name: "TARGET_POD_UID", value: "uid-1" },
                { name: "END_UNIX_SECONDS", value: "1700000000.5" },
              ],
            },
          ],
        },
      },
    },
  });
});

test("guards come first; a cap acts when all are ready, and has recovered when each says what it put back", async () => {
  const made = new Map<string, Manifest>();
  let ready = 0;
  let message: string | undefined;
  const server = await fakeServer((request, url, body): Reply | undefined => {
    if (url.pathname === jobs && request.method === "POST") {
      const job = JSON.parse(body) as Manifest;
      if (made.has(job.metadata.name)) return { status: 409, json: {} };
      made.set(job.metadata.name, job);
      return { status: 201, json: job };
    }
    if (url.pathname === jobs)
      return { json: { items: [...made.values()].map((job) => ({ ...job, status: { ready } })) } };
    if (url.pathname === "/api/v1/namespaces/exp-x/pods") {
      const terminated = message === undefined ? {} : { terminated: { exitCode: 0, message } };
      const items = [...made.keys()].map((name) => ({
        metadata: { name: `${name}-pod`, labels: { "job-name": name } },
        spec: { containers: [] },
        status: { containerStatuses: [{ name: "act", state: terminated }] },
      }));
      return { json: { items } };
    }
    if (request.method === "DELETE") {
      return { status: made.delete(url.pathname.slice(jobs.length + 1)) ? 200 : 404, json: {} };
    }
    return undefined;
  });
  const kube = new KubeClient({ baseUrl: server.url });
  const injector = new GpuInjector(kube, { act: manifest("act"), guard: manifest("guard") }, 1700000000);
  const targets = [target(0), target(1)];

  expect(await injector.look()).toBeUndefined();
  expect(await injector.create(targets)).toBe(false);
  expect([...made.keys()]).toEqual([
    "fault-cap-guard-0",
    "fault-cap-act-0",
    "fault-cap-guard-1",
    "fault-cap-act-1",
  ]);
  expect(await injector.create(targets)).toBe(true);

  expect(await injector.look()).toMatchObject({
    allInjected: false,
    allRecovered: false,
    failures: [],
    dead: false,
  });
  ready = 1;
  expect(await injector.look()).toMatchObject({ allInjected: true, allRecovered: false });
  ready = 0;
  message = "set GPU-a power before=300 value=200 after=200\nrestored GPU-a power before=300 after=300\n";
  expect(await injector.look()).toMatchObject({
    allInjected: true,
    allRecovered: true,
    failures: [],
    dead: false,
  });
  message =
    "set GPU-a power before=300 value=200 after=200\nrestored GPU-a power before=300 after=200, not 300\n";
  expect(await injector.look()).toMatchObject({ allInjected: true, allRecovered: false });
  message = "no GPU runs a process of pod uid-0\n";
  expect(await injector.look()).toMatchObject({
    allInjected: false,
    dead: true,
    failures: [
      "fault-cap-act-0: no GPU runs a process of pod uid-0",
      "fault-cap-act-1: no GPU runs a process of pod uid-0",
    ],
  });
  await injector.remove();
  expect(made.size).toBe(0);
});
