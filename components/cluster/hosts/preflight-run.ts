// Program of the preflight: reads a plan from standard input, asks all hosts side by side over SSH, prints one report,
// and ends with status 1 when a host is not fit. It uses OpenSSH's client, with nothing of the user's configuration.

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { text as readAll } from "node:stream/consumers";
import { type Answer, lastLine, type PreflightHost, type PreflightPlan, toReport } from "./preflight.ts";
import { quote, scriptCommand } from "./shell.ts";
import { type Endpoint, resolvePath } from "./ssh.ts";

const connectTimeoutSeconds = 10;
const answerTimeoutSeconds = 60;
const sideBySide = 16;
/** Said by a host that is ready to take the script, so that the time of the connection does not count. */
const readyLine = "ready";

/** The plan's host keys as a known_hosts file. */
function toKnownHosts(plan: PreflightPlan): string {
  const endpoints = [
    ...(plan.jump === undefined ? [] : [plan.jump.endpoint]),
    ...plan.hosts.map(({ endpoint }) => endpoint),
  ];
  return endpoints
    .map(({ host, port, hostKey }) => `${port === 22 ? host : `[${host}]:${port}`} ${hostKey}\n`)
    .join("");
}

function toOptions(endpoint: Endpoint, keyFile: string, knownHosts: string): string[] {
  const type = endpoint.hostKey?.split(" ")[0] ?? "";
  const settings = {
    UserKnownHostsFile: knownHosts,
    GlobalKnownHostsFile: "/dev/null",
    StrictHostKeyChecking: "yes",
    HostKeyAlgorithms: type === "ssh-rsa" ? "rsa-sha2-512,rsa-sha2-256" : type,
    IdentitiesOnly: "yes",
    BatchMode: "yes",
    ConnectTimeout: String(connectTimeoutSeconds),
    LogLevel: "ERROR",
  };
  return [
    ...["-F", "/dev/null", "-T", "-p", String(endpoint.port), "-l", endpoint.user],
    ...["-i", resolvePath(keyFile, process.cwd())],
    ...Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
  ];
}

function toArguments(plan: PreflightPlan, host: PreflightHost, knownHosts: string): string[] {
  const { jump } = plan;
  const proxy =
    jump === undefined
      ? []
      : [
          "-o",
          `ProxyCommand=${["ssh", ...toOptions(jump.endpoint, jump.keyFile, knownHosts), "-W", "[%h]:%p", jump.endpoint.host].map(quote).join(" ")}`,
        ];
  const command = `echo ${readyLine}; ${scriptCommand(host.endpoint.user, host.parameters)}`;
  return [...toOptions(host.endpoint, plan.keyFile, knownHosts), ...proxy, host.endpoint.host, command];
}

function ask(plan: PreflightPlan, host: PreflightHost, knownHosts: string): Promise<Answer> {
  return new Promise((resolve) => {
    const child = spawn("ssh", toArguments(plan, host, knownHosts), { stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    let asked = 0;
    let answered = 0;
    const late = setTimeout(() => child.kill("SIGKILL"), answerTimeoutSeconds * 1000);
    child.stdin.on("error", () => {});
    child.stderr.on("data", (data: Buffer) => {
      errors += data;
    });
    child.stdout.on("data", (data: Buffer) => {
      output += data;
      if (asked === 0 && output.includes(`${readyLine}\n`)) {
        asked = Date.now() / 1000;
        child.stdin.end(plan.script);
      } else if (answered === 0) {
        answered = Date.now() / 1000;
      }
    });
    child.once("error", (error) => {
      clearTimeout(late);
      resolve({ failure: `ssh cannot be run on this machine (${error.message}); install OpenSSH's client` });
    });
    child.once("close", (code) => {
      clearTimeout(late);
      if (asked === 0) {
        resolve({ failure: toFailure(host.endpoint, errors) });
      } else if (code === 0) {
        resolve({ output, asked, answered });
      } else {
        const what = code === null ? `no answer within ${answerTimeoutSeconds} s` : lastLine(errors);
        resolve({ failure: `the checks cannot be run: ${what}` });
      }
    });
  });
}

function toFailure(endpoint: Endpoint, errors: string): string {
  if (errors.includes("Host key verification failed") || errors.includes("no matching host key type")) {
    return `shows another host key than the pinned one (${endpoint.hostKey?.split(" ")[0]}); compare the fingerprints before you change the pin`;
  }
  return errors.includes("Permission denied")
    ? `does not let ${endpoint.user} in with the private key: ${lastLine(errors)}`
    : `cannot be reached: ${lastLine(errors)}`;
}

async function askAll(plan: PreflightPlan): Promise<Answer[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "llmeval-preflight-"));
  try {
    const knownHosts = path.join(folder, "known_hosts");
    fs.writeFileSync(knownHosts, toKnownHosts(plan));
    const answers: Answer[] = [];
    const queue = plan.hosts.map((host, index) => ({ host, index }));
    const work = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        answers[next.index] = await ask(plan, next.host, knownHosts);
      }
    };
    await Promise.all(Array.from({ length: sideBySide }, work));
    return answers;
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

const plan = JSON.parse(await readAll(process.stdin)) as PreflightPlan;
const report = toReport(plan, await askAll(plan));
console.log(report.text);
process.exitCode = report.fit ? 0 : 1;
