// SSH for the command stand-in: dialling with retries and a bastion, a command's session, and SFTP uploads.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, join, posix } from "node:path";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import ssh2, { type Client, type ClientChannel, type ConnectConfig, type SFTPWrapper } from "ssh2";
import type { Logger } from "./host.ts";
import type { CommandOutput } from "./output.ts";

/** How to reach one host, with the official provider's names. */
interface Endpoint {
  readonly host: string;
  /** @default 22 */
  readonly port?: number;
  /** @default "root" */
  readonly user?: string;
  readonly password?: string;
  /** Contents of a private key. */
  readonly privateKey?: string;
  readonly privateKeyPassword?: string;
  /** Expected host key ("ssh-ed25519 AAAA..."). @default the host key is not checked, as in the official provider */
  readonly hostKey?: string;
  /** Failed dials that are tried again; -1 = for ever. @default 10 */
  readonly dialErrorLimit?: number;
  /** Seconds for one dial; 0 = no limit. @default 15 */
  readonly perDialTimeout?: number;
}

/** A host, perhaps behind a bastion. */
export interface Connection extends Endpoint {
  readonly proxy?: Endpoint;
}

interface RemoteCommand {
  readonly command: string;
  /** Variables that the server must accept (sshd: AcceptEnv). */
  readonly environment: Readonly<Record<string, string>>;
  /** Variables that are set if the server accepts them. */
  readonly optionalEnvironment: Readonly<Record<string, string>>;
  readonly stdin?: string | undefined;
}

const dialErrorLimitDefault = 10;
const perDialTimeoutSecondsDefault = 15;
const firstRetryMilliseconds = 100;
const retryBackoff = 1.5;
const longestRetryMilliseconds = 5000;
// The official provider has no keep-alive and waits for ever on a host that has gone; a lab host may well go.
const keepaliveMilliseconds = 15_000;

/** Runs a command over SSH; rejects with the reason in the official provider's words. */
export async function runRemote(
  connection: Connection,
  command: RemoteCommand,
  output: CommandOutput,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  await withClient(connection, logger, signal, async (client, lost) => {
    const channel = await Promise.race([openSession(client, command, logger), lost]);
    const ended = new Promise<void>((resolve, reject) => {
      channel.on("data", (data: Buffer) => output.write("stdout", data));
      channel.stderr.on("data", (data: Buffer) => output.write("stderr", data));
      channel.once("close", (code: number | null | undefined, by: string | undefined) => {
        output.end();
        if (code === 0) {
          resolve();
        } else {
          reject(output.failure(exitReason(code, by), command.command));
        }
      });
    });
    // Only "close" matters; a command that does not read its input may make the write fail.
    channel.on("error", () => {});
    const cancel = () => channel.signal("TERM");
    signal.addEventListener("abort", cancel, { once: true });
    channel.end(command.stdin);
    try {
      await Promise.race([ended, lost]);
    } finally {
      signal.removeEventListener("abort", cancel);
      ended.catch(() => {});
    }
  });
}

function exitReason(code: number | null | undefined, signalName: string | undefined): string {
  if (typeof code === "number") {
    return `Process exited with status ${code}`;
  }
  return typeof signalName === "string"
    ? `Process exited from signal ${signalName}`
    : "wait: remote command exited without exit status or exit signal";
}

/** Writes a text, a file or a directory to the host, with the official provider's rules for the target path. */
export async function upload(
  connection: Connection,
  source: { readonly path: string } | { readonly text: string },
  remotePath: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  await withClient(connection, logger, signal, async (client, lost) => {
    const copy = async () => {
      const sftp = await new Promise<SFTPWrapper>((resolve, reject) =>
        client.sftp((error, wrapper) => (error === undefined ? resolve(wrapper) : reject(error))),
      );
      if ("text" in source) {
        if ((await remoteKind(sftp, remotePath)) === "directory") {
          throw new Error(
            `remote path ${remotePath} is a directory; when using a text asset, remotePath must be a file path`,
          );
        }
        await makeDirectories(sftp, posix.dirname(remotePath));
        await pipeline([source.text], sftp.createWriteStream(remotePath));
      } else {
        await copyPath(sftp, source.path, remotePath);
      }
    };
    await Promise.race([copy(), lost]);
  });
}

/** Dials, hands over the client, and closes whatever was opened. `lost` rejects when the connection breaks. */
async function withClient(
  connection: Connection,
  logger: Logger,
  signal: AbortSignal,
  use: (client: Client, lost: Promise<never>) => Promise<void>,
): Promise<void> {
  const { proxy } = connection;
  const config = connectConfig(connection);
  const proxyClient =
    proxy === undefined
      ? undefined
      : await dialWithRetry("Dial proxy", proxy, connectConfig(proxy), logger, signal).catch(
          (error: Error) => {
            throw new Error(`proxy: ${error.message}`);
          },
        );
  try {
    const client = await dialWithRetry("Dial", connection, config, logger, signal, proxyClient);
    const lost = new Promise<never>((_, reject) => {
      client.once("error", reject);
      client.once("close", () => reject(new Error(`ssh: connection to ${address(connection)} lost`)));
    });
    lost.catch(() => {});
    try {
      await use(client, lost);
    } finally {
      client.end();
    }
  } finally {
    proxyClient?.end();
  }
}

async function dialWithRetry(
  what: string,
  endpoint: Endpoint,
  config: ConnectConfig,
  logger: Logger,
  signal: AbortSignal,
  via?: Client,
): Promise<Client> {
  const limit = endpoint.dialErrorLimit ?? dialErrorLimitDefault;
  for (let failures = 1; ; failures += 1) {
    signal.throwIfAborted();
    try {
      return await dial(endpoint, config, via);
    } catch (error) {
      const message = `dial tcp ${address(endpoint)}: ${(error as Error).message}`;
      if (limit >= 0 && failures > limit) {
        throw new Error(`after ${failures - 1} failed attempts: ${message}`);
      }
      logger.status(`${what} ${failures}/${limit < 0 ? "inf" : limit} failed: retrying`);
      const pause = Math.min(
        firstRetryMilliseconds * retryBackoff ** (failures - 1),
        longestRetryMilliseconds,
      );
      await delay(pause, undefined, { signal });
    }
  }
}

async function dial(endpoint: Endpoint, config: ConnectConfig, via?: Client): Promise<Client> {
  const sock = via === undefined ? undefined : await forward(via, endpoint);
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client();
    let hostKeyError: string | undefined;
    client.once("ready", () => resolve(client));
    // Kept after "ready", too: an error without a listener would end the plug-in.
    client.on("error", (error) => reject(hostKeyError === undefined ? error : new Error(hostKeyError)));
    client.once("close", () => reject(new Error("ssh: handshake failed: connection closed")));
    client.on("keyboard-interactive", (_name, _instructions, _language, prompts, finish) =>
      finish(prompts.map(() => endpoint.password ?? "")),
    );
    client.connect({
      ...config,
      ...(sock === undefined ? {} : { sock: sock as never }),
      hostVerifier: (key: Buffer) => {
        hostKeyError = hostKeyProblem(endpoint, key);
        return hostKeyError === undefined;
      },
    });
  });
}

function forward(via: Client, endpoint: Endpoint): Promise<Duplex> {
  return new Promise((resolve, reject) =>
    via.forwardOut("127.0.0.1", 0, endpoint.host, endpoint.port ?? 22, (error, stream) =>
      error === undefined ? resolve(stream) : reject(error),
    ),
  );
}

/** Settings of the SSH library; a wrong key or host key fails here, before anything is dialled. */
function connectConfig(endpoint: Endpoint): ConnectConfig {
  const { privateKey, privateKeyPassword, password, hostKey } = endpoint;
  if (privateKey !== undefined) {
    const parsed = ssh2.utils.parseKey(privateKey, privateKeyPassword);
    if (parsed instanceof Error) {
      throw new Error(`connection to ${address(endpoint)}: privateKey: ${parsed.message}`);
    }
  }
  if (privateKey === undefined && password === undefined) {
    throw new Error(
      `connection to ${address(endpoint)}: give privateKey or password (this stand-in uses no SSH agent)`,
    );
  }
  return {
    host: endpoint.host,
    port: endpoint.port ?? 22,
    username: endpoint.user ?? "root",
    privateKey,
    passphrase: privateKeyPassword,
    password,
    tryKeyboard: password !== undefined,
    authHandler: [
      ...(privateKey === undefined ? [] : (["publickey"] as const)),
      ...(password === undefined ? [] : (["password", "keyboard-interactive"] as const)),
    ],
    readyTimeout: (endpoint.perDialTimeout ?? perDialTimeoutSecondsDefault) * 1000,
    keepaliveInterval: keepaliveMilliseconds,
    ...(hostKey === undefined
      ? {}
      : { algorithms: { serverHostKey: hostKeyAlgorithms(parseHostKey(endpoint).type) } }),
  } as ConnectConfig;
}

function hostKeyAlgorithms(type: string): string[] {
  return type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] : [type];
}

function parseHostKey(endpoint: Endpoint): { type: string; key: Buffer } {
  const [type = "", encoded = ""] = (endpoint.hostKey ?? "").trim().split(/\s+/);
  const key = Buffer.from(encoded, "base64");
  // The encoded key begins with its own type, length first.
  if (type === "" || key.subarray(4, 4 + type.length).toString("latin1") !== type) {
    throw new Error(
      `connection to ${address(endpoint)}: failed to parse host key: hostKey must look like "ssh-ed25519 AAAA..."`,
    );
  }
  return { type, key };
}

function hostKeyProblem(endpoint: Endpoint, presented: Buffer): string | undefined {
  if (endpoint.hostKey === undefined || parseHostKey(endpoint).key.equals(presented)) {
    return undefined;
  }
  return `ssh: handshake failed: ssh: host key mismatch: ${endpoint.host} presented ${fingerprint(presented)}, hostKey is ${fingerprint(parseHostKey(endpoint).key)}`;
}

function fingerprint(key: Buffer): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

function address(endpoint: Endpoint): string {
  return `${endpoint.host}:${endpoint.port ?? 22}`;
}

/** The part of ssh2's inside that `openSession` needs. */
interface ClientInside {
  readonly _protocol: {
    env(channel: number, name: string, value: string, wantReply: boolean): void;
    exec(channel: number, command: string, wantReply: boolean): void;
  };
  readonly _chanMgr: { get(id: number): { readonly _callbacks: ((refused: boolean | Error) => void)[] } };
}

/**
 * Starts the command, but only after the server has accepted its variables.
 * ssh2 sends variables without asking for an answer, so a refused one would go unnoticed; this asks for the answers
 * and holds the command back until they are in. The client has one channel only, whose number is 0.
 */
function openSession(client: Client, command: RemoteCommand, logger: Logger): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    const { _protocol: protocol, _chanMgr: channels } = client as unknown as ClientInside;
    const sendVariable = protocol.env.bind(protocol);
    const sendCommand = protocol.exec.bind(protocol);
    const answers: Promise<string | undefined>[] = [];
    protocol.env = (channel, name, value) => {
      answers.push(
        new Promise((answer) =>
          channels.get(0)._callbacks.push((refused) => answer(refused === false ? undefined : name)),
        ),
      );
      sendVariable(channel, name, value, true);
    };
    protocol.exec = (channel, text, wantReply) => {
      void Promise.all(answers).then((names) => {
        const refused = names.filter((name) => name !== undefined);
        const missing = refused.find((name) => Object.hasOwn(command.environment, name));
        if (missing !== undefined) {
          logger.error(refusedText(missing));
          reject(new Error(`could not set environment variable "${missing}": ssh: setenv failed`));
          return;
        }
        for (const name of refused) {
          logger.warning(refusedText(name));
        }
        sendCommand(channel, text, wantReply);
      });
    };
    const env = { ...command.optionalEnvironment, ...command.environment };
    client.exec(command.command, { env }, (error, channel) => {
      error === undefined ? resolve(channel) : reject(error);
    });
  });
}

function refusedText(name: string): string {
  return `Unable to set '${name}': the SSH server does not accept this variable. Add it to AcceptEnv in its sshd_config, or put it before the command itself ('${name}=value command').`;
}

/** What is at a path of the host; undefined when there is nothing. */
function remoteKind(sftp: SFTPWrapper, path: string): Promise<"file" | "directory" | undefined> {
  return new Promise((resolve, reject) =>
    sftp.stat(path, (error, stats) => {
      if (error === undefined || error === null) {
        resolve(stats.isDirectory() ? "directory" : "file");
      } else if ((error as { code?: number }).code === ssh2.utils.sftp.STATUS_CODE.NO_SUCH_FILE) {
        resolve(undefined);
      } else {
        reject(new Error(`failed to stat remote path ${path}: ${error.message}`));
      }
    }),
  );
}

async function makeDirectories(sftp: SFTPWrapper, path: string): Promise<void> {
  if (path === "." || path === "/" || (await remoteKind(sftp, path)) === "directory") {
    return;
  }
  await makeDirectories(sftp, posix.dirname(path));
  await makeDirectory(sftp, path);
}

async function makeDirectory(sftp: SFTPWrapper, path: string): Promise<void> {
  const kind = await remoteKind(sftp, path);
  if (kind === "file") {
    throw new Error(`remote path ${path} exists but is not a directory`);
  }
  if (kind === undefined) {
    await new Promise<void>((resolve, reject) =>
      sftp.mkdir(path, (error) =>
        error ? reject(new Error(`failed to create remote directory ${path}: ${error.message}`)) : resolve(),
      ),
    );
  }
}

// source | remote path is a directory | is not there    | is a file
// dir    | path/dir                   | path/dir        | error
// dir/   | its entries in path        | entries in path | error
// file   | path/file                  | path            | path, overwritten
async function copyPath(sftp: SFTPWrapper, source: string, remotePath: string): Promise<void> {
  if ((await stat(source)).isDirectory()) {
    await makeDirectories(sftp, remotePath);
    await copyDirectory(
      sftp,
      source,
      source.endsWith("/") ? remotePath : posix.join(remotePath, basename(source)),
    );
    return;
  }
  const kind = await remoteKind(sftp, remotePath);
  if (kind === undefined) {
    await makeDirectories(sftp, posix.dirname(remotePath));
  }
  await copyFile(sftp, source, kind === "directory" ? posix.join(remotePath, basename(source)) : remotePath);
}

async function copyDirectory(sftp: SFTPWrapper, source: string, target: string): Promise<void> {
  await makeDirectory(sftp, target);
  for (const entry of await readdir(source, { withFileTypes: true })) {
    const copy = entry.isDirectory() ? copyDirectory : copyFile;
    await copy(sftp, join(source, entry.name), posix.join(target, entry.name));
  }
}

async function copyFile(sftp: SFTPWrapper, source: string, target: string): Promise<void> {
  try {
    await pipeline(createReadStream(source), sftp.createWriteStream(target));
  } catch (error) {
    throw new Error(`failed to copy file ${source} to remote path ${target}: ${(error as Error).message}`);
  }
}
