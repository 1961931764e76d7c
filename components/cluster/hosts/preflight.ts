// Checks of all hosts before anything is changed on any of them: what is asked, and the one report on the answers.
// The questions are put by preflight-run.ts (over SSH, side by side) and preflight.sh (on each host).

import { hasEmbeddedEtcd, type K3sConfig } from "./k3s-config.ts";
import { type Role, toDataDir } from "./k3s-files.ts";
import type { Connections, Endpoint } from "./ssh.ts";

/** A host to look at. */
export interface PreflightHost {
  readonly name: string;
  readonly endpoint: Endpoint;
  /** Parameters of preflight.sh. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Everything that a preflight needs; it runs again when any of this changes. Nothing here is secret. */
export interface PreflightPlan {
  /** Private keys, as paths relative to the project. */
  readonly keyFile: string;
  readonly jump?: { readonly endpoint: Endpoint; readonly keyFile: string };
  readonly maxClockOffsetSeconds: number;
  readonly hosts: readonly PreflightHost[];
  /** Text of preflight.sh. */
  readonly script: string;
}

/** What a host said, or why it said nothing. Times are seconds since 1970. */
export type Answer =
  | {
      readonly output: string;
      /** This machine's clock just before the script was sent, and when its first line came. */
      readonly asked: number;
      readonly answered: number;
    }
  | { readonly failure: string };

/** The outcome of a preflight. */
export interface PreflightReport {
  readonly fit: boolean;
  readonly text: string;
}

interface Findings {
  readonly problems: string[];
  readonly warnings: string[];
  /** Clock of the host when it began to answer. */
  clock?: number;
  readonly facts: Map<string, string>;
}

// Cilium's BPF host features begin here, and no distribution that K3s is tested on is older.
const minKernel = "5.10";
const serverPorts = [6443, 6444, 10250];
const etcdPorts = [2379, 2380];
const agentPorts = [6444, 10250];
/** Facts that may not be the same on two hosts. */
const uniqueFacts: Readonly<Record<string, string>> = {
  "machine-id": "hosts cloned from one image need a new one each (/etc/machine-id)",
  hostname: "give every host its own (hostnamectl set-hostname)",
};
/** Facts that must be the same on all hosts. */
const sharedFact = { name: "arch", why: "one executable is installed on all hosts" };

/** The questions for all hosts of a cluster. */
export function toPreflightPlan(config: K3sConfig, connections: Connections, script: string): PreflightPlan {
  const { keyFile, jumpHost } = config.ssh;
  const { preflight } = config;
  const toHost = (role: Role, host: K3sConfig["servers"][number]): PreflightHost[] => {
    const endpoint = connections.endpoints.get(host.name);
    if (endpoint === undefined) {
      return [];
    }
    const ports = role === "agent" ? agentPorts : serverPorts;
    const parameters = {
      DATA_DIR: toDataDir(config, host),
      MIN_FREE_GIB: String(preflight.minFreeDiskGibibytes),
      MIN_KERNEL: minKernel,
      PORTS: [...ports, ...(role === "server" && hasEmbeddedEtcd(config) ? etcdPorts : [])].join(" "),
      BINARY_URL: config.binary.url,
      NVIDIA: preflight.nvidiaDriver === "require" && Object.keys(host.accelerators).length > 0 ? "1" : "0",
    };
    return [{ name: host.name, endpoint, parameters }];
  };
  return {
    keyFile,
    ...(connections.jump === undefined
      ? {}
      : { jump: { endpoint: connections.jump, keyFile: jumpHost?.keyFile ?? keyFile } }),
    maxClockOffsetSeconds: preflight.maxClockOffsetSeconds,
    hosts: [
      ...config.servers.flatMap((host) => toHost("server", host)),
      ...config.agents.flatMap((host) => toHost("agent", host)),
    ],
    script,
  };
}

/** One report on the answers of all hosts, in the order of the plan. */
export function toReport(plan: PreflightPlan, answers: readonly Answer[]): PreflightReport {
  const all = plan.hosts.map((host, index) => ({
    host,
    findings: toFindings(answers[index] ?? { failure: "was not asked" }, plan.maxClockOffsetSeconds),
  }));
  for (const [fact, advice] of Object.entries(uniqueFacts)) {
    const owners = new Map<string, string>();
    for (const { host, findings } of all) {
      const value = findings.facts.get(fact) ?? "";
      const owner = owners.get(value);
      if (value !== "" && owner !== undefined) {
        findings.problems.push(`its ${fact} ${value} is that of ${owner}; ${advice}`);
      } else {
        owners.set(value, host.name);
      }
    }
  }
  const first = all.find(({ findings }) => findings.facts.has(sharedFact.name));
  for (const { findings } of all) {
    const value = findings.facts.get(sharedFact.name);
    const expected = first?.findings.facts.get(sharedFact.name);
    if (value !== undefined && value !== expected) {
      findings.problems.push(
        `is a machine of type ${value}, ${first?.host.name} is ${expected}; ${sharedFact.why}`,
      );
    }
  }
  const problems = all.flatMap(({ host, findings }) =>
    findings.problems.map((text) => `  - ${host.name} (${host.endpoint.host}): ${text}`),
  );
  // Hosts of one make have the same weaknesses: each is told once.
  const weak = new Map<string, string[]>();
  for (const { host, findings } of all) {
    for (const text of findings.warnings) {
      weak.set(text, [...(weak.get(text) ?? []), host.name]);
    }
  }
  const warnings = [...weak].map(([text, names]) => `  - ${names.join(", ")}: ${text}`);
  const unfit = all.filter(({ findings }) => findings.problems.length > 0).length;
  const head =
    problems.length === 0
      ? `preflight: ${counted(all.length, "host")} checked, fit for K3s`
      : `preflight: ${counted(problems.length, "problem")} on ${unfit} of ${counted(all.length, "host")}; nothing was changed on any host`;
  return {
    fit: problems.length === 0,
    text: [head, ...problems, ...(warnings.length === 0 ? [] : ["warnings:", ...warnings])].join("\n"),
  };
}

/** `1 host`, `2 hosts`. */
function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function toFindings(answer: Answer, maxClockOffsetSeconds: number): Findings {
  const findings: Findings = { problems: [], warnings: [], facts: new Map() };
  if ("failure" in answer) {
    findings.problems.push(answer.failure);
    return findings;
  }
  for (const line of answer.output.split("\n")) {
    const [kind = "", ...words] = line.split(" ");
    const text = words.join(" ");
    if (kind === "problem") {
      findings.problems.push(text);
    } else if (kind === "warning") {
      findings.warnings.push(text);
    } else if (kind === "clock") {
      findings.clock = Number(text);
    } else if (kind === "fact") {
      findings.facts.set(words[0] ?? "", words.slice(1).join(" "));
    }
  }
  if (!findings.facts.has("end") || findings.clock === undefined) {
    findings.problems.push(`the checks did not run to their end: ${lastLine(answer.output)}`);
    return findings;
  }
  const offset = clockOffset(findings.clock, answer.asked, answer.answered);
  if (Math.abs(offset) > maxClockOffsetSeconds) {
    findings.problems.push(
      `its clock is ${Math.abs(offset).toFixed(1)} s ${offset > 0 ? "ahead of" : "behind"} this machine's, ` +
        `allowed: ${maxClockOffsetSeconds} s; synchronise it (chrony, systemd-timesyncd)`,
    );
  }
  return findings;
}

/** How far a clock is off for certain, when it was read some time between two readings of ours. */
function clockOffset(clock: number, before: number, after: number): number {
  return clock > after ? clock - after : clock < before ? clock - before : 0;
}

/** The last line that says something. */
export function lastLine(text: string): string {
  return (
    text
      .trimEnd()
      .split("\n")
      .findLast((line) => line.trim() !== "")
      ?.trim() ?? "it said nothing"
  );
}
