// `llmeval charts` as a command, and what it prints for a project whose charts come from loopback.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { runCharts } from "../../cli/charts.ts";
import { charts } from "../../components/cluster/charts/chart.ts";
import { temporaryProject } from "../stacks/project.ts";
import { fakeServer, root, run } from "../workloads/support.ts";

const bytes = "the bytes of a chart";
const sha256 = createHash("sha256").update(bytes).digest("hex");

/** A project with one cluster whose KubeRay chart comes from a server on loopback. */
async function project(kuberay: Record<string, unknown> = {}) {
  const file = "kuberay-operator-1.0.0.tgz";
  const server = await fakeServer((_request, url) =>
    url.pathname === "/charts/index.yaml"
      ? {
          json: {
            entries: { "kuberay-operator": [{ version: "1.0.0", digest: sha256, urls: [file] }] },
          },
        }
      : url.pathname === `/charts/${file}`
        ? { body: bytes }
        : undefined,
  );
  const chart = { repository: `${server.url}/charts`, version: "1.0.0" };
  return temporaryProject({
    "configs/clusters/site.yaml": JSON.stringify({ kuberay: { chart, ...kuberay } }),
  });
}

/** What is printed, with the server's address taken out. */
async function printed(work: () => Promise<void>): Promise<string> {
  let text = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    await work();
  } catch (error) {
    text += (error as Error).message;
  } finally {
    spy.mockRestore();
  }
  return text.replace(/127\.0\.0\.1:\d+/g, "SERVER");
}

test("pull refuses what has no pin, pins it when asked, and has it from then on", async () => {
  const projectDir = await project();
  const args = { action: "pull", cluster: "site", projectDir };
  expect(await printed(() => runCharts({ ...args, pin: false }))).toMatchInlineSnapshot(`
    "Helm charts: 1 problem
      - kuberay-operator 1.0.0: no sha256 is pinned in configs/charts.lock.yaml; run \`npx llmeval charts pull -s site --pin\`, which takes the one that http://SERVER/charts states, and commit the file
    Where there is no network, copy .charts/ from a machine on which \`npx llmeval charts pull -s site\` has filled it."
  `);
  expect(existsSync(join(projectDir, ".charts"))).toBe(false);
  expect(await printed(() => runCharts({ ...args, pin: true }))).toMatchInlineSnapshot(`
    "kuberay-operator 1.0.0: fetched from http://SERVER/charts/kuberay-operator-1.0.0.tgz, pinned
    new digests stand in configs/charts.lock.yaml; commit it
    "
  `);
  expect(readFileSync(join(projectDir, ".charts/kuberay-operator-1.0.0.tgz"), "utf8")).toBe(bytes);
  expect(readFileSync(join(projectDir, "configs/charts.lock.yaml"), "utf8")).toContain(`sha256: ${sha256}`);
  expect(await printed(() => runCharts({ ...args, pin: true }))).toBe(
    "kuberay-operator 1.0.0: in .charts/\n",
  );
});

test("a cluster without charts, and one that does not exist", async () => {
  const projectDir = await project({ mode: "off" });
  const pull = (cluster: string) =>
    printed(() => runCharts({ action: "pull", cluster, pin: false, projectDir }));
  expect(await pull("site")).toBe("no part that is on has a chart\n");
  expect(await pull("sit")).toBe(
    'llmeval charts: there is no configs/clusters/sit.yaml; did you mean "site"? available: lab, prod, site',
  );
});

test("the command: help and refusals", async () => {
  const llmeval = (...args: string[]) => run(join(root, "cli/llmeval.ts"), { args: ["charts", ...args] });
  expect(await llmeval("--help")).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "",
      "stdout": "usage: llmeval charts ACTION [options]

    fetch the Helm charts that a cluster's parts need, checked against their pinned digests
    ACTION is pull. Without -s: every chart of the project at its default. \`pulumi up\` does the same by itself.

      -s, --cluster NAME  only the charts of configs/clusters/NAME.yaml
      --pin               pin charts without a digest: take the repository's, and add it to the lock file
      --help              this text
    ",
    }
  `);
  const refused = await Promise.all([llmeval(), llmeval("push", "--pin"), llmeval("pull", "-s", "nowhere")]);
  expect(refused.map(({ status, stderr }) => `${stderr}(${status})`)).toMatchInlineSnapshot(`
    [
      "error: llmeval charts: ACTION is missing; see: llmeval charts --help
    (1)",
      "error: llmeval charts: unknown action "push", known: pull
    (1)",
      "error: llmeval charts: there is no configs/clusters/nowhere.yaml; available: lab, prod
    (1)",
    ]
  `);
});

test("without a cluster every chart of the project is asked for", async () => {
  const projectDir = temporaryProject();
  const text = await printed(() => runCharts({ action: "pull", pin: false, projectDir }));
  for (const { name, version } of Object.values(charts)) {
    expect(text).toContain(`  - ${name} ${version}: no sha256 is pinned in configs/charts.lock.yaml`);
  }
});
