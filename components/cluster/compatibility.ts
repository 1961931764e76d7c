// Which versions of the parts fit together, as far as their vendors say.

import { testedKubernetes } from "../versions.ts";

/** One part whose version is to be checked. */
export interface PartVersion {
  /** Key in the cluster's configuration. */
  readonly part: string;
  readonly version: string;
}

/** Says of each part that its vendor does not test it on this Kubernetes; versions that the table lacks pass. */
export function kubernetesProblems(
  kubernetes: string,
  parts: readonly PartVersion[],
): { readonly part: string; readonly text: string }[] {
  const minor = minorOf(kubernetes);
  return parts.flatMap(({ part, version }) => {
    const tested = testedKubernetes.find(
      (entry) => entry.part === part && seriesOf(version) === entry.series,
    );
    if (minor === undefined || tested === undefined || (minor >= tested.from && minor <= tested.to)) {
      return [];
    }
    const text =
      `${part} ${tested.series} is tested with Kubernetes 1.${tested.from} to 1.${tested.to}, but k3s.version is ` +
      `${kubernetes}; choose versions that fit (components/versions.ts)`;
    return [{ part, text }];
  });
}

/** `v1.36.4+k3s1` -> 36. */
function minorOf(version: string): number | undefined {
  const minor = /^v?1\.(\d+)\./.exec(version)?.[1];
  return minor === undefined ? undefined : Number(minor);
}

/** `v26.7.0` -> `26.7`. */
function seriesOf(version: string): string | undefined {
  return /^v?(\d+\.\d+)\./.exec(version)?.[1];
}
