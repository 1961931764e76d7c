// Pins of downloads: the sha256 that a file must have, from the configuration or from a file in sha256sum's format.

import * as fs from "node:fs";
import type * as z from "zod";
import { UserError } from "../../errors.ts";
import { resolvePath, type SshContext } from "../hosts/ssh.ts";
import { sha256Schema } from "./part.ts";

/** A download that the user has not pinned yet; a preview may show it, an install may not. */
const placeholderSha256 = "0".repeat(64);

/** Reports a section that gives both keys. */
export function checkPin(
  section: { readonly sha256?: string; readonly sha256File?: string },
  context: z.core.$RefinementCtx,
): void {
  if (section.sha256 !== undefined && section.sha256File !== undefined) {
    const message = "give at most one of sha256 and sha256File, got both";
    context.addIssue({ code: "custom", path: ["sha256File"], message });
  }
}

export interface PinArgs {
  /** What stands before the key in messages, e.g. `k3s.binary.`. */
  readonly prefix: string;
  /** Name of the download in a file of sums. */
  readonly fileName: string;
  /** What to take the sha256 of, for messages. */
  readonly address: string;
  readonly sha256?: string;
  readonly sha256File?: string;
}

/** The pinned sha256, what is wrong with the pin, or undefined when the configuration gives none. */
export function readPin(
  args: PinArgs,
  projectDir: string,
): { sha256: string } | { problem: string } | undefined {
  const { prefix, fileName, address, sha256, sha256File } = args;
  if (sha256 === placeholderSha256) {
    return { problem: `${prefix}sha256 is the placeholder; put the sha256 of ${address} there` };
  }
  if (sha256 !== undefined) {
    return { sha256 };
  }
  if (sha256File === undefined) {
    return undefined;
  }
  let text: string;
  try {
    text = fs.readFileSync(resolvePath(sha256File, projectDir), "utf8");
  } catch {
    return { problem: `${prefix}sha256File ${sha256File} cannot be read` };
  }
  const lines = text.split("\n").map((line) => line.trim().split(/\s+\*?/));
  const found = lines.find(([, file]) => file === fileName)?.[0];
  return sha256Schema.safeParse(found).success
    ? { sha256: found as string }
    : { problem: `${prefix}sha256File ${sha256File} has no line for ${fileName}` };
}

/** The sha256 of a download that a host fetches. A preview only warns where `up` needs a better pin. */
export function resolvePin(args: PinArgs, context: SshContext): string {
  const pin = readPin(args, context.projectDir) ?? {
    problem: `${args.prefix}sha256 is missing; put the sha256 of ${args.address} there`,
  };
  if ("sha256" in pin) {
    return pin.sha256;
  }
  if (!context.preview) {
    throw new UserError(pin.problem);
  }
  context.warn(`${pin.problem}; fine for a preview, \`pulumi up\` needs it`);
  return placeholderSha256;
}

/** The last part of an address's path, as a file of sums names it. */
export function fileNameOf(address: string): string {
  return decodeURIComponent(new URL(address).pathname.split("/").at(-1) ?? "");
}
