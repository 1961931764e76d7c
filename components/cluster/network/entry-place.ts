// Where the entry is, for experiments that go through it or make faults on it: they name it without loading its part.

export const entryPlace = {
  namespace: "entry",
  /** Exact labels of its pods, of which there is one. */
  labels: { "app.kubernetes.io/name": "entry" },
  pods: 1,
  container: "nginx",
  /** Name of the Service for programs of the cluster, which are not asked for a password. */
  insideService: "entry-inside",
} as const;

/** Address of the model of an experiment's namespace, as programs of the cluster reach it through the entry. */
export function entryModelUrl(experimentNamespace: string): string {
  const { insideService, namespace } = entryPlace;
  return `http://${insideService}.${namespace}.svc/models/${experimentNamespace}`;
}
