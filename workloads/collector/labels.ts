// Tells what speaks of the faults from what was observed: who looks for a fault in the telemetry must not find its name there.
import type { KubeObject } from "../shared/kube.ts";

/** Parts of a run that exist for its faults. */
const faultParts = new Set(["conductor", "fault"]);

/** A series that is about a fault, its injector or its conductor. */
export function isOfFaults(labels: Readonly<Record<string, string>>): boolean {
  const name = labels["__name__"] ?? "";
  if (/^(llmeval_fault|chaos_(mesh|daemon|controller_manager))_/.test(name)) return true;
  if (labels["namespace"] === "chaos-mesh" || labels["exported_namespace"] === "chaos-mesh") return true;
  if (faultParts.has(labels["label_app_kubernetes_io_name"] ?? "")) return true;
  return ["pod", "exported_pod", "job_name", "exported_job", "owner_name"].some((key) =>
    /^(conductor|fault)-/.test(labels[key] ?? ""),
  );
}

/** A series that is about one of these namespaces, whatever its exporter calls that label. */
export function isAboutNamespace(
  labels: Readonly<Record<string, string>>,
  namespaces: ReadonlySet<string>,
): boolean {
  return Object.entries(labels).some(([key, value]) => key.endsWith("namespace") && namespaces.has(value));
}

interface Event extends KubeObject {
  readonly involvedObject?: { readonly kind?: string; readonly name?: string };
}

/** A pod, a Job or an event that is about a fault or its conductor. */
export function isObjectOfFaults(object: KubeObject): boolean {
  const part = object.metadata.labels?.["app.kubernetes.io/name"];
  if (part !== undefined && faultParts.has(part)) return true;
  const { kind = "", name = "" } = (object as Event).involvedObject ?? {};
  return kind.endsWith("Chaos") || /^(conductor|fault)-/.test(name);
}
