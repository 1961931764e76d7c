// Runs one local command as a child process in a process group of its own, so that all of it can be ended.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { CommandOutput } from "./output.ts";

interface LocalCommand {
  /** The program that gets the command as its last argument, and its other arguments. */
  readonly interpreter: readonly [string, ...string[]];
  readonly command: string;
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly stdin?: string | undefined;
}

const killAfterMilliseconds = 2000;
const signalNames: Record<string, string> = {
  SIGKILL: "killed",
  SIGTERM: "terminated",
  SIGINT: "interrupt",
  SIGHUP: "hangup",
};

/** Runs the command to its end; rejects, with the reason in the official provider's words, when it fails. */
export function runLocal(command: LocalCommand, output: CommandOutput, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    if (!existsSync(command.directory)) {
      throw output.failure(`chdir ${command.directory}: no such file or directory`, command.command);
    }
    const [program, ...args] = command.interpreter;
    const child = spawn(program, [...args, command.command], {
      cwd: command.directory,
      env: command.environment,
      detached: true,
      stdio: [command.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    let killTimer: NodeJS.Timeout | undefined;
    const cancel = () => {
      endGroup(child.pid, "SIGTERM");
      killTimer = setTimeout(() => endGroup(child.pid, "SIGKILL"), killAfterMilliseconds);
    };
    signal.addEventListener("abort", cancel, { once: true });
    const settle = (reason?: string) => {
      clearTimeout(killTimer);
      signal.removeEventListener("abort", cancel);
      output.end();
      reason === undefined ? resolve() : reject(output.failure(reason, command.command));
    };
    child.stdout?.on("data", (data: Buffer) => output.write("stdout", data));
    child.stderr?.on("data", (data: Buffer) => output.write("stderr", data));
    // A command that does not read its input closes the pipe: its own exit status says whether that matters.
    child.stdin?.on("error", () => {});
    child.stdin?.end(command.stdin);
    child.once("error", (error) => settle(`fork/exec ${program}: ${error.message}`));
    child.once("close", (code, by) => {
      if (code === 0) {
        settle();
      } else {
        settle(code === null ? `signal: ${signalNames[by ?? ""] ?? by}` : `exit status ${code}`);
      }
    });
  });
}

function endGroup(pid: number | undefined, by: NodeJS.Signals): void {
  if (pid === undefined) {
    return;
  }
  try {
    process.kill(-pid, by);
  } catch {
    // The group has ended by itself.
  }
}
