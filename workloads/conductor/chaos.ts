// A chaos object: created, watched by its records, stopped by pausing it, deleted when it has recovered.
import type { IntendedTarget, Manifest } from "../shared/faults.ts";
import { HttpStatusError } from "../shared/http.ts";
import type { KubeClient, KubeObject } from "../shared/kube.ts";
import { allRecovered, type Injector, type Observation, type TargetState } from "./injector.ts";

interface RecordEvent {
  readonly type: string;
  readonly operation: string;
  readonly message?: string;
  readonly timestamp?: string;
}

/** status.experiment.containerRecords[]: what was done to one pod or container. */
interface ChaosRecord {
  readonly id: string;
  readonly selectorKey?: string;
  readonly phase: string;
  readonly injectedCount?: number;
  readonly recoveredCount?: number;
  readonly events?: readonly RecordEvent[];
}

interface ChaosObject extends KubeObject {
  readonly spec?: unknown;
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly experiment?: {
      readonly desiredPhase?: string;
      readonly containerRecords?: readonly ChaosRecord[];
    };
  };
}

const pauseAnnotation = "experiment.chaos-mesh.org/pause";
const freeAnnotation = "chaos-mesh.chaos-mesh.org/cleanFinalizer";

/** What a chaos object says of itself. */
function observe(object: ChaosObject): Observation {
  const records = object.status?.experiment?.containerRecords ?? [];
  const targets = records.map(toTargetState);
  const condition = object.status?.conditions?.find(({ type }) => type === "AllInjected")?.status === "True";
  const failures = records.flatMap((record) => {
    const failed = record.events?.findLast(({ type }) => type === "Failed");
    return failed === undefined
      ? []
      : [`${record.id}: ${failed.operation} failed: ${failed.message ?? "no reason given"}`];
  });
  return {
    targets,
    // The condition alone is true for a list without records too.
    allInjected: condition && targets.length > 0 && targets.every(({ injected }) => injected),
    allRecovered: allRecovered(targets),
    failures,
    dead: false,
    status: object.status ?? null,
    objects: [{ ...object, metadata: { ...object.metadata, managedFields: undefined }, status: undefined }],
  };
}

function toTargetState(record: ChaosRecord): TargetState {
  const last = (operation: string): RecordEvent | undefined =>
    record.events?.findLast((event) => event.operation === operation && event.type === "Succeeded");
  const first = record.events?.find((event) => event.operation === "Apply" && event.type === "Succeeded");
  const injectedCount = record.injectedCount ?? 0;
  const recoveredCount = record.recoveredCount ?? 0;
  return {
    id: record.id,
    pod: record.id.split("/")[1] ?? record.id,
    isTarget: record.selectorKey === undefined || record.selectorKey === ".",
    injected: injectedCount > 0 && first !== undefined,
    recovered: injectedCount > 0 && recoveredCount === injectedCount && record.phase === "Not Injected",
    injectedStamp: first?.timestamp ?? null,
    recoveredStamp: last("Recover")?.timestamp ?? null,
  };
}

export class ChaosInjector implements Injector {
  readonly #kube: KubeClient;
  readonly #manifest: Manifest;
  readonly #oneShot: boolean;
  readonly #collection: string;
  readonly #path: string;

  constructor(kube: KubeClient, manifest: Manifest, oneShot: boolean) {
    const { name, namespace } = manifest.metadata;
    this.#kube = kube;
    this.#manifest = manifest;
    this.#oneShot = oneShot;
    // The plural of all these kinds is the kind itself.
    this.#collection = `/apis/${manifest.apiVersion}/namespaces/${namespace}/${manifest.kind.toLowerCase()}`;
    this.#path = `${this.#collection}/${name}`;
  }

  async create(): Promise<boolean> {
    try {
      await this.#kube.post(this.#collection, this.#manifest);
      return false;
    } catch (error) {
      if (error instanceof HttpStatusError && error.status === 409) return true;
      throw error;
    }
  }

  async look(): Promise<Observation | undefined> {
    const object = await this.#kube.find<ChaosObject>(this.#path);
    return object === undefined ? undefined : observe(object);
  }

  /** Deleted at once, an object would take the record of its recovery with it; paused, it recovers and stays. */
  async stop(): Promise<boolean> {
    if (this.#oneShot) return false;
    await this.#annotate(pauseAnnotation, "true");
    return true;
  }

  async remove(): Promise<void> {
    await this.#kube.remove(this.#path);
  }

  /**
   * An object that waits for its first success is never given up by the controller, and so never deleted; what it
   * keeps of the pod would make each later fault of this pod fail in the same way.
   */
  async free(targets: readonly IntendedTarget[]): Promise<void> {
    await this.#annotate(freeAnnotation, "forced");
    await this.remove();
    const kept = { NetworkChaos: "podnetworkchaos", IOChaos: "podiochaos" }[this.#manifest.kind];
    if (kept === undefined) return;
    const { apiVersion, metadata } = this.#manifest;
    for (const { namespace = metadata.namespace, pod } of targets) {
      await this.#kube.remove(`/apis/${apiVersion}/namespaces/${namespace}/${kept}/${pod}`);
    }
  }

  async #annotate(key: string, value: string): Promise<void> {
    try {
      await this.#kube.patch(this.#path, { metadata: { annotations: { [key]: value } } });
    } catch (error) {
      if (!(error instanceof HttpStatusError) || error.status !== 404) throw error;
    }
  }
}
