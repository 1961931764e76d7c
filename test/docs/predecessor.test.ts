// docs/predecessor.md: nothing of the predecessor is missing, and everything of ours that it names exists.

import { expect, test } from "vitest";
import { configPathsIn, isConfigPath, knownStackKeys, read, stackKeysIn } from "./support.ts";

const page = "docs/predecessor.md";

/** First cells of the tables' rows, without backticks. */
function theirNames(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .flatMap((line) => (line.split("|")[1] ?? "").split(","))
    .map((cell) => cell.trim().replaceAll("`", ""));
}

const names = {
  parameters: [
    "model_id",
    "exp_type_identifier",
    "exp_global_data_parallelism",
    "ray_service_cpu_per_pod",
    "ray_service_gpu_per_pod",
    "ray_service_memory_per_pod",
    "llm_benchmark_iterations",
    "llm_benchmark_duration",
    "llm_benchmark_target_qps_values",
    "llm_benchmark_concurrent_workers",
    "chaos_experiment_scenario",
    "chaos_anomaly_injection_duration",
    "chaos_anomaly_injection_target_container",
  ],
  playbooks: [
    "install-k3s.yaml",
    "install-nvidia-operator.yaml",
    "install-observability.yaml",
    "install-ray.yaml",
    "execute-experiment.yaml",
    "experiments-smoke-tests.yaml",
    "experiments-rca-anomaly-injections.yaml",
  ],
  tags: ["deploy", "benchmark", "collect-telemetry-data"],
  types: ["Baseline Tests", "Stress Tests", "Network Chaos", "Resource Exhaustion"],
  files: [
    "config_base.yaml",
    "config_vllm.yaml",
    "config_<model-name>.yaml",
    "inventories/",
    "example.inventory.ini",
    "fetched/<experiment-id>/",
    "results/",
    "grafana-configs/",
    "diverse/",
  ],
};

test.each(Object.entries(names))("%s: each has a row", (_, expected) => {
  const found = theirNames(read(page));
  expect(expected.filter((name) => !found.includes(name))).toEqual([]);
});

test("every configuration path exists", () => {
  const paths = configPathsIn(read(page));
  expect(paths.length).toBeGreaterThan(20);
  expect(paths.filter((path) => !isConfigPath(path))).toEqual([]);
  // The check tells right from wrong.
  expect(["load.iteration", "faults[].sort", "loki.modes", "k3s.agents.name"].filter(isConfigPath)).toEqual(
    [],
  );
  expect(["load.iterations", "faults[].kind", "k3s.agents[].accelerators.H100"].every(isConfigPath)).toBe(
    true,
  );
});

test("every key of a stack exists", async () => {
  const known = await knownStackKeys();
  expect(known).toEqual(expect.arrayContaining(["modelId", "kubeconfig", "protectData"]));
  const keys = stackKeysIn(read(page));
  expect(keys.length).toBeGreaterThan(3);
  expect(keys.filter((key) => !known.includes(key))).toEqual([]);
});
