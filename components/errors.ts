// The one class for errors that a user can mend: its message says what is wrong, where, and what to do.

/** An error whose message is meant for the user; it is shown without a stack trace. */
export class UserError extends Error {
  override readonly name = "UserError";
  /** How Pulumi knows its own RunError: it shows the message alone, also for an error from inside an apply. */
  readonly __pulumiRunError = true;
}
