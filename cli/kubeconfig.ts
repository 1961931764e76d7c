// Reads a kubeconfig: where the API server is and how to prove who asks.
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { UserError } from "../components/errors.ts";
import { describe } from "../workloads/shared/errors.ts";
import { KubeClient } from "../workloads/shared/kube.ts";

interface ClusterEntry {
  readonly server?: string;
  readonly "certificate-authority"?: string;
  readonly "certificate-authority-data"?: string;
  readonly "insecure-skip-tls-verify"?: boolean;
  readonly "tls-server-name"?: string;
}

interface UserEntry {
  readonly "client-certificate"?: string;
  readonly "client-certificate-data"?: string;
  readonly "client-key"?: string;
  readonly "client-key-data"?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly username?: string;
  readonly password?: string;
  readonly exec?: unknown;
  readonly "auth-provider"?: unknown;
}

interface Kubeconfig {
  readonly "current-context"?: string;
  readonly contexts?: readonly {
    readonly name: string;
    readonly context: { readonly cluster: string; readonly user: string };
  }[];
  readonly clusters?: readonly { readonly name: string; readonly cluster: ClusterEntry }[];
  readonly users?: readonly { readonly name: string; readonly user: UserEntry }[];
}

/** A client for the current context. `origin` names the text in errors; paths in it are relative to `file`. */
export async function clientOf(text: string, origin: string, file: string | undefined): Promise<KubeClient> {
  let config: Kubeconfig;
  try {
    config = (parse(text) ?? {}) as Kubeconfig;
  } catch (error) {
    throw new UserError(`kubeconfig of ${origin} is not YAML: ${describe(error)}`);
  }
  const current = config["current-context"] ?? "";
  const context = config.contexts?.find(({ name }) => name === current)?.context;
  const cluster = config.clusters?.find(({ name }) => name === context?.cluster)?.cluster;
  const user = config.users?.find(({ name }) => name === context?.user)?.user ?? {};
  if (cluster?.server === undefined || !/^https?:\/\//.test(cluster.server)) {
    throw new UserError(`kubeconfig of ${origin} names no API server in its current context "${current}"`);
  }
  const bytes = (data: string | undefined, path: string | undefined): Buffer | undefined => {
    if (data !== undefined) return Buffer.from(data, "base64");
    return path === undefined ? undefined : readFileSync(resolve(dirname(file ?? "."), path));
  };
  try {
    const credentials =
      user.exec === undefined && user["auth-provider"] === undefined
        ? plainCredentials(user, bytes)
        : await plugIn(text);
    const all = {
      ca: bytes(cluster["certificate-authority-data"], cluster["certificate-authority"]),
      rejectUnauthorized: cluster["insecure-skip-tls-verify"] === true ? false : undefined,
      servername: cluster["tls-server-name"],
      cert: credentials.cert,
      key: credentials.key,
    };
    const tls = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    return new KubeClient({ baseUrl: cluster.server, headers: () => credentials.headers, tls });
  } catch (error) {
    throw new UserError(`credentials of the kubeconfig of ${origin} cannot be used: ${describe(error)}`);
  }
}

interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}

function plainCredentials(
  user: UserEntry,
  bytes: (data: string | undefined, path: string | undefined) => Buffer | undefined,
): Credentials {
  const token = user.token ?? bytes(undefined, user.tokenFile)?.toString("utf8").trim();
  const basic = Buffer.from(`${user.username ?? ""}:${user.password ?? ""}`).toString("base64");
  const authorization =
    token !== undefined ? `Bearer ${token}` : user.username !== undefined ? `Basic ${basic}` : "";
  return {
    headers: authorization === "" ? {} : { authorization },
    cert: bytes(user["client-certificate-data"], user["client-certificate"]),
    key: bytes(user["client-key-data"], user["client-key"]),
  };
}

/** A program of the cloud's makes the credentials; only for these is the client library loaded, which takes a while. */
async function plugIn(text: string): Promise<Credentials> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromString(text);
  // The library refuses plain http (a local `kubectl proxy`) unless verification is off, which means nothing there.
  config.clusters = config.clusters.map((cluster) =>
    cluster.server.startsWith("http://") ? { ...cluster, skipTLSVerify: true } : cluster,
  );
  const options: { headers: Record<string, string>; cert?: Buffer; key?: Buffer } = { headers: {} };
  await config.applyToHTTPSOptions(options as Parameters<typeof config.applyToHTTPSOptions>[0]);
  return options;
}
