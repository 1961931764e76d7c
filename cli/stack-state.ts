// What an experiment's stack has done so far, read from its state: which run is there, and how far it went.

/** As much of `pulumi stack export` as is read. */
export interface StackState {
  readonly deployment?: {
    readonly resources?: readonly {
      readonly urn: string;
      readonly type: string;
      readonly inputs?: {
        readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
      };
    }[];
  };
}

export interface StackRun {
  readonly experimentId: string;
  readonly run: number;
  /** Whether the load has been waited for to its end; false where it plays still, or was cut. */
  readonly played: boolean;
  /** URNs of the collector's Job and of the command that fetches, as far as they are there. */
  readonly collection: readonly string[];
}

const nameOf = (urn: string): string => urn.slice(urn.lastIndexOf("::") + 2);

/** The run with the highest number whose load has been created, or undefined where nothing has been played. */
export function runOf(state: StackState): StackRun | undefined {
  const resources = state.deployment?.resources ?? [];
  const labelOf = (index: number, key: string): string | undefined =>
    resources[index]?.inputs?.metadata?.labels?.[key];
  const jobs = resources.flatMap(({ type, urn }, index) =>
    type === "kubernetes:batch/v1:Job"
      ? [
          {
            urn,
            role: labelOf(index, "app.kubernetes.io/name"),
            id: labelOf(index, "llmeval/experiment-id") ?? "",
          },
        ]
      : [],
  );
  const commands = resources.filter(({ type }) => type === "command:local:Command").map(({ urn }) => urn);
  const runs = jobs
    .filter(({ role }) => role === "load")
    .map(({ id }): StackRun => {
      const collectors = jobs.filter((job) => job.role === "collector" && job.id === id);
      return {
        experimentId: id,
        run: Number(/-r(\d+)-[0-9a-f]+$/.exec(id)?.[1] ?? "1"),
        played: commands.some((urn) => nameOf(urn) === `load-${id}`),
        collection: [
          ...collectors.map(({ urn }) => urn),
          ...commands.filter((urn) => nameOf(urn) === `results-${id}`),
        ],
      };
    });
  return runs.sort((left, right) => right.run - left.run)[0];
}
