// Entry point of the Pulumi program: one project, two kinds of stack; `llmeval:kind` says which one this stack is.

import "./components/startup.ts"; // before the SDK

import * as pulumi from "@pulumi/pulumi";
import { UserError } from "./components/errors.ts";
import { dispatch } from "./stacks/dispatch.ts";

/** The outputs of the stack. */
export default async function main(): Promise<unknown> {
  try {
    return await dispatch();
  } catch (error) {
    // Pulumi shows a RunError as its message alone, everything else with a stack trace.
    throw error instanceof UserError ? new pulumi.RunError(error.message) : error;
  }
}
