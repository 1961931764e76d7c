// The few calls to the Kubernetes API that the programs need, with a service account in the cluster or a kubeconfig outside.
import { existsSync, readFileSync } from "node:fs";
import { StopError } from "./errors.ts";
import {
  download,
  type HttpRequest,
  HttpStatusError,
  request,
  requestJson,
  type TlsOptions,
} from "./http.ts";

export interface KubeOptions {
  readonly baseUrl: string;
  /** Asked before each request, because a service account's token is rotated. */
  readonly headers?: () => Readonly<Record<string, string>>;
  readonly tls?: TlsOptions;
  /** @default 15 */
  readonly timeoutSeconds?: number;
}

export interface KubeObject {
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly creationTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly managedFields?: unknown;
  };
}

interface ContainerStatus {
  readonly name: string;
  readonly restartCount?: number;
  readonly containerID?: string;
  readonly ready?: boolean;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly running?: unknown;
    readonly terminated?: { readonly reason?: string; readonly exitCode?: number; readonly message?: string };
  };
}

export interface Pod extends KubeObject {
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly { readonly name: string }[];
    readonly initContainers?: readonly { readonly name: string }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly containerStatuses?: readonly ContainerStatus[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly conditions?: readonly Condition[];
  };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface Job extends KubeObject {
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly failed?: number;
    readonly active?: number;
    readonly ready?: number;
    readonly succeeded?: number;
  };
}

interface KubeList<T> {
  readonly items: readonly T[];
}

const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

export class KubeClient {
  readonly baseUrl: string;
  readonly #options: KubeOptions;

  constructor(options: KubeOptions) {
    this.baseUrl = options.baseUrl.replace(/\/+$/, "");
    this.#options = options;
  }

  /** With the pod's service account. KUBE_API_URL, KUBE_TOKEN_FILE and KUBE_CA_FILE point elsewhere, e.g. in a test. */
  static inCluster(env: Readonly<Record<string, string | undefined>> = process.env): KubeClient {
    const host = env.KUBERNETES_SERVICE_HOST;
    const baseUrl =
      env.KUBE_API_URL ??
      (host === undefined
        ? undefined
        : `https://${host.includes(":") ? `[${host}]` : host}:${env.KUBERNETES_SERVICE_PORT ?? "443"}`);
    if (baseUrl === undefined) {
      throw new StopError("neither KUBERNETES_SERVICE_HOST nor KUBE_API_URL is set: run this in a pod");
    }
    const tokenFile = env.KUBE_TOKEN_FILE ?? `${accountFolder}/token`;
    const caFile = env.KUBE_CA_FILE ?? `${accountFolder}/ca.crt`;
    return new KubeClient({
      baseUrl,
      headers: (): Record<string, string> =>
        existsSync(tokenFile) ? { authorization: `Bearer ${readFileSync(tokenFile, "utf8").trim()}` } : {},
      tls: existsSync(caFile) ? { ca: readFileSync(caFile) } : {},
    });
  }

  get<T>(path: string, timeoutSeconds?: number): Promise<T> {
    return requestJson<T>(this.#request(path, timeoutSeconds));
  }

  /** The object, or undefined where it does not exist. */
  async find<T>(path: string): Promise<T | undefined> {
    try {
      return await this.get<T>(path);
    } catch (error) {
      if (error instanceof HttpStatusError && error.status === 404) return undefined;
      throw error;
    }
  }

  async text(path: string): Promise<string> {
    const options = this.#request(path);
    const response = await request(options);
    if (response.status !== 200) {
      throw new HttpStatusError(options.url, response.status, response.body.toString("utf8"));
    }
    return response.body.toString("utf8");
  }

  download(path: string, file: string): Promise<number> {
    return download(this.#request(path, 30), file);
  }

  async list<T>(path: string): Promise<readonly T[]> {
    return (await this.get<KubeList<T>>(path, 30)).items;
  }

  post<T>(path: string, object: unknown): Promise<T> {
    return this.#send<T>("POST", path, object, "application/json");
  }

  /** Sets what is given and leaves the rest (RFC 7386). */
  patch<T>(path: string, change: unknown): Promise<T> {
    return this.#send<T>("PATCH", path, change, "application/merge-patch+json");
  }

  /** Asks for the deletion; false where there is no such object. */
  async remove(path: string): Promise<boolean> {
    try {
      await requestJson<unknown>({ ...this.#request(path), method: "DELETE" });
      return true;
    } catch (error) {
      if (error instanceof HttpStatusError && error.status === 404) return false;
      throw error;
    }
  }

  #send<T>(method: string, path: string, body: unknown, contentType: string): Promise<T> {
    const options = this.#request(path);
    return requestJson<T>({
      ...options,
      method,
      headers: { ...options.headers, "content-type": contentType },
      body: JSON.stringify(body),
    });
  }

  pods(namespace: string): Promise<readonly Pod[]> {
    return this.list<Pod>(`/api/v1/namespaces/${namespace}/pods`);
  }

  jobs(namespace: string): Promise<readonly Job[]> {
    return this.list<Job>(`/apis/batch/v1/namespaces/${namespace}/jobs`);
  }

  #request(path: string, timeoutSeconds?: number): HttpRequest {
    return {
      url: `${this.baseUrl}${path}`,
      headers: { accept: "*/*", ...this.#options.headers?.() },
      tls: this.#options.tls ?? {},
      timeoutSeconds: timeoutSeconds ?? this.#options.timeoutSeconds ?? 15,
    };
  }
}

/** Why a Job has failed for good, or undefined while it has not. */
export function failureOf(job: Job): string | undefined {
  const failed = job.status?.conditions?.find((c) => c.type === "Failed" && c.status === "True");
  if (failed === undefined) return undefined;
  return (
    [failed.reason, failed.message].filter((part) => part !== undefined && part !== "").join(": ") || "Failed"
  );
}

/** The Job of one role ("gate", "load", "collector") of an experiment; without an id, the youngest of the role. */
export function jobOfRole(jobs: readonly Job[], role: string, experimentId?: string): Job | undefined {
  return [...jobs].sort(youngestFirst).find(({ metadata: { labels = {} } }) => {
    const id = labels["llmeval/experiment-id"];
    return labels["app.kubernetes.io/name"] === role && (experimentId === undefined || id === experimentId);
  });
}

function youngestFirst(a: KubeObject, b: KubeObject): number {
  return (b.metadata.creationTimestamp ?? "").localeCompare(a.metadata.creationTimestamp ?? "");
}

/** The pods of a Job, youngest first. */
export function podsOfJob(pods: readonly Pod[], job: string): readonly Pod[] {
  return pods
    .filter(
      (pod) =>
        (pod.metadata.labels?.["batch.kubernetes.io/job-name"] ?? pod.metadata.labels?.["job-name"]) === job,
    )
    .sort(youngestFirst);
}
