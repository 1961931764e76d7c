// The parts of @pulumi/kubernetes that an experiment uses: its index would load all of them, and those for Helm and YAML.

export type { types } from "@pulumi/kubernetes";
export * as apiextensions from "@pulumi/kubernetes/apiextensions/index.js";
export * as apps from "@pulumi/kubernetes/apps/index.js";
export * as batch from "@pulumi/kubernetes/batch/index.js";
export * as core from "@pulumi/kubernetes/core/index.js";
export { Provider } from "@pulumi/kubernetes/provider.js";
export * as rbac from "@pulumi/kubernetes/rbac/index.js";
