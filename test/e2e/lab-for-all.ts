// The lab of the files that play side by side: up before the first, down after the last.
import { lab } from "./support.ts";

export async function setup(): Promise<void> {
  await lab("down.sh");
  await lab("up.sh", "2", "2");
}

export async function teardown(): Promise<void> {
  await lab("down.sh");
}
