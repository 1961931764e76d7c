// A configuration of the entry as a test wants it: the given keys, defaults for the others.

import { type EntryConfig, entrySchema } from "../../../../components/cluster/network/entry.ts";
import { parseConfig } from "../../../../components/config-problems.ts";

export function entryConfig(value: Readonly<Record<string, unknown>> = {}): EntryConfig {
  return parseConfig(entrySchema, value, { file: "x" });
}
