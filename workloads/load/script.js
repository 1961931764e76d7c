// Plays the load spec with the extension k6/x/llmeval: one virtual user per worker.
import llmeval from "k6/x/llmeval";

const plan = llmeval.plan(__ENV.LLMEVAL_LOAD_SPEC ?? "/config/load.json");

export const options = {
  scenarios: {
    load: {
      executor: plan.executor,
      vus: plan.played ? 1 : plan.workers,
      iterations: plan.played ? 1 : plan.iterations,
      maxDuration: `${Math.ceil(plan.maxDurationSeconds)}s`,
      gracefulStop: `${Math.ceil(plan.requestTimeoutSeconds)}s`,
    },
  },
  setupTimeout: `${Math.ceil(plan.t0TimeoutSeconds) + 60}s`,
  teardownTimeout: "120s",
};

export function setup() {
  if (plan.played) {
    console.log("load.json says that this experiment has been played: nothing to do");
    return;
  }
  console.log(llmeval.prepare());
}

export default function () {
  if (!plan.played) {
    llmeval.play();
  }
}

export function teardown() {
  if (!plan.played) {
    console.log(llmeval.finish());
  }
}
