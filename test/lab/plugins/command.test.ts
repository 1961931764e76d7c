// Contract of the command plug-in: what we rely on in the official 1.2.1, checked on the lab's stand-in by the real engine.
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { local, remote, type types } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { EngineEvent, PulumiFn, Stack } from "@pulumi/pulumi/automation/index.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine, type Engine, Events } from "../../support/engine.ts";
import { freePort } from "../../support/port.ts";
import { createSshd, type Sshd } from "../../support/sshd.ts";

const waitMilliseconds = 30_000;

let engine: Engine;
let sshd: Sshd;
let lateSshd: Sshd;

beforeAll(async () => {
  [engine, sshd, lateSshd] = await Promise.all([createEngine(), createSshd("LLMEVAL_*"), createSshd("none")]);
  await sshd.start();
}, 60_000);

afterAll(async () => {
  await Promise.all([engine?.dispose(), sshd?.dispose(), lateSshd?.dispose()]);
});

function text(path: string): Promise<string> {
  return readFile(join(engine.directory, path), "utf8");
}

async function exists(path: string): Promise<boolean> {
  return stat(join(engine.directory, path)).then(
    () => true,
    () => false,
  );
}

async function waitFor(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + waitMilliseconds; !(await condition()); await delay(50)) {
    if (Date.now() > deadline) {
      throw new Error(`waited ${waitMilliseconds} ms in vain for ${what}`);
    }
  }
}

function values(outputs: Awaited<ReturnType<Stack["outputs"]>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(outputs).map(([name, output]) => [name, output.value]));
}

/** Runs an operation that must fail and returns each resource's error, the common beginning removed. */
async function errors(
  operation: (onEvent: (event: EngineEvent) => void) => Promise<unknown>,
  names: readonly string[],
): Promise<Record<string, string[]>> {
  const events = new Events();
  await expect(operation(events.onEvent)).rejects.toThrow("failed");
  return Object.fromEntries(names.map((name) => [name, events.messages(name, "error")]));
}

describe("local.Command", { timeout: 60_000 }, () => {
  let stack: Stack;

  /** Waits for the file that the other command of the pair makes: works only if both run at the same time. */
  const meet = (mine: string, other: string) =>
    `touch ${mine}; i=0; until [ -e ${other} ]; do i=$((i+1)); [ $i -lt 400 ] || exit 1; sleep 0.05; done; echo met`;

  function program(run: { word: string; trigger: number }): PulumiFn {
    return async () => {
      const command = new local.Command("command", {
        create: `echo "create ${run.word}" >> command.log; echo ${run.word}; echo warned >&2; cat`,
        update: `echo "update ${run.word} $PULUMI_COMMAND_STDOUT/$PULUMI_COMMAND_STDERR" >> command.log; echo ${run.word}`,
        delete: `echo "delete $PULUMI_COMMAND_STDOUT" >> command.log`,
        stdin: "from stdin\n\n",
      });
      new local.Command("onlyCreate", {
        create: `echo "${run.word} [$PULUMI_COMMAND_STDOUT]" >> onlyCreate.log; echo out`,
        addPreviousOutputInEnv: false,
      });
      new local.Command("triggered", {
        create: `echo "create ${run.trigger}" >> triggered.log`,
        update: "echo update >> triggered.log",
        delete: `echo "delete ${run.trigger}" >> triggered.log`,
        triggers: [run.trigger, { nested: ["value"] }],
      });
      const settings = new local.Command("settings", {
        create: 'process.stdout.write([process.env.WORD, process.env.PULUMI_HOME, process.cwd()].join(" "))',
        interpreter: [process.execPath, "-e"],
        environment: { WORD: "variable" },
        dir: join(engine.directory, "work"),
      });
      const secret = new local.Command(
        "secret",
        { create: "printf top-%s secret; printf plain-error >&2", logging: "none" },
        { additionalSecretOutputs: ["stdout"] },
      );
      new local.Command("onlyStderr", { create: "echo one; echo two >&2", logging: "stderr" });
      const meeting = ["a", "b"].map(
        (name, index, both) => new local.Command(name, { create: meet(name, both[1 - index] ?? "") }).stdout,
      );
      return {
        stdout: command.stdout,
        stderr: command.stderr,
        id: command.id,
        settings: settings.stdout,
        secret: secret.stdout,
        secretStderr: secret.stderr,
        meeting,
        run: local.runOutput({
          command: 'echo "run $WORD"; echo error >&2',
          environment: { WORD: run.word },
        }),
      };
    };
  }

  test("runs in up only, streams its log, passes settings, keeps secrets", async () => {
    await mkdir(join(engine.directory, "work"));
    stack = await engine.inlineStack("local", program({ word: "first", trigger: 1 }));
    const preview = await stack.preview();
    expect(preview.changeSummary).toEqual({ create: 9 });
    expect(await exists("command.log")).toBe(false);

    const events = new Events();
    const { outputs } = await stack.up({ onEvent: events.onEvent });
    expect(values(outputs)).toEqual({
      stdout: "first\nfrom stdin\n",
      stderr: "warned",
      id: expect.stringMatching(/^command[0-9a-f]{8}$/),
      settings: `variable ${engine.environment.PULUMI_HOME} ${engine.directory}/work`,
      secret: "top-secret",
      secretStderr: "plain-error",
      meeting: ["met", "met"],
      run: {
        command: 'echo "run $WORD"; echo error >&2',
        environment: { WORD: "first" },
        stdout: "run first",
        stderr: "error",
      },
    });
    expect(await text("command.log")).toBe("create first\n");
    expect(events.messages("command").toSorted()).toEqual(["first", "from stdin", "warned"]);
    expect(events.messages("secret")).toEqual([]);
    expect(events.messages("onlyStderr")).toEqual(["two"]);
    expect(outputs.secret?.secret).toBe(true);
    expect(outputs.secretStderr?.secret).toBe(false);
    const state = await engine.stateText("local");
    expect(state.includes("plain-error")).toBe(true);
    expect(state.includes("top-secret")).toBe(false);
  });

  test("a changed input updates, a changed trigger replaces, nothing changed runs nothing", async () => {
    stack = await engine.inlineStack("local", program({ word: "second", trigger: 2 }));
    const events = new Events();
    const { outputs } = await stack.up({ onEvent: events.onEvent });
    expect(events.steps("command")).toEqual(["update"]);
    // The output of the run before is there; its last newline is not.
    expect(await text("command.log")).toBe("create first\nupdate second first\nfrom stdin\n/warned\n");
    expect(outputs.stdout?.value).toBe("second");
    // Without `update`, `create` runs again.
    expect(events.steps("onlyCreate")).toEqual(["update"]);
    expect(await text("onlyCreate.log")).toBe("first []\nsecond []\n");
    // The new one is created before the old one is deleted; `update` plays no part.
    expect(events.steps("triggered")).toEqual(["create-replacement", "replace", "delete-replaced"]);
    expect(await text("triggered.log")).toBe("create 1\ncreate 2\ndelete 1\n");
    expect(events.steps("settings")).toEqual(["same"]);
    expect(events.steps("secret")).toEqual(["same"]);

    await stack.destroy();
    expect(await text("command.log")).toMatch(/\ndelete second\n$/);
    expect(await text("triggered.log")).toMatch(/\ndelete 2\n$/);
  });

  test("a failure carries the command, its exit status and all of its output", async () => {
    const bad = await engine.inlineStack("local-bad", async () => {
      new local.Command("exit", { create: 'echo "some output"; exit 3' });
      new local.Command("killed", { create: "kill -9 $$" });
      new local.Command("directory", { create: "true", dir: "/nowhere" });
    });
    const messages = await errors(
      (onEvent) => bad.up({ onEvent, continueOnError: true }),
      ["exit", "killed", "directory"],
    );
    expect(messages).toMatchInlineSnapshot(`
      {
        "directory": [
          "chdir /nowhere: no such file or directory: running "true":",
        ],
        "exit": [
          "exit status 3: running "echo \\"some output\\"; exit 3":
      some output",
        ],
        "killed": [
          "signal: killed: running "kill -9 $$":",
        ],
      }
    `);
  });

  test("what the stand-in does not have is refused by name", async () => {
    const refused = await engine.inlineStack("local-refused", async () => {
      new local.Command("assets", { create: "true", assetPaths: ["*"], archivePaths: ["*"] });
    });
    expect(await errors((onEvent) => refused.preview({ onEvent }), ["assets"])).toMatchInlineSnapshot(`
      {
        "assets": [
          "command:local:Command resource 'assets': property assetPaths value {[{*}]} has a problem: is not supported by the lab's stand-in for the command plug-in; read the files in another way",
          "command:local:Command resource 'assets': property archivePaths value {[{*}]} has a problem: is not supported by the lab's stand-in for the command plug-in; read the files in another way",
        ],
      }
    `);
  });

  test("a cancelled up ends the command and everything that it started", async () => {
    const long = await engine.inlineStack("local-long", async () => {
      new local.Command("long", { create: "sleep 300 & echo $! > child.pid; echo $$ > shell.pid; wait" });
    });
    const abort = new AbortController();
    const up = expect(long.up({ signal: abort.signal })).rejects.toThrow();
    await waitFor(() => exists("shell.pid"), "the command to start");
    abort.abort();
    await up;
    for (const file of ["child.pid", "shell.pid"]) {
      const pid = Number(await text(file));
      await waitFor(() => !isRunning(pid), `${file} to be gone`);
    }
  });
});

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe("remote.Command and remote.CopyToRemote", { timeout: 60_000 }, () => {
  let stack: Stack;
  const variables = { LLMEVAL_WORD: "accepted" };

  function connection(to: Sshd = sshd): types.input.remote.ConnectionArgs {
    return {
      host: "127.0.0.1",
      port: to.port,
      user: to.user,
      privateKey: to.privateKey,
      hostKey: to.hostKey,
    };
  }

  function program(run: { word: string; perDialTimeout: number }): PulumiFn {
    const directory = engine.directory;
    return async () => {
      const command = new remote.Command("remote", {
        connection: connection(),
        create: `cd ${directory}; echo "create $LLMEVAL_WORD" >> remote.log; cat; echo warned >&2`,
        update: `cd ${directory}; echo update >> remote.log; printf ${run.word}`,
        delete: `cd ${directory}; echo delete >> remote.log`,
        environment: variables,
        stdin: "from stdin",
      });
      const { hostKey: _, ...unchecked } = connection();
      new remote.Command("unchecked", { connection: unchecked, create: "true" });
      const late = new remote.Command("late", { connection: connection(lateSshd), create: "echo late" });
      const secret = new remote.Command(
        "secretRemote",
        { connection: connection(), create: "printf top-%s secret", logging: "none" },
        { additionalSecretOutputs: ["stdout"] },
      );
      const proxied = new remote.Command("proxied", {
        connection: { ...connection(), proxy: connection() },
        create: "echo through the bastion",
      });
      new remote.CopyToRemote("text", {
        connection: connection(),
        source: new pulumi.asset.StringAsset(`text ${run.word}\n`),
        remotePath: join(directory, "remote/new/text.conf"),
      });
      new remote.CopyToRemote("file", {
        connection: { ...connection(), perDialTimeout: run.perDialTimeout },
        source: new pulumi.asset.FileAsset(join(directory, "source/one")),
        remotePath: join(directory, "remote-file"),
      });
      new remote.CopyToRemote("directory", {
        connection: connection(),
        source: new pulumi.asset.FileArchive(join(directory, "source")),
        remotePath: join(directory, "remote-directory"),
      });
      return { stdout: command.stdout, late: late.stdout, secret: secret.stdout, proxied: proxied.stdout };
    };
  }

  test("runs over SSH, waits for a host that comes late, goes through a bastion, copies", async () => {
    await mkdir(join(engine.directory, "source/deep"), { recursive: true });
    await writeFile(join(engine.directory, "source/one"), "one");
    await writeFile(join(engine.directory, "source/deep/two"), "two");
    stack = await engine.inlineStack("remote", program({ word: "first", perDialTimeout: 15 }));
    const events = new Events();
    let lateStart: Promise<void> | undefined;
    const { outputs } = await stack.up({
      onEvent: (event) => {
        events.onEvent(event);
        if (lateStart === undefined && events.messages("late").includes("Dial 2/10 failed: retrying")) {
          lateStart = lateSshd.start();
        }
      },
    });
    await lateStart;
    expect(values(outputs)).toEqual({
      stdout: "from stdin",
      late: "late",
      secret: "top-secret",
      proxied: "through the bastion",
    });
    expect(await text("remote.log")).toBe("create accepted\n");
    expect(events.messages("remote").toSorted()).toEqual(["from stdin", "warned"]);
    expect(events.messages("late")).toEqual(expect.arrayContaining(["Dial 1/10 failed: retrying", "late"]));
    expect(await text("remote/new/text.conf")).toBe("text first\n");
    expect(await text("remote-file")).toBe("one");
    expect(await text("remote-directory/source/deep/two")).toBe("two");
    const state = await engine.stateText("remote");
    expect(state.includes("top-secret")).toBe(false);
    expect(state.includes("OPENSSH PRIVATE KEY")).toBe(false);
  });

  test("updates; copies again when the content changes, not when only the connection does", async () => {
    await writeFile(join(engine.directory, "source/deep/two"), "two again");
    await writeFile(join(engine.directory, "remote-file"), "changed on the host");
    stack = await engine.inlineStack("remote", program({ word: "second", perDialTimeout: 14 }));
    const events = new Events();
    const { outputs } = await stack.up({ onEvent: events.onEvent });
    expect(events.steps("remote")).toEqual(["update"]);
    expect(outputs.stdout?.value).toBe("second");
    expect(await text("remote.log")).toBe("create accepted\nupdate\n");
    // The server accepts LLMEVAL_* only: the previous output is offered and its refusal is a warning.
    expect(events.messages("remote", "warning")).toMatchInlineSnapshot(`
      [
        "Unable to set 'PULUMI_COMMAND_STDOUT': the SSH server does not accept this variable. Add it to AcceptEnv in its sshd_config, or put it before the command itself ('PULUMI_COMMAND_STDOUT=value command').",
        "Unable to set 'PULUMI_COMMAND_STDERR': the SSH server does not accept this variable. Add it to AcceptEnv in its sshd_config, or put it before the command itself ('PULUMI_COMMAND_STDERR=value command').",
      ]
    `);
    expect(events.steps("unchecked")).toEqual(["same"]);
    expect(await text("remote/new/text.conf")).toBe("text second\n");
    expect(await text("remote-directory/source/deep/two")).toBe("two again");
    expect(events.steps("file")).toEqual(["update"]);
    expect(await text("remote-file")).toBe("changed on the host");

    await stack.destroy();
    expect(await text("remote.log")).toBe("create accepted\nupdate\ndelete\n");
    expect(await text("remote-file")).toBe("changed on the host");
  });

  test("refused variables, a wrong host key, a closed port and a failed command are errors that name the host", async () => {
    const closedPort = await freePort();
    const bad = await engine.inlineStack("remote-bad", async () => {
      new remote.Command("variable", {
        connection: connection(),
        create: `touch ${engine.directory}/must-not-run`,
        environment: { REFUSED: "value" },
      });
      new remote.Command("hostKey", {
        connection: { ...connection(), hostKey: lateSshd.hostKey, dialErrorLimit: 0 },
        create: "true",
      });
      new remote.Command("key", {
        connection: { ...connection(), privateKey: lateSshd.privateKey, dialErrorLimit: 1 },
        create: "true",
      });
      new remote.Command("closed", {
        connection: { ...connection(), port: closedPort, dialErrorLimit: 1 },
        create: "true",
      });
      new remote.Command("exit", { connection: connection(), create: "echo error >&2; exit 3" });
      new remote.CopyToRemote("copy", {
        connection: connection(),
        source: new pulumi.asset.StringAsset("text"),
        remotePath: engine.directory,
      });
    });
    const messages = await errors(
      (onEvent) => bad.up({ onEvent, continueOnError: true }),
      ["variable", "hostKey", "key", "closed", "exit", "copy"],
    );
    const shown = JSON.stringify(messages, undefined, 2)
      .replaceAll(String(sshd.port), "PORT")
      .replaceAll(String(closedPort), "CLOSED")
      .replaceAll(engine.directory, "DIRECTORY")
      .replace(/SHA256:[\w+/]+/g, "SHA256:FINGERPRINT");
    expect(shown).toMatchInlineSnapshot(`
      "{
        "variable": [
          "Unable to set 'REFUSED': the SSH server does not accept this variable. Add it to AcceptEnv in its sshd_config, or put it before the command itself ('REFUSED=value command').",
          "could not set environment variable \\"REFUSED\\": ssh: setenv failed"
        ],
        "hostKey": [
          "after 0 failed attempts: dial tcp 127.0.0.1:PORT: ssh: handshake failed: ssh: host key mismatch: 127.0.0.1 presented SHA256:FINGERPRINT, hostKey is SHA256:FINGERPRINT"
        ],
        "key": [
          "after 1 failed attempts: dial tcp 127.0.0.1:PORT: All configured authentication methods failed"
        ],
        "closed": [
          "after 1 failed attempts: dial tcp 127.0.0.1:CLOSED: connect ECONNREFUSED 127.0.0.1:CLOSED"
        ],
        "exit": [
          "Process exited with status 3: running \\"echo error >&2; exit 3\\":\\nerror"
        ],
        "copy": [
          "remote path DIRECTORY is a directory; when using a text asset, remotePath must be a file path"
        ]
      }"
    `);
    expect(await exists("must-not-run")).toBe(false);
  });
});
