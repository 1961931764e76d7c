// Access to a cluster from the user's machine: a kubeconfig, and the results reader behind the API server's proxy.
import { readFile } from "node:fs/promises";
import { UserError } from "../components/errors.ts";
import { describe } from "../workloads/shared/errors.ts";
import { HttpStatusError, isTransient } from "../workloads/shared/http.ts";
import type { KubeClient } from "../workloads/shared/kube.ts";
import { type Look, missing } from "../workloads/shared/wait.ts";
import { clientOf } from "./kubeconfig.ts";

/** Which experiment, and how long to wait for it. */
export interface ClusterAccess {
  readonly namespace: string;
  readonly experimentId: string;
  readonly timeoutSeconds: number;
  readonly pollSeconds: number;
  /** Shortest time between two progress lines. */
  readonly progressSeconds: number;
  /** Tells the last lines of each log where a wait fails. */
  readonly debug: boolean;
}

// Long enough for any program that hands a kubeconfig over, short enough to notice that none does.
const stdinSilenceSeconds = 10;

/** A client for the kubeconfig of `--kubeconfig`, of stdin, or of $KUBECONFIG, in this order. */
export async function connect(kubeconfigFile: string | undefined): Promise<KubeClient> {
  const { text, origin, path } = await kubeconfigText(kubeconfigFile);
  return clientOf(text, origin, path);
}

interface KubeconfigText {
  readonly text: string;
  readonly origin: string;
  /** The file, to which paths in the text are relative. */
  readonly path?: string;
}

async function kubeconfigText(file: string | undefined): Promise<KubeconfigText> {
  if (file !== undefined) return { text: await readText(file, "--kubeconfig"), origin: file, path: file };
  const piped = process.stdin.isTTY ? "" : await readStdin();
  if (piped.trim() !== "") return { text: piped, origin: "stdin" };
  const fromEnv = process.env["KUBECONFIG"];
  if (fromEnv !== undefined && fromEnv !== "") {
    return { text: await readText(fromEnv, "KUBECONFIG"), origin: fromEnv, path: fromEnv };
  }
  throw new UserError(
    "no kubeconfig: give --kubeconfig FILE, its text on stdin, or KUBECONFIG; of a cluster stack: pulumi stack output kubeconfig --show-secrets -s STACK",
  );
}

async function readText(file: string, origin: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new UserError(`${origin} names a file that cannot be read: ${describe(error)}`);
  }
}

async function readStdin(): Promise<string> {
  let text = "";
  // Falling back in silence could reach another cluster than the one that was meant.
  const silence = setTimeout(() => {
    process.stderr.write(
      `error: stdin is open but sends nothing for ${stdinSilenceSeconds} s: give --kubeconfig FILE, or close stdin with < /dev/null\n`,
    );
    process.exit(1);
  }, stdinSilenceSeconds * 1000);
  try {
    for await (const chunk of process.stdin.setEncoding("utf8")) {
      clearTimeout(silence);
      text += chunk;
    }
  } finally {
    clearTimeout(silence);
  }
  return text;
}

/** The reader of one experiment's folder. */
export class ResultsReader {
  readonly #kube: KubeClient;
  readonly #base: string;

  constructor(kube: KubeClient, namespace: string, experimentId: string) {
    this.#kube = kube;
    this.#base = `/api/v1/namespaces/${namespace}/services/http:results:8080/proxy/${experimentId}`;
  }

  /** The file's text, or undefined where it is not there yet. */
  async text(path: string): Promise<string | undefined> {
    try {
      return await this.#kube.text(this.#url(path));
    } catch (error) {
      // The API server's own 404 (no such service) is not the reader's.
      if (error instanceof HttpStatusError && error.status === 404 && !isKubernetesStatus(error))
        return undefined;
      throw error;
    }
  }

  async json<T>(path: string): Promise<T | undefined> {
    const text = await this.text(path);
    return text === undefined ? undefined : (JSON.parse(text) as T);
  }

  download(path: string, file: string): Promise<number> {
    return this.#kube.download(this.#url(path), file);
  }

  #url(path: string): string {
    return `${this.#base}/${path.split("/").map(encodeURIComponent).join("/")}`;
  }
}

/** Turns what passes by itself (a restart of the API server, a reader that is not up) into "not yet". */
export class Tolerance {
  #refusals = 0;

  // While an API server starts it may refuse for a moment what it allows later.
  static readonly refusalLimit = 5;

  async look<T>(look: () => Promise<Look<T>>): Promise<Look<T>> {
    try {
      const result = await look();
      this.#refusals = 0;
      return result;
    } catch (error) {
      if (error instanceof HttpStatusError && (error.status === 401 || error.status === 403)) {
        this.#refusals += 1;
        if (this.#refusals < Tolerance.refusalLimit) return missing(`refused: ${short(error)}`);
        throw new UserError(
          `the API server refuses: ${short(error)}; check the kubeconfig's user and its rights`,
        );
      }
      if (error instanceof HttpStatusError && error.status === 404 && isKubernetesStatus(error)) {
        return missing(`not there yet: ${short(error)}`);
      }
      // A SyntaxError: the answer was cut in the middle.
      if (isTransient(error) || error instanceof SyntaxError)
        return missing(`no answer, trying again: ${short(error)}`);
      if (error instanceof Error && isTlsProblem(error)) {
        throw new UserError(`the API server's certificate does not fit the kubeconfig: ${describe(error)}`);
      }
      throw error;
    }
  }
}

/** The error's text with the reader's long address in words. */
function short(error: unknown): string {
  return describe(error).replace(
    /\/api\/v1\/namespaces\/([^/]+)\/services\/http:results:8080\/proxy\//,
    " results reader of namespace $1: ",
  );
}

function isKubernetesStatus(error: HttpStatusError): boolean {
  return /"kind"\s*:\s*"Status"/.test(error.body);
}

function isTlsProblem(error: NodeJS.ErrnoException): boolean {
  return /^(CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/.test(error.code ?? "");
}
