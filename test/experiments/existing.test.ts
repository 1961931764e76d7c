// Engine `existing`: address and model name, and what cannot be asked of an engine of others.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { existingUrl, servedModel } from "../../experiments/existing.ts";
import { resolveExperiment, tryResolve } from "../../experiments/resolve.ts";
import { makeProject, projectDir } from "./project.ts";

const override = (values: Readonly<Record<string, unknown>>) => ({
  projectDir,
  name: "smoke-cpu-stress",
  overrides: [{ file: "test", values }],
});

test.each(["http://vllm.models.svc:8000", "http://vllm.models.svc:8000/", "http://vllm.models.svc:8000/v1/"])(
  "%s is the service's address",
  (url) => {
    const experiment = resolveExperiment(
      override({ engine: "existing", existing: { url, model: "served/name" }, faults: [] }),
    );
    expect(existingUrl(experiment)).toBe("http://vllm.models.svc:8000");
    expect(servedModel(experiment)).toBe("served/name");
    expect(servedModel({ ...experiment, existing: { url, model: null } })).toBe("falcon-h1-7b-instruct");
    expect(experiment.resources.worker).toEqual({ cpu: "0", memory: "0" });
  },
);

test("another engine is not asked for by what stands in `existing`", () => {
  const existing = { url: "http://vllm.models.svc:8000", model: "served/name" };
  const experiment = resolveExperiment(override({ existing }));
  expect([existingUrl(experiment), servedModel(experiment)]).toEqual([undefined, "falcon-h1-7b-instruct"]);
});

test("the example of the documentation is one", () => {
  const page = readFileSync(join(projectDir, "docs/debugging.md"), "utf8");
  const text = /^```yaml\n# (experiments\/theirs\.yaml\n[\s\S]*?)^```$/m.exec(page)?.[1] ?? "";
  const project = makeProject({ "experiments/theirs.yaml": `# ${text}` });
  expect(tryResolve({ projectDir: project, name: "theirs" }).problems).toEqual([]);
});

test("what an engine of others cannot do, or has not been told", () => {
  const url = "http://vllm.models.svc:8000";
  const wrong = [
    { engine: "existing" },
    { engine: "existing", existing: { url: "vllm:8000", model: "" }, faults: [] },
    { engine: "existing", existing: { url: "ftp://vllm" }, faults: [] },
    { engine: "existing", existing: { url }, faults: [], serve: { via: "entry" } },
  ];
  const problems = wrong.flatMap((values) => tryResolve(override(values)).problems);
  expect(problems.map(({ file, path, text }) => `${file}: ${path}: ${text}`)).toMatchInlineSnapshot(`
    [
      "configs/base.yaml: existing.url: missing; with engine existing give the service's address inside the cluster, e.g. http://vllm.models.svc:8000",
      "experiments/smoke-cpu-stress.yaml: faults[0].target: is {"replica":0}, but with engine existing this stack has no Ray pods that cpu could act on; remove the fault, or choose another engine",
      "test: existing.url: is "vllm:8000", allowed: the address of an OpenAI-compatible service inside the cluster, e.g. http://vllm.models.svc:8000",
      "test: existing.model: is "", allowed: at least 1 characters; give the service's name for the model, or null for modelId",
      "test: existing.url: is "ftp://vllm", allowed: the address of an OpenAI-compatible service inside the cluster, e.g. http://vllm.models.svc:8000",
      "test: serve.via: is entry, which leads to engines of this cluster's stacks; allowed with engine existing: service",
    ]
  `);
});
