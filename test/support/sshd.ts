// A real OpenSSH server on a free port of 127.0.0.1 with keys of its own, for tests of what works over SSH.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "./port.ts";

// Debian's openssh-server; sshd must be started by its full path.
const sshdPath = "/usr/sbin/sshd";
const startTimeoutMilliseconds = 10_000;

/** A server and how to log in to it. */
export interface Sshd {
  readonly port: number;
  readonly user: string;
  readonly privateKey: string;
  /** "ssh-ed25519 AAAA..." */
  readonly hostKey: string;
  start(): Promise<void>;
  /** Stops the server and removes its files. */
  dispose(): Promise<void>;
}

/** Makes the keys and the configuration of a server; `start` starts it. `acceptEnv` is sshd's AcceptEnv. */
export async function createSshd(acceptEnv: string): Promise<Sshd> {
  const directory = mkdtempSync(join(tmpdir(), "sshd-"));
  const port = await freePort();
  for (const key of ["host", "user"]) {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", join(directory, key)]);
  }
  writeFileSync(
    join(directory, "config"),
    `ListenAddress 127.0.0.1
Port ${port}
HostKey ${directory}/host
AuthorizedKeysFile ${directory}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
AcceptEnv ${acceptEnv}
Subsystem sftp internal-sftp
`,
  );
  let server: ChildProcess | undefined;
  return {
    port,
    user: userInfo().username,
    privateKey: readFileSync(join(directory, "user"), "utf8"),
    hostKey: readFileSync(join(directory, "host.pub"), "utf8").trim(),
    async start() {
      if (userInfo().uid === 0) {
        // Debian's init script makes it; sshd as root does not start without it.
        mkdirSync("/run/sshd", { recursive: true });
      }
      const child = spawn(sshdPath, ["-D", "-e", "-f", join(directory, "config")], {
        stdio: ["ignore", "ignore", "pipe"],
      });
      server = child;
      let log = "";
      child.stderr?.on("data", (data: Buffer) => {
        log += data.toString();
      });
      const failed = new Promise<never>((_, reject) => child.once("error", reject));
      const deadline = Date.now() + startTimeoutMilliseconds;
      while (!(await Promise.race([accepts(port), failed]))) {
        if (Date.now() > deadline || child.exitCode !== null) {
          throw new Error(`sshd does not answer on port ${port}:\n${log}`);
        }
        await delay(50);
      }
    },
    async dispose() {
      if (server !== undefined && server.exitCode === null) {
        const exited = new Promise((resolve) => server?.once("exit", resolve));
        server.kill("SIGTERM");
        await exited;
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
