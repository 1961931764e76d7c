// When each fault acted, by the conductor's records: what a request or an index of the cells is compared with.
import { join } from "node:path";
import type { FaultPlan, FaultRecord } from "../shared/faults.ts";
import { readJsonIfThere } from "../shared/files.ts";
import type { RequestRow } from "../shared/rows.ts";

/** A fault that has acted. */
export interface FaultWindow {
  readonly cell: string;
  readonly fault: string;
  readonly kind: string;
  /** The earliest instant at which it can have acted, on any target. */
  readonly fromUnixNs: bigint;
  /** The latest; undefined where nobody has seen its end. */
  readonly toUnixNs: bigint | undefined;
}

/** The faults of the plan that were injected into at least one target. */
export async function readFaultWindows(resultsDir: string, plan: FaultPlan): Promise<readonly FaultWindow[]> {
  const windows = await Promise.all(
    plan.faults.map(async ({ cell, fault, kind }): Promise<FaultWindow[]> => {
      const file = join(resultsDir, "faults", cell, `${fault}.json`);
      const record = await readJsonIfThere<FaultRecord>(file);
      const first = record?.injected.first;
      if (record === undefined || first === null || first === undefined) return [];
      return [{ cell, fault, kind, fromUnixNs: BigInt(first.notBeforeUnixNs), toUnixNs: endOf(record) }];
    }),
  );
  return windows.flat();
}

/** A fault that acts once is looked at up to the end of its window, as its verdict does. */
function endOf({ oneShot, planned, recovery }: FaultRecord): bigint | undefined {
  if (oneShot) return BigInt(planned.endUnixNs);
  const end = recovery.recovered?.notAfterUnixNs ?? recovery.goneUnixNs;
  return end === null ? undefined : BigInt(end);
}

/** Ids of the faults that acted while a request was on its way; one of another cell has that cell's id in front. */
export function faultsDuring(row: RequestRow, windows: readonly FaultWindow[]): readonly string[] {
  const from = BigInt(row.sentUnixNs ?? row.scheduledUnixNs);
  const to = from + BigInt(Math.round(row.doneNs ?? 0));
  return windows
    .filter(({ fromUnixNs, toUnixNs }) => to >= fromUnixNs && (toUnixNs === undefined || from <= toUnixNs))
    .map(({ cell, fault }) => (cell === row.cell ? fault : `${cell}/${fault}`));
}
