// The Gateway API part: pins, the command on the server, and its script with stand-ins for curl and k3s.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import {
  GatewayApi,
  gatewayApiSchema,
  resolveGatewayApiSha256,
  toGatewayApiCommands,
} from "../../../../components/cluster/network/gateway-api.ts";
import { parseConfig } from "../../../../components/config-problems.ts";
import { temporaryProject } from "../../../stacks/project.ts";
import { record } from "../../../support/record.ts";

const defaultSha256 = "24d931f22abd8e40c973264319ead7cfa09d0fb7716b7ab1ee2ff174cb063a73";
const script = fs.readFileSync(
  path.resolve(import.meta.dirname, "../../../../components/cluster/network/scripts/gateway-api.sh"),
  "utf8",
);

function parse(section: Record<string, unknown>) {
  return parseConfig(gatewayApiSchema, section, { file: "x.yaml" });
}

function resolve(section: Record<string, unknown>, files: Record<string, string> = {}, preview = false) {
  const warnings: string[] = [];
  const warn = (text: string): void => void warnings.push(text);
  return {
    sha256: resolveGatewayApiSha256(parse(section), { projectDir: temporaryProject(files), preview, warn }),
    warnings,
  };
}

test("off by default, at the release that versions.ts names", () => {
  expect(parse({})).toEqual({
    mode: "off",
    url: "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.1/standard-install.yaml",
  });
  expect(() =>
    parse({ url: "ftp://x", sha256: "1", sha256File: "sums" }),
  ).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x.yaml: 3 problems
      - url: expected an http or https address, got "ftp://x"
      - sha256: expected 64 hex digits in lower case, got "1"
      - sha256File: give at most one of sha256 and sha256File, got both]
  `);
  expect(() => parse({ sha256: defaultSha256, sha256File: "sums" })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x.yaml: 1 problem
      - sha256File: give at most one of sha256 and sha256File, got both]
  `);
});

test("the pin: the default's own, the configuration's, or a line of a file", () => {
  const url = "http://mirror.test/crds%20v2.yaml";
  expect(resolve({})).toEqual({ sha256: defaultSha256, warnings: [] });
  expect(resolve({ url }).sha256).toBe(defaultSha256);
  expect(resolve({ url, sha256: "a".repeat(64) }).sha256).toBe("a".repeat(64));
  const sums = `${"c".repeat(64)} *other.yaml\n${"b".repeat(64)}  crds v2.yaml\n`;
  expect(resolve({ url: "http://mirror.test/other.yaml", sha256File: "sums" }, { sums }).sha256).toBe(
    "c".repeat(64),
  );
});

test("a pin that is not there yet stops `up` and only warns in a preview", () => {
  const cases: [Record<string, unknown>, Record<string, string>][] = [
    [{ sha256: "0".repeat(64) }, {}],
    [{ sha256File: "sums" }, {}],
    [{ sha256File: "sums" }, { sums: `${"b".repeat(64)}  other.yaml\nnot-a-sum  standard-install.yaml\n` }],
  ];
  const texts = cases.map(([section, files]) => {
    const preview = resolve(section, files, true);
    expect(preview.sha256).toBe("0".repeat(64));
    const [warning = ""] = preview.warnings;
    expect(() => resolve(section, files)).toThrowError(warning.split("; fine for a preview")[0]);
    return warning;
  });
  expect(texts).toMatchInlineSnapshot(`
    [
      "gatewayApi.sha256 is the placeholder; put the sha256 of https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.1/standard-install.yaml there; fine for a preview, \`pulumi up\` needs it",
      "gatewayApi.sha256File sums cannot be read; fine for a preview, \`pulumi up\` needs it",
      "gatewayApi.sha256File sums has no line for standard-install.yaml; fine for a preview, \`pulumi up\` needs it",
    ]
  `);
});

test("the command on the first server", async () => {
  const connection = {
    args: { host: "10.0.0.1", user: "admin", privateKey: "KEY", hostKey: "ssh-ed25519 AAAA" },
    user: "admin",
    complete: true,
  };
  const { resources } = await record(
    () => {
      new GatewayApi("gateway-api", {
        config: parse({ mode: "on", url: "http://mirror.test/crds.yaml", sha256: "a".repeat(64) }),
        connection,
        server: new pulumi.ComponentResource("test:index:Server", "server"),
        context: { projectDir: "/", preview: true, warn: () => {} },
      });
    },
    { config: {}, stack: "test" },
  );
  const [found] = resources.filter(({ type }) => type === "command:remote:Command");
  expect(found?.name).toBe("gateway-api-crds");
  expect(found?.inputs).toMatchObject({
    create:
      `sudo -n env ACTION='apply' URL='http://mirror.test/crds.yaml' SHA256='${"a".repeat(64)}' ` +
      "WAIT_SECONDS='120' sh -s",
    delete: "sudo -n env ACTION='delete' WAIT_SECONDS='120' sh -s",
    stdin: script,
    addPreviousOutputInEnv: false,
  });
});

/** A server whose k3s writes its calls down and fails at what the file `fail` names. */
function server() {
  const manifest = "kind: CustomResourceDefinition\n";
  const root = temporaryProject({
    "mirror.yaml": manifest,
    "bin/curl": `#!/bin/sh
echo curl >>"$STATE/calls"
while [ "$1" != --output ]; do shift; done
cp "$STATE/mirror.yaml" "$2" && [ "$3" = http://mirror.test/crds.yaml ]
`,
    "bin/k3s": `#!/bin/sh
echo "$*" >>"$STATE/calls"
[ -e "$STATE/fail" ] && case "$*" in *"$(cat "$STATE/fail")"*) exit 1 ;; esac
case "$*" in *" get "*) cat "$STATE/names" ;; esac
`,
    names:
      "customresourcedefinition.apiextensions.k8s.io/gateways.x\npolicy.x/guard\ncustomresourcedefinition.apiextensions.k8s.io/routes.x\n",
  });
  for (const name of fs.readdirSync(path.join(root, "bin"))) {
    fs.chmodSync(path.join(root, "bin", name), 0o755);
  }
  const sha256 = createHash("sha256").update(manifest).digest("hex");
  const commands = toGatewayApiCommands("http://mirror.test/crds.yaml", sha256, "root");
  const run = (command: string) => {
    fs.rmSync(path.join(root, "calls"), { force: true });
    const { status, stdout, stderr } = spawnSync("sh", ["-c", command], {
      input: script,
      env: { PATH: `${root}/bin:/usr/bin:/bin`, STATE: root, ROOT: root, K3S: `${root}/bin/k3s` },
      encoding: "utf8",
    });
    const calls = path.join(root, "calls");
    return {
      status,
      output: (stdout + stderr).replaceAll(root, "ROOT").replaceAll(sha256, "SHA256"),
      calls: fs.existsSync(calls)
        ? fs.readFileSync(calls, "utf8").replaceAll(root, "ROOT").trim().split("\n")
        : [],
    };
  };
  const kept = path.join(root, "etc/rancher/k3s/gateway-api.yaml");
  return { root, commands, run, kept };
}

test("the release file is fetched once, applied, and every CRD waited for", () => {
  const { commands, run, kept, root } = server();
  const calls = [
    "kubectl apply --server-side --force-conflicts -f ROOT/etc/rancher/k3s/gateway-api.yaml",
    "kubectl get -f ROOT/etc/rancher/k3s/gateway-api.yaml -o name",
    "kubectl wait --for=condition=Established --timeout=120s " +
      "customresourcedefinition.apiextensions.k8s.io/gateways.x customresourcedefinition.apiextensions.k8s.io/routes.x",
  ];
  expect(run(commands.create)).toEqual({ status: 0, output: "", calls: ["curl", ...calls] });
  expect(run(commands.create)).toEqual({ status: 0, output: "", calls });
  expect(fs.readFileSync(kept, "utf8")).toBe("kind: CustomResourceDefinition\n");
  fs.writeFileSync(path.join(root, "fail"), "wait");
  expect(run(commands.create)).toMatchObject({
    status: 1,
    output: "Gateway API: not every CRD was established within 120 s\n",
  });
});

test("removal needs no network, and is done when nothing is there", () => {
  const { commands, run, kept, root } = server();
  expect(run(commands.delete)).toEqual({
    status: 0,
    output: "Gateway API: nothing was applied from here\n",
    calls: [],
  });
  run(commands.create);
  fs.writeFileSync(path.join(root, "fail"), "delete");
  expect(run(commands.delete)).toMatchObject({
    status: 1,
    output:
      "Gateway API: not all of ROOT/etc/rancher/k3s/gateway-api.yaml could be removed within 120 s; " +
      "objects of its kinds may have finalizers\n",
  });
  expect(fs.existsSync(kept)).toBe(true);
  fs.rmSync(path.join(root, "fail"));
  expect(run(commands.delete)).toEqual({
    status: 0,
    output: "",
    calls: ["kubectl delete -f ROOT/etc/rancher/k3s/gateway-api.yaml --ignore-not-found"],
  });
  expect(fs.existsSync(kept)).toBe(false);
});

test("another file than the pinned one is refused before anything is applied", () => {
  const { commands, run, kept, root } = server();
  fs.writeFileSync(path.join(root, "mirror.yaml"), "kind: Secret\n");
  const { status, output, calls } = run(commands.create);
  expect({ status, calls, left: fs.readdirSync(path.dirname(kept)) }).toEqual({
    status: 1,
    calls: ["curl"],
    left: [],
  });
  expect(output).toMatchInlineSnapshot(`
    "Gateway API: http://mirror.test/crds.yaml has sha256 ef05408c11b5b821b7c751f0311980506fe32b89a932caab1d4c3e8200d69763, expected SHA256; the cluster was left as it was
    "
  `);
});
