// Image references: defaults, overrides, mistakes in the file.

import * as path from "node:path";
import { expect, test } from "vitest";
import { resolveImages, toRepositoryAndTag } from "../../../components/cluster/images.ts";
import { images as defaults } from "../../../components/versions.ts";
import { temporaryProject } from "../../stacks/project.ts";

function resolve(files: Record<string, string>, preview = false): { images: unknown; warnings: string[] } {
  const warnings: string[] = [];
  const absolutePath = path.join(temporaryProject(files), "images.json");
  const images = resolveImages({
    absolutePath,
    file: "images.json",
    preview,
    warn: (text) => void warnings.push(text),
  });
  return { images, warnings };
}

test("overrides replace defaults key by key; keys of other images are ignored", () => {
  const text = JSON.stringify({
    load: "10.0.0.9:5000/load@sha256:aa",
    coredns: "10.0.0.9:5000/coredns@sha256:bb",
  });
  expect(resolve({ "images.json": text })).toEqual({
    images: { ...defaults, load: "10.0.0.9:5000/load@sha256:aa" },
    warnings: [],
  });
});

test("a missing file stops `up` and only warns in a preview", () => {
  expect(() => resolve({})).toThrowErrorMatchingInlineSnapshot(
    `[UserError: imagesFile images.json cannot be read (ENOENT); create it (key -> reference by digest) or remove imagesFile]`,
  );
  expect(resolve({}, true)).toEqual({
    images: defaults,
    warnings: ["imagesFile images.json cannot be read (ENOENT); this preview shows the default images"],
  });
});

test("mistakes in the file are named", () => {
  expect(() => resolve({ "images.json": '{"promethues": "x"}' })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: images.json: 1 problem
      - promethues: unknown key; did you mean "prometheus"?]
  `);
  expect(() => resolve({ "images.json": '{"load": 1}' })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: images.json: 1 problem
      - load: expected a string, got 1]
  `);
});

test("references are split so that repository:tag gives them back", () => {
  for (const reference of ["quay.io/a/b:v1", "10.0.0.9:5000/a@sha256:0123", "localhost:5000/a/b:1.2"]) {
    const { repository, tag } = toRepositoryAndTag(reference);
    expect(`${repository}:${tag}`).toBe(reference);
  }
  expect(toRepositoryAndTag("10.0.0.9:5000/a")).toEqual({ repository: "10.0.0.9:5000/a", tag: "latest" });
});
