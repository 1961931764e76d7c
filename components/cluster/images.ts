// Resolves the image references of a cluster: the defaults, overridden by the configuration's `imagesFile`.

import * as fs from "node:fs";
import * as z from "zod";
import { parseConfig } from "../config-problems.ts";
import { UserError } from "../errors.ts";
import { nearest } from "../spelling.ts";
import { images as defaultImages, type Images } from "../versions.ts";

/** Where the references come from and how to treat a missing file. */
export interface ResolveImagesArgs {
  /** Absolute path of a JSON map from image key to reference. @default none: only the defaults */
  readonly absolutePath?: string;
  /** The path as the user wrote it, for messages. */
  readonly file?: string;
  /** In a preview a missing file only warns: it may be made by a later step. */
  readonly preview: boolean;
  readonly warn: (message: string) => void;
}

const fileSchema = z.record(z.string(), z.string().min(1));

/** The reference for every image key. */
export function resolveImages(args: ResolveImagesArgs): Images {
  if (args.absolutePath === undefined) {
    return defaultImages;
  }
  const file = args.file ?? args.absolutePath;
  let text: string;
  try {
    text = fs.readFileSync(args.absolutePath, "utf8");
  } catch (error) {
    const message = `imagesFile ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`;
    if (args.preview) {
      args.warn(`${message}; this preview shows the default images`);
      return defaultImages;
    }
    throw new UserError(`${message}; create it (key -> reference by digest) or remove imagesFile`);
  }
  return mergeImages(parseJson(text, file), file);
}

/** Overrides the defaults; a misspelt key is an error, the keys of other images in the same registry are not. */
function mergeImages(overrides: Record<string, string>, file: string): Images {
  const known = Object.keys(defaultImages);
  const unknown = Object.keys(overrides).filter((key) => !known.includes(key));
  const misspelt = unknown.flatMap((key) => {
    const free = known.filter((name) => !(name in overrides));
    const hint = nearest(key, free);
    return hint === undefined ? [] : [`  - ${key}: unknown key; did you mean "${hint}"?`];
  });
  if (misspelt.length > 0) {
    throw new UserError(
      `${file}: ${misspelt.length} problem${misspelt.length === 1 ? "" : "s"}\n${misspelt.join("\n")}`,
    );
  }
  return Object.fromEntries(
    Object.entries(defaultImages).map(([key, reference]) => [key, overrides[key] ?? reference]),
  ) as unknown as Images;
}

function parseJson(text: string, file: string): Record<string, string> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: not valid JSON (${(error as Error).message})`);
  }
  return parseConfig(fileSchema, value, { file });
}

/**
 * Splits a reference for charts that render `{repository}:{tag}`. A digest is split behind `@sha256`, so that the
 * chart's own concatenation gives `repository@sha256:hex` again.
 */
export function toRepositoryAndTag(reference: string): { repository: string; tag: string } {
  const colon = reference.lastIndexOf(":");
  if (colon <= reference.lastIndexOf("/")) {
    return { repository: reference, tag: "latest" };
  }
  return { repository: reference.slice(0, colon), tag: reference.slice(colon + 1) };
}
