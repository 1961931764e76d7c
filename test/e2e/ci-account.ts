// A CI account of a cluster: its kubeconfig, and the stack through which its experiments know the cluster.
import { readFileSync, writeFileSync } from "node:fs";
import { parse, stringify } from "yaml";
import { accessNamespace } from "../../components/cluster/rbac.ts";
import type { Project } from "./support.ts";

/** Makes stack `ci` from what stack `dev` says without its secrets, and from a token of the account `ci` that ends. */
export async function describeForCi(project: Project): Promise<void> {
  writeFileSync(project.file("dev.json"), JSON.stringify(await project.outputs("dev")));
  const token = ["create", "token", "ci", "-n", accessNamespace, "--duration", "1h"];
  const { stdout } = await project.run("kubectl", token);
  const admin = parse(readFileSync(project.file("kubeconfig"), "utf8")) as {
    readonly users: readonly { readonly name: string }[];
  };
  const users = admin.users.map(({ name }) => ({ name, user: { token: stdout.trim() } }));
  writeFileSync(project.file("ci.kubeconfig"), stringify({ ...admin, users }), { mode: 0o600 });
  await project.init("ci", {
    "llmeval:kind": "cluster",
    "llmeval:outputs": "dev.json",
    "llmeval:kubeconfig": "ci.kubeconfig",
  });
  await project.pulumi("up", "ci", ["--yes", "--skip-preview"], { timeoutMs: 60_000 });
}
