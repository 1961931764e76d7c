// Helm charts: configuration, inputs of a release, and the cache that is filled from a repository on loopback.

import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import * as path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import {
  type ChartRef,
  chartFile,
  chartSchema,
  charts,
  chartsOf,
  toRelease,
} from "../../../../components/cluster/charts/chart.ts";
import { lockFile, readLock } from "../../../../components/cluster/charts/chart-lock.ts";
import { ensureCharts, pullCharts } from "../../../../components/cluster/charts/charts-cache.ts";
import { clusterConfigSchema } from "../../../../components/cluster/config.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { versions } from "../../../../components/versions.ts";
import { temporaryProject } from "../../../stacks/project.ts";

const bytes = "the bytes of a chart";
const sha256 = createHash("sha256").update(bytes).digest("hex");
const other = "f".repeat(64);

interface Repository {
  readonly url: string;
  /** Paths asked for, in order. */
  readonly asked: string[];
}

/** A Helm repository; `answers` replaces what a path answers. */
async function repository(
  answers: Readonly<Record<string, (response: http.ServerResponse) => void>> = {},
): Promise<Repository> {
  const index = `apiVersion: v1
entries:
  app:
    - { name: app, version: 1.2.0, digest: ${sha256}, urls: [app-1.2.0.tgz] }
    - { name: app, version: 1.1.0, digest: ${sha256}, urls: [SERVER/files/app-1.1.0.tgz] }
    - { name: app, version: 1.0.0, urls: [app-1.0.0.tgz] }
    - { name: app, version: 0.9.0, digest: ${sha256}, urls: ["oci://registry.test/app"] }
  lib:
    - { name: lib, version: 2.0.0, digest: ${other}, urls: [lib-2.0.0.tgz] }
`;
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    const name = request.url ?? "";
    asked.push(name);
    const answer = answers[name];
    if (answer !== undefined) {
      answer(response);
    } else if (name === "/charts/index.yaml") {
      response.end(index.replace("SERVER", url));
    } else if (name.endsWith(".tgz")) {
      response.end(bytes);
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `${url}/charts`, asked };
}

function chart(repository: string, more: Partial<ChartRef> = {}): ChartRef {
  return { repository, name: "app", version: "1.2.0", sha256, ...more };
}

function cached(project: string): string[] {
  const folder = path.join(project, ".charts");
  return fs.existsSync(folder) ? fs.readdirSync(folder).sort() : [];
}

/** The message of a failure, with the server's address taken out. */
async function failure(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: "UserError" });
  return (error as Error).message.replace(/127\.0\.0\.1:\d+/g, "SERVER");
}

test("the key `chart` of a section: defaults, overrides, mistakes", () => {
  const schema = z.strictObject({ chart: chartSchema("cilium") });
  expect(schema.parse({})).toEqual({ chart: charts.cilium });
  const given = { repository: "http://mirror.test/charts", version: "v1.2.3-lab", sha256File: "sums" };
  expect(schema.parse({ chart: given })).toEqual({ chart: { ...given, name: "cilium" } });
  expect(() =>
    parseConfig(
      schema,
      { chart: { repository: "oci://x/y", version: "^1.2", sha256: "AB", digest: other } },
      { file: "x.yaml" },
    ),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x.yaml: 4 problems
      - chart.digest: unknown key (allowed: repository, sha256, sha256File, version)
      - chart.repository: expected an http or https address, got "oci://x/y"
      - chart.version: expected an exact chart version, got "^1.2"
      - chart.sha256: expected 64 hex digits in lower case, got "AB"]
  `);
  expect(() =>
    parseConfig(schema, { chart: { sha256, sha256File: "sums" } }, { file: "x.yaml" }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x.yaml: 1 problem
      - chart.sha256File: give at most one of sha256 and sha256File, got both]
  `);
});

test("every chart has its own file, at the version of its part", () => {
  expect(Object.values(charts).map(chartFile)).toEqual([
    `cilium-${versions.cilium}.tgz`,
    `base-${versions.istio}.tgz`,
    `istiod-${versions.istio}.tgz`,
    `cni-${versions.istio}.tgz`,
    `ztunnel-${versions.istio}.tgz`,
    `gpu-operator-${versions.gpuOperator}.tgz`,
    `deepflow-${versions.deepflow}.tgz`,
    `kuberay-operator-${versions.kuberay}.tgz`,
    `chaos-mesh-${versions.chaosMesh}.tgz`,
  ]);
  for (const [key, { version }] of Object.entries(charts)) {
    expect(chartSchema(key as keyof typeof charts).parse({}).version).toBe(version);
  }
});

test("the inputs of a release name no machine and no repository", () => {
  const args = { chart: charts.cilium, name: "cilium", namespace: "kube-system", values: { a: { b: 1 } } };
  expect(toRelease(args)).toEqual({
    name: "cilium",
    namespace: "kube-system",
    chart: `.charts/cilium-${versions.cilium}.tgz`,
    version: versions.cilium,
    values: { a: { b: 1 } },
    timeout: 600,
    skipCrds: false,
    atomic: false,
    maxHistory: 5,
    dependencyUpdate: false,
  });
  expect(toRelease({ ...args, timeoutSeconds: 900, skipCrds: true })).toMatchObject({
    timeout: 900,
    skipCrds: true,
  });
});

test("charts of a configuration: those of parts that are on, in maps too, each once", () => {
  const { cilium, istiod, ztunnel, kuberay } = charts;
  expect(
    chartsOf({
      k3s: undefined,
      storage: { className: "local-path" },
      cilium: { mode: "off", chart: cilium },
      istio: { mode: "on", charts: { istiod, ztunnel }, revision: null },
      kuberay: { mode: "on", chart: kuberay },
      again: { mode: "on", chart: kuberay },
      prometheus: { mode: "external", url: "http://x.test" },
    }),
  ).toEqual([istiod, ztunnel, kuberay]);
  expect(chartsOf(parseConfig(clusterConfigSchema, {}, { file: "x" }))).toContainEqual(kuberay);
});

test("a chart is fetched once; the second time the cache answers, without a network", async () => {
  const { url, asked } = await repository();
  const project = temporaryProject();
  const wanted = [chart(`${url}/`), chart(url, { version: "1.1.0" })];
  await ensureCharts(wanted, { projectDir: project, preview: false, needed: true });
  expect(asked.toSorted()).toEqual(["/charts/app-1.2.0.tgz", "/charts/index.yaml", "/files/app-1.1.0.tgz"]);
  expect(cached(project)).toEqual(["app-1.1.0.tgz", "app-1.2.0.tgz"]);
  expect(fs.readFileSync(path.join(project, ".charts/app-1.2.0.tgz"), "utf8")).toBe(bytes);
  await ensureCharts(wanted, { projectDir: project, preview: true, needed: true });
  expect(asked).toHaveLength(3);
});

test("a cached file of another digest is replaced", async () => {
  const { url } = await repository();
  const project = temporaryProject({ ".charts/app-1.2.0.tgz": "of yesterday" });
  await ensureCharts([chart(url)], { projectDir: project, preview: true, needed: true });
  expect(fs.readFileSync(path.join(project, ".charts/app-1.2.0.tgz"), "utf8")).toBe(bytes);
});

test("a preview of a cluster that is not there yet needs no chart, no pin and no network", async () => {
  const { url, asked } = await repository();
  const project = temporaryProject();
  const wanted = [chart(url), chart(url, { sha256: undefined }), chart(url, { sha256File: ".lab/sums" })];
  await ensureCharts(wanted, { projectDir: project, preview: true, needed: false });
  expect(asked).toEqual([]);
  expect(cached(project)).toEqual([]);
});

test("all problems are reported at once, and nothing is left of what failed", async () => {
  const { url } = await repository({
    "/charts/app-1.0.0.tgz": (response) => void response.writeHead(503).end(),
  });
  const project = temporaryProject({ sums: `${sha256}  app-1.1.0.tgz\n` });
  const wanted = [
    chart(url),
    chart(url, { sha256: other }),
    chart(url, { version: "1.0.0" }),
    chart(url, { version: "0.9.0" }),
    chart(url, { version: "3.0.0" }),
    chart(url, { name: "web" }),
    chart(`${url}/none`),
    chart("http://127.0.0.1:2/charts"),
    chart(url, { name: "lib", version: "2.0.0", sha256: undefined }),
    chart(url, { name: "lib", version: "2.1.0", sha256: undefined, sha256File: "sums" }),
    chart(url, { name: "lib", version: "2.2.0", sha256: undefined, sha256File: "missing" }),
    chart(url, { name: "lib", version: "2.3.0", sha256: "0".repeat(64) }),
  ];
  const message = await failure(
    ensureCharts(wanted.slice(1), { projectDir: project, preview: false, needed: true, cluster: "prod" }),
  );
  expect(message).toMatchInlineSnapshot(`
    "Helm charts: 11 problems
      - app 1.2.0: http://SERVER/charts/app-1.2.0.tgz has sha256 29fedba426ef8c7d4ebc6b6d6920f5a93338e271ec5db12df55a1574149e234a, expected ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff (the cluster's configuration); it was thrown away: find out from the publisher which one is right
      - app 1.0.0: http://SERVER/charts/app-1.0.0.tgz answered 503
      - app 0.9.0: http://SERVER/charts/index.yaml names no http or https address of this version
      - app 3.0.0: http://SERVER/charts/index.yaml does not list this version (it has among others 1.2.0, 1.1.0, 1.0.0)
      - web 1.2.0: http://SERVER/charts/index.yaml does not list this version (it has no chart of this name)
      - app 1.2.0: http://SERVER/charts/none/index.yaml answered 404
      - app 1.2.0: http://SERVER/charts/index.yaml: fetch failed (connect ECONNREFUSED SERVER)
      - lib 2.0.0: no sha256 is pinned in configs/charts.lock.yaml; run \`npx llmeval charts pull -s prod --pin\`, which takes the one that http://SERVER/charts states, and commit the file
      - lib 2.1.0: sha256File sums has no line for lib-2.1.0.tgz
      - lib 2.2.0: sha256File missing cannot be read
      - lib 2.3.0: sha256 is the placeholder; put the sha256 of lib-2.3.0.tgz there
    Where there is no network, copy .charts/ from a machine on which \`npx llmeval charts pull -s prod\` has filled it."
  `);
  expect(cached(project)).toEqual([]);
  await failure(
    ensureCharts(wanted.slice(0, 3).toSpliced(1, 1), { projectDir: project, preview: false, needed: true }),
  );
  expect(cached(project)).toEqual(["app-1.2.0.tgz"]);
});

test("what is no index, a cut connection and a server that hangs are told apart, and leave nothing", async () => {
  const project = temporaryProject();
  const { url } = await repository({
    "/charts/app-1.2.0.tgz": (response) => {
      response.writeHead(200, { "content-length": 1_000_000 });
      response.write("half of it", () => response.destroy());
    },
    "/charts/app-1.0.0.tgz": (response) => void response.write("a part of it"),
    "/page/index.yaml": (response) => void response.end("<html>sign in</html>"),
  });
  const wanted = [chart(url), chart(url, { version: "1.0.0" }), chart(url.replace(/charts$/, "page"))];
  const started = performance.now();
  expect(
    await failure(
      ensureCharts(wanted, { projectDir: project, preview: false, needed: true, timeoutSeconds: 1 }),
    ),
  ).toMatchInlineSnapshot(`
    "Helm charts: 3 problems
      - app 1.2.0: http://SERVER/charts/app-1.2.0.tgz: terminated (other side closed)
      - app 1.0.0: http://SERVER/charts/app-1.0.0.tgz: no complete answer in time
      - app 1.2.0: http://SERVER/page/index.yaml is no index of a Helm repository
    Where there is no network, copy .charts/ from a machine on which \`npx llmeval charts pull\` has filled it."
  `);
  expect(performance.now() - started).toBeLessThan(10_000);
  expect(cached(project)).toEqual([]);
});

test("pinning takes the repository's digest, or that of the file where it states none, once", async () => {
  const { url } = await repository();
  const project = temporaryProject({
    [lockFile]: `charts: [{name: z, version: 1.0.0, repository: x, sha256: ${other}}]`,
  });
  const unpinned = [
    chart(url, { sha256: undefined }),
    chart(url, { version: "1.0.0", sha256: undefined }),
    chart(url, { version: "1.1.0" }),
  ];
  const pulled = await pullCharts(unpinned, { projectDir: project, pin: true });
  expect(pulled.map(({ chart, pinned }) => [chart.version, pinned])).toEqual([
    ["1.2.0", true],
    ["1.0.0", true],
    ["1.1.0", false],
  ]);
  expect(readLock(project)).toEqual([
    { name: "app", version: "1.0.0", repository: url, sha256 },
    { name: "app", version: "1.2.0", repository: url, sha256 },
    { name: "z", version: "1.0.0", repository: "x", sha256: other },
  ]);
  // From now on a mirror must serve the same bytes, and pinning again changes nothing.
  await ensureCharts(unpinned, { projectDir: project, preview: false, needed: true });
  const mirror = await repository({ "/charts/app-1.2.0.tgz": (response) => void response.end("forged") });
  fs.rmSync(path.join(project, ".charts"), { recursive: true });
  const text = fs.readFileSync(path.join(project, lockFile), "utf8");
  expect(
    await failure(pullCharts([chart(mirror.url, { sha256: undefined })], { projectDir: project, pin: true })),
  ).toMatchInlineSnapshot(`
    "Helm charts: 1 problem
      - app 1.2.0: http://SERVER/charts/app-1.2.0.tgz has sha256 ccdd35168ab474fa5764a526cfb83621351e23682c5075b2e18d56bddf96aa30, expected 29fedba426ef8c7d4ebc6b6d6920f5a93338e271ec5db12df55a1574149e234a (configs/charts.lock.yaml); it was thrown away: find out from the publisher which one is right
    Where there is no network, copy .charts/ from a machine on which \`npx llmeval charts pull\` has filled it."
  `);
  expect(fs.readFileSync(path.join(project, lockFile), "utf8")).toBe(text);
  expect(text.split("\n", 4)).toMatchInlineSnapshot(`
    [
      "# Digests of Helm charts: the sha256 of each .tgz, whatever repository or mirror serves it.",
      "# \`npx llmeval charts pull --pin\` adds what is missing and never changes an entry: to accept other bytes under the",
      "# same version, find out why they differ, then remove the entry and pin again.",
      "charts:",
    ]
  `);
});

test("a download that differs from the repository's own digest is not pinned", async () => {
  const { url } = await repository();
  const project = temporaryProject();
  const wanted = [chart(url, { name: "lib", version: "2.0.0", sha256: undefined })];
  expect(await failure(pullCharts(wanted, { projectDir: project, pin: true }))).toMatchInlineSnapshot(`
    "Helm charts: 1 problem
      - lib 2.0.0: http://SERVER/charts/lib-2.0.0.tgz has sha256 29fedba426ef8c7d4ebc6b6d6920f5a93338e271ec5db12df55a1574149e234a, expected ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff (the repository's index); it was thrown away: find out from the publisher which one is right
    Where there is no network, copy .charts/ from a machine on which \`npx llmeval charts pull\` has filled it."
  `);
  expect(readLock(project)).toEqual([]);
  expect(cached(project)).toEqual([]);
});

test("the lock file of the project is valid, and mistakes in one are reported", () => {
  const root = path.resolve(import.meta.dirname, "../../../..");
  const known = Object.values(charts).map(({ name, version }) => `${name} ${version}`);
  for (const { name, version } of readLock(root)) {
    expect(known).toContain(`${name} ${version}`);
  }
  const entry = `{name: a, version: 1.0.0, repository: x, sha256: ${other}}`;
  const read = (text: string) => readLock(temporaryProject({ [lockFile]: text }));
  expect(() => read(`charts: [${entry}, ${entry}]`)).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/charts.lock.yaml: 1 problem
      - charts[1]: a 1.0.0 is there already; keep one of the two entries]
  `);
  expect(() => read(`charts: [{name: b, sha: 1}]`)).toThrowErrorMatchingInlineSnapshot(`
    [UserError: configs/charts.lock.yaml: 4 problems
      - charts[0].sha: unknown key (allowed: name, repository, sha256, version)
      - charts[0].version: missing; expected a string
      - charts[0].repository: missing; expected a string
      - charts[0].sha256: missing; expected a string]
  `);
});
