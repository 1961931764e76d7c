// An API server with Ray pods and a Chaos Mesh controller behind it, as far as the conductor sees them.
import { type FakeServer, fakeServer, type Reply } from "./support.ts";

export interface Behaviour {
  /** From the creation to the injection; never where it is undefined. */
  readonly injectMs?: number;
  readonly recoverMs: number;
  /** Why it cannot be injected. */
  readonly failure?: string;
  readonly selectsNobody?: boolean;
}

interface Stored {
  readonly body: Record<string, unknown> & { readonly metadata: Record<string, unknown> };
  readonly createdMs: number;
  annotations: Record<string, string>;
  stoppedMs?: number;
  deletedMs?: number;
}

export interface FakeChaos extends FakeServer {
  readonly objects: Map<string, Stored>;
  /** Every object that was ever made. */
  readonly history: Stored[];
  /** Requests are refused with 503 while it is true, and cut off without an answer while it is "cut". */
  away: boolean | "cut";
  /** Requests are refused with 403 while it is true. */
  forbidden: boolean;
  behaviour: Behaviour;
  pods: unknown[];
  /** Pods of the namespace "entry". */
  entryPods: unknown[];
  /** What is answered to a POST in place of taking it. */
  refusal: Reply | undefined;
}

export const namespace = "exp-smoke";

export function rayPod(name: string, replica: string, more: Readonly<Record<string, unknown>> = {}): unknown {
  return {
    metadata: {
      name,
      uid: `uid-of-${name}`,
      labels: { "ray.io/cluster": "llm", "ray.io/node-type": "worker", "llmeval/replica": replica },
    },
    spec: { nodeName: "server-1", containers: [{ name: "ray-worker" }] },
    status: {
      phase: "Running",
      podIP: "127.0.0.1",
      containerStatuses: [
        { name: "ray-worker", containerID: `containerd://of-${name}`, restartCount: 0, ready: true },
      ],
    },
    ...more,
  };
}

export async function fakeChaos(behaviour: Behaviour): Promise<FakeChaos> {
  const objects = new Map<string, Stored>();
  const history: Stored[] = [];
  const server = await fakeServer((request, url, body): Reply | undefined => {
    if (fake.away === "cut") {
      request.socket.destroy();
      return undefined;
    }
    if (fake.away) return { status: 503, json: { kind: "Status", message: "the API server is away" } };
    if (fake.forbidden) return { status: 403, json: { kind: "Status", message: "forbidden" } };
    if (url.pathname === `/api/v1/namespaces/${namespace}/pods`) return { json: { items: fake.pods } };
    if (url.pathname === "/api/v1/namespaces/entry/pods") return { json: { items: fake.entryPods } };
    if (!url.pathname.startsWith(`/apis/chaos-mesh.org/v1alpha1/namespaces/${namespace}/`)) return undefined;
    if (request.method === "POST") {
      if (fake.refusal !== undefined) return fake.refusal;
      const made = JSON.parse(body) as Stored["body"];
      const path = `${url.pathname}/${made.metadata["name"] as string}`;
      if (objects.has(path)) return { status: 409, json: { message: "already exists" } };
      const stored: Stored = { body: made, createdMs: Date.now(), annotations: {} };
      objects.set(path, stored);
      history.push(stored);
      return { status: 201, json: made };
    }
    const stored = objects.get(url.pathname);
    if (stored === undefined) return { status: 404, json: { message: "not found" } };
    if (request.method === "PATCH") {
      const change = JSON.parse(body) as { metadata: { annotations: Record<string, string> } };
      stored.annotations = { ...stored.annotations, ...change.metadata.annotations };
      if (stored.annotations["experiment.chaos-mesh.org/pause"] === "true") stored.stoppedMs ??= Date.now();
    }
    if (request.method === "DELETE") stored.deletedMs = Date.now();
    const answer = toAnswer(stored, fake.behaviour);
    if (answer === undefined) objects.delete(url.pathname);
    return answer === undefined ? { status: 404, json: { message: "not found" } } : { json: answer };
  });
  const fake: FakeChaos = {
    ...server,
    objects,
    history,
    away: false,
    forbidden: false,
    behaviour,
    pods: [rayPod("worker-0", "replica-0")],
    entryPods: [],
    refusal: undefined,
  };
  return fake;
}

/** The object with its status by the time that has passed; undefined where it is gone. */
function toAnswer(stored: Stored, behaviour: Behaviour): unknown {
  const now = Date.now();
  const injectedMs = behaviour.injectMs === undefined ? Infinity : stored.createdMs + behaviour.injectMs;
  const asked = Math.min(stored.stoppedMs ?? Infinity, stored.deletedMs ?? Infinity);
  const recoveredMs = asked + behaviour.recoverMs;
  const injected = now >= injectedMs;
  const recovered = injected && now >= recoveredMs;
  if (stored.deletedMs !== undefined) {
    const freed = stored.annotations["chaos-mesh.chaos-mesh.org/cleanFinalizer"] === "forced";
    const neverActed = !injected && behaviour.failure === undefined;
    if (freed || neverActed || recovered) return undefined;
  }
  const at = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
  const events = [
    ...(behaviour.failure === undefined
      ? []
      : [
          { type: "Failed", operation: "Apply", message: behaviour.failure, timestamp: at(stored.createdMs) },
        ]),
    ...(injected ? [{ type: "Succeeded", operation: "Apply", timestamp: at(injectedMs) }] : []),
    ...(recovered ? [{ type: "Succeeded", operation: "Recover", timestamp: at(recoveredMs) }] : []),
  ];
  const waiting = behaviour.failure === undefined ? "Not Injected" : "Not Injected/Wait";
  const record = {
    id: "exp-smoke/worker-0/ray-worker",
    selectorKey: ".",
    phase: injected && !recovered ? "Injected" : recovered ? "Not Injected" : waiting,
    injectedCount: injected ? 1 : 0,
    recoveredCount: recovered ? 1 : 0,
    events,
  };
  return {
    ...stored.body,
    metadata: { ...stored.body.metadata, annotations: stored.annotations, uid: "uid-of-the-object" },
    status: {
      // As the controller has it: recovered is true before the injection too.
      conditions: [
        { type: "AllInjected", status: injected && !recovered ? "True" : "False" },
        { type: "AllRecovered", status: injected && !recovered ? "False" : "True" },
      ],
      experiment: {
        desiredPhase: asked === Infinity ? "Run" : "Stop",
        ...(behaviour.selectsNobody === true ? {} : { containerRecords: [record] }),
      },
    },
  };
}
