// Instants as integer nanoseconds since 1970 (UTC), exact in strings and BigInt.

/** The wall clock, to the millisecond: a monotonic clock from the program's start would miss later steps. */
export function nowUnixNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** RFC 3339 in UTC with nine digits after the second. */
export function rfc3339(unixNs: bigint): string {
  const seconds = unixNs / 1_000_000_000n;
  const fraction = (unixNs % 1_000_000_000n).toString().padStart(9, "0");
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}

/** b - a in seconds. */
export function secondsBetween(a: bigint, b: bigint): number {
  return Number(b - a) / 1e9;
}

export function plusSeconds(unixNs: bigint, seconds: number): bigint {
  return unixNs + BigInt(Math.round(seconds * 1e9));
}

/** Whole milliseconds since 1970 of nanoseconds as text. */
export function toMs(unixNs: string): number {
  return Number(BigInt(unixNs) / 1_000_000n);
}
