#!/usr/bin/env node
// How much of a stack's `up` is waiting that nothing asked for: the longest chain of resources that depend on each other,
// against the sum of all and the time that it took.   bench/ordering.ts STACK LOG
// LOG is what `pulumi up --skip-preview --non-interactive --color never` printed when it made the stack from nothing.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

interface Resource {
  readonly urn: string;
  readonly parent?: string;
  readonly provider?: string;
  readonly dependencies?: readonly string[];
}

const [stack = "", log = ""] = process.argv.slice(2);
const text = readFileSync(log, "utf8");
const exported = execFileSync("pulumi", ["stack", "export", "-s", stack], {
  encoding: "utf8",
  maxBuffer: 2 ** 28,
});
const { resources } = (JSON.parse(exported) as { deployment: { resources: readonly Resource[] } }).deployment;
const byUrn = new Map(resources.map((resource) => [resource.urn, resource]));

/** Seconds that a resource took; components take none of their own. */
const seconds = new Map(
  [...text.matchAll(/^ \+ +\S+ (\S+) created \(([\d.]+)s\)/gm)].map(([, name, time]) => [name, Number(time)]),
);
const nameOf = (urn: string): string => urn.split("::").at(-1) ?? "";
const ownSeconds = ({ urn }: Resource): number =>
  urn.includes("::pulumi:pulumi:Stack::") ? 0 : (seconds.get(nameOf(urn)) ?? 0);

interface Chain {
  readonly seconds: number;
  readonly names: readonly string[];
}
const chains = new Map<string, Chain>();

/** The longest chain that ends with a resource. A resource waits for what its component waits for. */
function chainOf(resource: Resource): Chain {
  const known = chains.get(resource.urn);
  if (known !== undefined) return known;
  const provider = resource.provider?.replace(/::[^:]*$/, "");
  const before = [...(resource.dependencies ?? []), resource.parent, provider]
    .flatMap((urn) => (urn === undefined ? [] : (byUrn.get(urn) ?? [])))
    .map(chainOf)
    .reduce<Chain>((left, right) => (right.seconds > left.seconds ? right : left), { seconds: 0, names: [] });
  const own = ownSeconds(resource);
  const names = own === 0 ? before.names : [...before.names, `${nameOf(resource.urn)} ${own} s`];
  const chain = { seconds: before.seconds + own, names };
  chains.set(resource.urn, chain);
  return chain;
}

const longest = resources.map(chainOf).reduce((left, right) => (right.seconds > left.seconds ? right : left));
const sum = resources.reduce((total, resource) => total + ownSeconds(resource), 0);
const [, minutes = "0", rest = "0"] = /^Duration: (?:(\d+)m)?(\d+)s/m.exec(text) ?? [];
const wall = Number(minutes) * 60 + Number(rest);
process.stdout.write(
  `${resources.length} resources, ${sum.toFixed(0)} s one after the other\n` +
    `longest chain: ${longest.seconds.toFixed(0)} s = ${longest.names.join(" -> ")}\n` +
    `it took ${wall} s: ${(wall - longest.seconds).toFixed(0)} s more than the longest chain\n`,
);
