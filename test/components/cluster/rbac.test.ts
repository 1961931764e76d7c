// Roles for people and CI: exact rules, nobody with more than the need, operators with enough for an experiment.

import { expect, test } from "vitest";
import {
  Rbac,
  type RbacConfig,
  rbacSchema,
  toOperators,
  toPolicySpec,
} from "../../../components/cluster/rbac.ts";
import {
  experimentRules,
  operatorRules,
  toOperatorsBinding,
  viewerRules,
} from "../../../components/cluster/rbac-rules.ts";
import { parseConfig } from "../../../components/config-problems.ts";
import { collectorRules, conductorRules, namespaceRules } from "../../../components/experiment/access.ts";
import { rbacCases, rbacOfCases } from "../../e2e/rbac-cases.ts";
import { record } from "../../support/record.ts";

function rbac(value: Readonly<Record<string, unknown>> = {}): RbacConfig {
  return parseConfig(rbacSchema, value, { file: "cluster.yaml" });
}

interface Rule {
  readonly apiGroups?: unknown;
  readonly resources?: unknown;
  readonly resourceNames?: unknown;
  readonly verbs: unknown;
}

/** "verb group/resource" for each single right, with the names that it is limited to. */
function rights(rules: readonly Rule[]): string[] {
  return rules.flatMap((rule) =>
    (rule.verbs as string[]).flatMap((verb) =>
      (rule.apiGroups as string[]).flatMap((group) =>
        (rule.resources as string[]).map(
          (resource) =>
            `${verb} ${group}/${resource}${rule.resourceNames === undefined ? "" : `:${rule.resourceNames}`}`,
        ),
      ),
    ),
  );
}

test("a viewer reads, and reads no secrets", () => {
  expect(viewerRules).toMatchInlineSnapshot(`
    [
      {
        "apiGroups": [
          "",
        ],
        "resources": [
          "namespaces",
          "pods",
          "events",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "",
        ],
        "resources": [
          "pods/log",
        ],
        "verbs": [
          "get",
        ],
      },
      {
        "apiGroups": [
          "events.k8s.io",
        ],
        "resources": [
          "events",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "batch",
        ],
        "resources": [
          "jobs",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "ray.io",
        ],
        "resources": [
          "rayservices",
          "rayclusters",
          "rayjobs",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "chaos-mesh.org",
        ],
        "resources": [
          "iochaos",
          "networkchaos",
          "podchaos",
          "podiochaos",
          "podnetworkchaos",
          "stresschaos",
          "timechaos",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "metrics.k8s.io",
        ],
        "resources": [
          "pods",
          "nodes",
        ],
        "verbs": [
          "get",
          "list",
        ],
      },
      {
        "apiGroups": [
          "",
        ],
        "resourceNames": [
          "http:results:8080",
        ],
        "resources": [
          "services/proxy",
        ],
        "verbs": [
          "get",
        ],
      },
    ]
  `);
  const all = rights(viewerRules);
  expect(all.filter((right) => !/^(get|list|watch) /.test(right))).toEqual([]);
  expect(all.filter((right) => /secrets|configmaps|exec|attach|portforward|\*/.test(right))).toEqual([]);
});

test("an operator's rights outside of experiments", () => {
  expect(operatorRules).toEqual([
    { apiGroups: [""], resources: ["namespaces"], verbs: ["create", "patch", "delete"] },
    {
      apiGroups: ["rbac.authorization.k8s.io"],
      resources: ["rolebindings"],
      resourceNames: ["llmeval-operators"],
      verbs: ["get", "create", "patch"],
    },
    {
      apiGroups: ["rbac.authorization.k8s.io"],
      resources: ["clusterroles"],
      resourceNames: ["llmeval-experiment-operator"],
      verbs: ["bind"],
    },
  ]);
});

test("an operator's rights in an experiment's namespace", () => {
  expect(experimentRules).toMatchInlineSnapshot(`
    [
      {
        "apiGroups": [
          "",
        ],
        "resources": [
          "configmaps",
          "persistentvolumeclaims",
          "secrets",
          "serviceaccounts",
          "services",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
          "create",
          "patch",
          "delete",
        ],
      },
      {
        "apiGroups": [
          "apps",
        ],
        "resources": [
          "deployments",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
          "create",
          "patch",
          "delete",
        ],
      },
      {
        "apiGroups": [
          "batch",
        ],
        "resources": [
          "jobs",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
          "create",
          "patch",
          "delete",
        ],
      },
      {
        "apiGroups": [
          "rbac.authorization.k8s.io",
        ],
        "resources": [
          "roles",
          "rolebindings",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
          "create",
          "patch",
          "delete",
        ],
      },
      {
        "apiGroups": [
          "rbac.authorization.k8s.io",
        ],
        "resources": [
          "roles",
        ],
        "verbs": [
          "bind",
        ],
      },
      {
        "apiGroups": [
          "ray.io",
        ],
        "resources": [
          "rayservices",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
          "create",
          "patch",
          "delete",
        ],
      },
      {
        "apiGroups": [
          "chaos-mesh.org",
        ],
        "resources": [
          "iochaos",
          "networkchaos",
          "podchaos",
          "podiochaos",
          "podnetworkchaos",
          "stresschaos",
          "timechaos",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
          "create",
          "patch",
          "delete",
        ],
      },
      {
        "apiGroups": [
          "",
        ],
        "resources": [
          "pods",
          "pods/log",
          "events",
          "endpoints",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "apps",
        ],
        "resources": [
          "replicasets",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "discovery.k8s.io",
        ],
        "resources": [
          "endpointslices",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "ray.io",
        ],
        "resources": [
          "rayclusters",
        ],
        "verbs": [
          "get",
          "list",
          "watch",
        ],
      },
      {
        "apiGroups": [
          "",
        ],
        "resourceNames": [
          "http:results:8080",
        ],
        "resources": [
          "services/proxy",
        ],
        "verbs": [
          "get",
        ],
      },
    ]
  `);
  expect(rights(experimentRules).filter((right) => /\*|exec|nodes|escalate|impersonate/.test(right))).toEqual(
    [],
  );
});

test("an operator holds every right that an experiment gives its programs", () => {
  const held = rights(experimentRules);
  const conductor = conductorRules({ chaos: true, gpu: true });
  const collector = collectorRules({ chaos: true, gpu: true });
  for (const [program, rules] of Object.entries({ ...namespaceRules, collector, conductor })) {
    const lacking = rights(rules).filter((right) => !held.includes(right));
    // Kubernetes lets nobody give what they do not hold.
    expect([program, lacking]).toEqual([program, []]);
  }
});

test("operators and CI accounts are bound in an experiment's namespace", () => {
  const operators = toOperators(rbac({ ...rbacOfCases }));
  expect(toOperatorsBinding("exp-smoke", operators)).toEqual({
    metadata: { name: "llmeval-operators", namespace: "exp-smoke" },
    subjects: [
      { kind: "Group", name: "operators@test", apiGroup: "rbac.authorization.k8s.io" },
      { kind: "ServiceAccount", name: "ci", namespace: "llmeval-access" },
    ],
    roleRef: {
      apiGroup: "rbac.authorization.k8s.io",
      kind: "ClusterRole",
      name: "llmeval-experiment-operator",
    },
  });
});

test("the policy knows each kind of operator and lets administrators pass", () => {
  const operators = toOperators(
    rbac({
      operators: [
        { kind: "User", name: "a@b" },
        { kind: "Group", name: "ops" },
      ],
      ciAccounts: ["ci"],
    }),
  );
  expect(toPolicySpec(operators)).toMatchInlineSnapshot(`
    {
      "failurePolicy": "Fail",
      "matchConditions": [
        {
          "expression": "!("system:masters" in request.userInfo.groups) && (request.userInfo.username in ["a@b","system:serviceaccount:llmeval-access:ci"] || request.userInfo.groups.exists(group, group in ["ops"]))",
          "name": "operator",
        },
      ],
      "matchConstraints": {
        "resourceRules": [
          {
            "apiGroups": [
              "",
            ],
            "apiVersions": [
              "*",
            ],
            "operations": [
              "CREATE",
              "UPDATE",
              "DELETE",
            ],
            "resources": [
              "namespaces",
            ],
          },
          {
            "apiGroups": [
              "rbac.authorization.k8s.io",
            ],
            "apiVersions": [
              "*",
            ],
            "operations": [
              "CREATE",
              "UPDATE",
            ],
            "resources": [
              "rolebindings",
            ],
          },
        ],
      },
      "validations": [
        {
          "expression": "request.resource.resource == "namespaces" ? (object == null ? request.name : object.metadata.name).startsWith("exp-") : request.namespace.startsWith("exp-")",
          "message": "operators work in namespaces of experiments only: their names begin with exp-",
        },
      ],
    }
  `);
});

test("the objects of the part", async () => {
  const program = (config: RbacConfig) =>
    record(
      () => {
        new Rbac("rbac", { config });
        return {};
      },
      { config: {}, stack: "dev" },
    );
  const list = async (config: RbacConfig) =>
    (await program(config)).resources
      .filter(({ type }) => type !== "pulumi:pulumi:Stack")
      .map(({ type, name }) => `${type.split(":").at(-1)} ${name}`);
  expect(await list(rbac())).toEqual([
    "ValidatingAdmissionPolicy rbac-policy",
    "ValidatingAdmissionPolicyBinding rbac-policy",
    "ClusterRole rbac-experiment",
    "ClusterRole rbac-nodeReader",
    "ClusterRole rbac-operator",
    "ClusterRole rbac-viewer",
    "ClusterRoleBinding rbac-nodeReader",
    "Rbac rbac",
  ]);
  const { resources } = await program(rbac({ ...rbacOfCases }));
  const bindings = resources
    .filter(({ type }) => type.endsWith(":ClusterRoleBinding"))
    .map(({ inputs }) => [
      (inputs["roleRef"] as { name: string }).name,
      (inputs["subjects"] as { name: string }[]).map(({ name }) => name),
    ]);
  expect(bindings).toEqual([
    ["llmeval-node-reader", ["system:serviceaccounts"]],
    ["llmeval-operator", ["operators@test", "ci"]],
    ["llmeval-viewer", ["viewer@test", "operators@test", "ci"]],
  ]);
  expect(
    resources.filter(({ type }) => type.endsWith(":ServiceAccount")).map(({ inputs }) => inputs),
  ).toEqual([
    {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: {
        name: "ci",
        namespace: "llmeval-access",
        labels: { "app.kubernetes.io/name": "rbac", "app.kubernetes.io/part-of": "llm-serving-eval" },
      },
      automountServiceAccountToken: false,
    },
  ]);
});

test("bad input is refused with what is allowed", () => {
  const bad = {
    viewers: [{ kind: "group", name: "a" }],
    operators: [
      { kind: "Group", name: "system:authenticated" },
      { kind: "ServiceAccount", name: "ci" },
    ],
    ciAccounts: ["CI"],
  };
  expect(() => rbac(bad)).toThrowErrorMatchingInlineSnapshot(`
    [UserError: cluster.yaml: 4 problems
      - viewers[0].kind: "group" is not allowed; did you mean "Group"? allowed: Group, User, ServiceAccount
      - operators[0].name: expected a name that is not one of Kubernetes's own (system:...), got "system:authenticated"
      - operators[1].namespace: missing; expected a string
      - ciAccounts[0]: expected a DNS label (a-z, 0-9, -), got "CI"]
  `);
});

test("each question is asked once", () => {
  const questions = rbacCases("exp-smoke").map((one) => one.slice(0, 4).join(" "));
  expect(questions.filter((question, index) => questions.indexOf(question) !== index)).toEqual([]);
  expect(questions.length).toBeGreaterThan(150);
});
