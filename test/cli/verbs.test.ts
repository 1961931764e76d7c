// What the verbs come to, and what they refuse, without pulumi.

import { expect, test } from "vitest";
import { runOf } from "../../cli/stack-state.ts";
import { checkOptions, planStep, stackOf } from "../../cli/verbs.ts";
import type { Step } from "../../experiments/settings.ts";
import { root, run } from "../workloads/support.ts";

const urn = (type: string, name: string) => `urn:pulumi:exp-smoke::llm-serving-eval::parent$${type}::${name}`;

function job(role: string, id: string) {
  const type = "kubernetes:batch/v1:Job";
  const labels = { "app.kubernetes.io/name": role, "llmeval/experiment-id": id };
  return { urn: urn(type, `smoke-${role}-${id}`), type, inputs: { metadata: { labels } } };
}

function command(name: string) {
  const type = "command:local:Command";
  return { urn: urn(type, name), type, inputs: {} };
}

const state = (...resources: ReturnType<typeof command>[]) => ({ deployment: { resources } });
const first = "smoke-r1-3f9ac2";
const tenth = "smoke-r10-3f9ac2";

test("the state tells which run is there and how far it is", () => {
  expect(runOf({})).toBeUndefined();
  expect(runOf(state(command("other"), job("gate", first)))).toBeUndefined();
  expect(runOf(state(job("gate", first), job("load", first), command(`t0-${first}`)))).toEqual({
    experimentId: first,
    run: 1,
    played: false,
    collection: [],
  });
  // While one run follows another, both are there.
  const nine = "smoke-r9-3f9ac2";
  const both = state(
    ...[job("load", tenth), job("collector", tenth), command(`load-${tenth}`), command(`results-${tenth}`)],
    ...[job("load", nine), job("collector", nine)],
  );
  expect(runOf(both)).toEqual({
    experimentId: tenth,
    run: 10,
    played: true,
    collection: [
      urn("kubernetes:batch/v1:Job", `smoke-collector-${tenth}`),
      urn("command:local:Command", `results-${tenth}`),
    ],
  });
});

const args = { name: "exp-smoke", config: [], debug: false };
const played = { experimentId: first, run: 1, played: true, collection: ["c", "r"] };
const playing = { ...played, played: false };

test.each([
  ["deploy", undefined, 1, ["llmeval:steps=deploy"], []],
  ["benchmark", undefined, 1, ["llmeval:steps=benchmark"], []],
  ["benchmark", played, 1, ["llmeval:steps=benchmark", "llmeval:run=2"], []],
  ["benchmark", played, 5, ["llmeval:steps=benchmark", "llmeval:run=5"], []],
  ["benchmark", playing, 1, ["llmeval:steps=benchmark", "llmeval:run=1"], []],
  ["collect", playing, 5, ["llmeval:steps=collect", "llmeval:run=1"], ["c", "r"]],
  ["collect", { ...played, collection: [] }, 1, ["llmeval:steps=collect", "llmeval:run=1"], []],
] as const)(
  "%s where %j is there and the stack says run %i",
  (step, present, configured, settings, renewed) => {
    expect(planStep(step, args, present, configured)).toEqual({ settings, renewed });
  },
);

test("what is given wins, and the step is not to be overridden", () => {
  const given = { ...args, run: "7", config: ["llmeval:steps=deploy", "llmeval:modelId=phi-4"], debug: true };
  expect(planStep("collect", given, played, 1)).toEqual({
    settings: [
      ...["llmeval:steps=deploy", "llmeval:modelId=phi-4"],
      ...["llmeval:steps=collect", "llmeval:run=7", "llmeval:debug=true"],
    ],
    renewed: [],
  });
});

test("a step that would go back, or has nothing to collect, is refused", () => {
  const text = (step: Step, present: typeof played | undefined) => {
    try {
      return planStep(step, args, present, 1);
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect([
    text("deploy", played),
    text("deploy", playing),
    text("collect", undefined),
  ]).toMatchInlineSnapshot(`
    [
      "exp-smoke has gone further than deploy: its engine is there, and smoke-r1-3f9ac2 has been played; nothing was changed. Play again by: npx llmeval benchmark smoke; take it down by: npx llmeval delete smoke",
      "exp-smoke has gone further than deploy: its engine is there, and smoke-r1-3f9ac2 is being played, or was cut; nothing was changed. Play again by: npx llmeval benchmark smoke; take it down by: npx llmeval delete smoke",
      "exp-smoke has no run to collect; play one by: npx llmeval benchmark smoke, or everything by: pulumi up -s exp-smoke",
    ]
  `);
});

test("names of stacks", () => {
  expect(["smoke", "exp-smoke"].map(stackOf)).toEqual(["exp-smoke", "exp-smoke"]);
  expect(() => stackOf("a".repeat(39))).not.toThrow();
  for (const name of ["", "Smoke", "../x", "-x", "a".repeat(40)])
    expect(() => stackOf(name)).toThrow("is no name");
});

test("options are checked all at once", () => {
  expect(() => checkOptions({ verb: "deploy", config: ["llmeval:modelId=phi-4", "a:b="] })).not.toThrow();
  expect(() =>
    checkOptions({ verb: "collect", run: "0", config: ["modelId=phi-4", "x"] }),
  ).toThrowErrorMatchingInlineSnapshot(
    `[UserError: llmeval collect: --run is "0", allowed: a whole number from 1; --config is "modelId=phi-4", allowed: KEY=VALUE, e.g. llmeval:modelId=phi-4; --config is "x", allowed: KEY=VALUE, e.g. llmeval:modelId=phi-4]`,
  );
});

test("arguments that cannot be understood", async () => {
  const calls = [
    ["deploy"],
    ["deploy", "smoke", "-s", "exp-smoke"],
    ["deploy", "smoke", "more"],
    ["deploy", "smoke", "--run", "2"],
    ["benchmark", "Smoke_1"],
    ["benchmark", "smoke", "--run", "x", "-c", "y"],
    ["collect", "smoke", "--cluster"],
    ["delete", "smoke", "--debug"],
    ["delete", "--help"],
    // PATH is empty there: no pulumi.
    ["delete", "smoke"],
  ];
  const texts = await Promise.all(
    calls.map(async (args) => {
      const { status, stdout, stderr } = await run(`${root}/cli/llmeval.ts`, { args, env: { PATH: "" } });
      return `$ llmeval ${args.join(" ")}\n${stdout}${stderr}(${status})`;
    }),
  );
  expect(texts.join("\n")).toMatchInlineSnapshot(`
    "$ llmeval deploy
    error: llmeval deploy: NAME is missing; see: llmeval deploy --help
    (1)
    $ llmeval deploy smoke -s exp-smoke
    error: llmeval deploy: NAME and --stack are both given; give one of them
    (1)
    $ llmeval deploy smoke more
    error: llmeval deploy: unexpected argument more; see: llmeval deploy --help
    (1)
    $ llmeval deploy smoke --run 2
    error: llmeval deploy: unknown option '--run'; see: llmeval deploy --help
    (1)
    $ llmeval benchmark Smoke_1
    error: "Smoke_1" is no name of an experiment, allowed: a-z, 0-9 and -, at most 39 characters, with or without exp-
    (1)
    $ llmeval benchmark smoke --run x -c y
    error: llmeval benchmark: --run is "x", allowed: a whole number from 1; --config is "y", allowed: KEY=VALUE, e.g. llmeval:modelId=phi-4
    (1)
    $ llmeval collect smoke --cluster
    error: llmeval collect: option '--cluster <value>' argument missing; see: llmeval collect --help
    (1)
    $ llmeval delete smoke --debug
    error: llmeval delete: unknown option '--debug'; see: llmeval delete --help
    (1)
    $ llmeval delete --help
    usage: llmeval delete [NAME] [options]

    take an experiment down; fetched results stay
    The same as: pulumi destroy -s exp-NAME

      -s, --stack STACK  the stack, in place of NAME
      -y, --yes          ask nothing
      --preview          show what would be done, and do nothing
      --remove           remove the stack too; its file stays
      --help             this text
    (0)
    $ llmeval delete smoke
    error: pulumi is not on PATH; in this project: eval "$(make env)"
    (1)"
  `);
});
