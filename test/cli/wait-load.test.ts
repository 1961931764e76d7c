// `llmeval load`, and what every wait that fails says: how to look in.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  fakeServer,
  type Result,
  root,
  run,
  stable,
  startReader,
  temporaryFolder,
} from "../workloads/support.ts";

const id = "smoke-r1-3f9ac2";
const own = "/api/v1/namespaces/exp-smoke";

const failed = { type: "Failed", status: "True", reason: "BackoffLimitExceeded", message: "backoff limit" };
const complete = { type: "Complete", status: "True" };

interface Cluster {
  /** Folder of the run on the volume. */
  readonly volume: string;
  readonly call: (wait: string, ...options: string[]) => Promise<Result>;
}

/** A namespace with these Jobs by their role, whose logs are `ROLE line 1` and so on. */
async function cluster(jobs: Readonly<Record<string, unknown[]>>): Promise<Cluster> {
  const results = temporaryFolder();
  const volume = join(results, id);
  mkdirSync(join(volume, "load"), { recursive: true });
  const reader = await startReader(results);
  const roles = Object.keys(jobs);
  const server = await fakeServer(async (_request, url) => {
    const proxy = `${own}/services/http:results:8080/proxy`;
    if (url.pathname.startsWith(proxy)) {
      const answer = await fetch(`${reader}${url.pathname.slice(proxy.length)}`);
      return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
    }
    if (url.pathname === `${own}/pods`) {
      return {
        json: {
          items: roles.map((role) => ({
            metadata: { name: `${role}-x1`, labels: { "batch.kubernetes.io/job-name": `${role}-${id}` } },
            spec: { containers: [{ name: role }] },
            status: { phase: "Failed" },
          })),
        },
      };
    }
    if (url.pathname === "/apis/batch/v1/namespaces/exp-smoke/jobs") {
      return {
        json: {
          items: roles.map((role) => ({
            metadata: {
              name: `${role}-${id}`,
              labels: { "app.kubernetes.io/name": role, "llmeval/experiment-id": id },
            },
            status: { conditions: jobs[role] },
          })),
        },
      };
    }
    const role = /pods\/(\w+)-x1\/log$/.exec(url.pathname)?.[1];
    return role === undefined ? undefined : { body: `${role} line 1\n${role} line 2\n` };
  });
  const kubeconfig = JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    clusters: [{ name: "c", cluster: { server: server.url } }],
    users: [{ name: "u", user: { token: "t" } }],
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
  });
  const common = ["--namespace", "exp-smoke", "--experiment-id", id, "--poll-seconds", "0.05"];
  return {
    volume,
    call: (wait, ...options) =>
      run(`${root}/cli/llmeval.ts`, {
        args: [wait, ...common, "--timeout-seconds", "10", ...options],
        stdin: kubeconfig,
      }),
  };
}

test("the load's end, with what it sent and how late", async () => {
  const { volume, call } = await cluster({ gate: [complete], load: [] });
  const report = {
    endedUnixNs: "1700000041000000000",
    requests: { scheduled: 80, sent: 80, ok: 78, failed: 2 },
    lagNs: { p99: 420_000 },
    aborted: false,
    abortReason: null,
  };
  writeFileSync(join(volume, "load/load.json"), JSON.stringify(report));
  const ended = await call("load");
  expect({
    ...ended,
    stdout: JSON.parse(ended.stdout),
    stderr: stable(ended.stderr),
  }).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "the load of smoke-r1-3f9ac2 ended at 2023-11-14T22:14:01.000000000Z: 80 of 80 requests sent, 2 failed, lag p99 0.42 ms
    ",
      "stdout": {
        "abortReason": null,
        "aborted": false,
        "lagP99Ms": 0.42,
        "requests": {
          "failed": 2,
          "ok": 78,
          "scheduled": 80,
          "sent": 80,
        },
      },
    }
  `);

  const aborted = {
    ...report,
    endedUnixNs: null,
    lagNs: null,
    aborted: true,
    abortReason: "the engine is dead",
  };
  writeFileSync(join(volume, "load/load.json"), JSON.stringify(aborted));
  const text = await call("load");
  expect([text.status, stable(text.stderr)]).toMatchInlineSnapshot(`
    [
      0,
      "the load of smoke-r1-3f9ac2 was aborted (the engine is dead): 80 of 80 requests sent, 2 failed
    ",
    ]
  `);
});

test("a load that fails says how to look in; with --keep-going it is told, and no error", async () => {
  const { volume, call } = await cluster({ gate: [complete], load: [failed], collector: [] });
  writeFileSync(join(volume, "timeline.json"), "{}");
  const [plain, debug, going] = await Promise.all([
    call("load"),
    call("load", "--debug"),
    call("load", "--keep-going"),
  ]);
  expect(`${stable(plain.stderr)}(${plain.status})`).toMatchInlineSnapshot(`
    "load: pod Failed
    error: Job load-smoke-r1-3f9ac2 in namespace exp-smoke has failed (BackoffLimitExceeded: backoff limit); last lines of its log:
      load line 1
      load line 2
    look in (kubeconfig: pulumi stack output kubeconfig --show-secrets -s CLUSTER):
      kubectl -n exp-smoke get pods -o wide
      kubectl -n exp-smoke get events --sort-by=.metadata.creationTimestamp
      kubectl -n exp-smoke logs job/gate-smoke-r1-3f9ac2
      kubectl -n exp-smoke logs job/load-smoke-r1-3f9ac2
      kubectl -n exp-smoke logs job/conductor-smoke-r1-3f9ac2
      kubectl -n exp-smoke logs job/collector-smoke-r1-3f9ac2
      kubectl get --raw /api/v1/namespaces/exp-smoke/services/http:results:8080/proxy/smoke-r1-3f9ac2/
      npx llmeval status --namespace exp-smoke --experiment-id smoke-r1-3f9ac2
    what each of them shows, and how to play on: docs/debugging.md
    (1)"
  `);
  const added = debug.stderr.slice(debug.stderr.indexOf("docs/debugging.md"));
  expect(added).toMatchInlineSnapshot(`
    "docs/debugging.md
    last lines of gate:
      gate line 1
      gate line 2
    last lines of load:
      load line 1
      load line 2
    last lines of collector:
      collector line 1
      collector line 2
    "
  `);
  expect({ ...going, stderr: stable(going.stderr) }).toMatchInlineSnapshot(`
    {
      "status": 0,
      "stderr": "load: pod Failed
    Job load-smoke-r1-3f9ac2 in namespace exp-smoke has failed (BackoffLimitExceeded: backoff limit); last lines of its log:
      load line 1
      load line 2
    ",
      "stdout": "null
    ",
    }
  `);
});

test("a load that is complete but has left no report is an error", async () => {
  const { volume, call } = await cluster({ gate: [complete], load: [complete] });
  writeFileSync(join(volume, "timeline.json"), "{}");
  const { status, stderr } = await call("load");
  expect([status, stderr.split("\n").find((line) => line.startsWith("error:"))]).toEqual([
    1,
    `error: Job load-${id} in namespace exp-smoke is complete, but has left no load/load.json`,
  ]);
});

test("waits for T0 and for results say it too", async () => {
  const { call } = await cluster({ gate: [failed] });
  const output = ["--output", temporaryFolder()];
  const ended = await Promise.all([call("t0"), call("results", ...output)]);
  for (const { status, stderr } of ended) {
    expect(status).toBe(1);
    expect(stderr).toContain(`kubectl -n exp-smoke logs job/gate-${id}\n`);
    expect(stderr).toContain(`npx llmeval status --namespace exp-smoke --experiment-id ${id}\n`);
  }
});
