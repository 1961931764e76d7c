// The CRDs of the Gateway API, applied on the first server from a pinned release file; there is no Helm chart of them.

import * as fs from "node:fs";
import * as path from "node:path";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type * as z from "zod";
import { versions } from "../../versions.ts";
import { type PartArgs, partSchema, pinFields, urlSchema } from "../common/part.ts";
import { checkPin, fileNameOf, resolvePin } from "../common/pin.ts";
import { scriptCommand } from "../hosts/shell.ts";
import type { HostConnection, SshContext } from "../hosts/ssh.ts";

/** The release's own file. Its sha256 goes with the version: both change together. */
const standardInstall = {
  url: `https://github.com/kubernetes-sigs/gateway-api/releases/download/${versions.gatewayApi}/standard-install.yaml`,
  sha256: "24d931f22abd8e40c973264319ead7cfa09d0fb7716b7ab1ee2ff174cb063a73",
};

/** Section `gatewayApi` of a cluster's configuration. */
export const gatewayApiSchema = partSchema(
  {
    /** Release file or a mirror of it; fetched by the first server itself. */
    url: urlSchema.default(standardInstall.url),
    // Without either key the file must have the sha256 of the default release, wherever it comes from.
    ...pinFields,
  },
  "off",
).superRefine(checkPin);

export type GatewayApiConfig = z.output<typeof gatewayApiSchema>;

export interface GatewayApiArgs extends PartArgs {
  readonly config: GatewayApiConfig;
  /** The first server, over SSH. */
  readonly connection: HostConnection;
  /** K3s on that server: its API must be up. */
  readonly server: pulumi.Resource;
  /** Where files are and whether this is a preview. */
  readonly context: SshContext;
}

const waitSeconds = 120;

/** The sha256 that the file must have. */
export function resolveGatewayApiSha256(config: GatewayApiConfig, context: SshContext): string {
  const { url, sha256File } = config;
  const sha256 = config.sha256 ?? (sha256File === undefined ? standardInstall.sha256 : undefined);
  return resolvePin(
    { prefix: "gatewayApi.", fileName: fileNameOf(url), address: url, sha256, sha256File },
    context,
  );
}

/** Command lines; both read the script from standard input. */
export function toGatewayApiCommands(
  url: string,
  sha256: string,
  user: string,
): { create: string; delete: string } {
  const wait = { WAIT_SECONDS: String(waitSeconds) };
  return {
    create: scriptCommand(user, { ACTION: "apply", URL: url, SHA256: sha256, ...wait }),
    delete: scriptCommand(user, { ACTION: "delete", ...wait }),
  };
}

export class GatewayApi extends pulumi.ComponentResource {
  /** What uses the API depends on this: then every CRD is established. */
  readonly crds: pulumi.Resource;

  constructor(name: string, args: GatewayApiArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:GatewayApi", name, {}, opts);
    const { config, connection, server, context } = args;
    this.crds = new command.remote.Command(
      `${name}-crds`,
      {
        connection: connection.args,
        ...toGatewayApiCommands(config.url, resolveGatewayApiSha256(config, context), connection.user),
        stdin: fs.readFileSync(path.join(import.meta.dirname, "scripts/gateway-api.sh"), "utf8"),
        addPreviousOutputInEnv: false,
      },
      {
        parent: this,
        dependsOn: [server],
        deletedWith: args.deletedWith ?? server,
        // A preview without the key must not show the connection as changed.
        ...(connection.complete ? {} : { ignoreChanges: ["connection"] }),
      },
    );
    this.registerOutputs({});
  }
}
