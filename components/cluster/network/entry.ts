// The platform's entry for people: nginx in front of the chat page, the models of running experiments and Grafana.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import * as z from "zod";
import { contentHash } from "../../naming.ts";
import { appLabels, childOptions, objectLabels, type PartArgs, partSchema } from "../common/part.ts";
import { folders, insidePort, nginxPort, toNginxConfig } from "./entry-nginx.ts";
import { entryPlace } from "./entry-place.ts";

const serviceTypes = ["ClusterIP", "NodePort", "LoadBalancer"] as const;

/** Section `entry` of a cluster's configuration. */
export const entrySchema = partSchema({
  /** How the entry is reached: from inside, at a port of every node, or by the cluster's load balancer. */
  serviceType: z.enum(serviceTypes).default("ClusterIP"),
  /** Port of the nodes. @default one that the cluster chooses */
  nodePort: z.int().min(30000).max(32767).optional(),
  /** Ask for a user and a password. @default on, unless the entry is reached from inside only */
  auth: z.enum(["on", "off"]).optional(),
  user: z
    .string()
    .regex(/^[A-Za-z0-9._-]+$/, "expected letters, digits, `.`, `_` or `-`")
    .default("llmeval"),
  /** Largest request. */
  maxBodyMebibytes: z.int().min(1).max(1024).default(16),
  /** How long a model may be silent: before its first token, and between two. */
  answerTimeoutSeconds: z.int().min(1).default(600),
  /** Address of the cluster's DNS server. @default the tenth of the service network, as K3s has it */
  clusterDns: z.ipv4().optional(),
})
  .superRefine(({ serviceType, nodePort }, context) => {
    if (nodePort === undefined || serviceType === "NodePort") return;
    const message = `only serviceType NodePort has one, got ${serviceType}; remove nodePort or set serviceType: NodePort`;
    context.addIssue({ code: "custom", path: ["nodePort"], message });
  })
  .transform(({ auth, ...config }) => ({
    ...config,
    auth: auth ?? (config.serviceType === "ClusterIP" ? ("off" as const) : ("on" as const)),
  }));

export type EntryConfig = z.output<typeof entrySchema>;

export interface EntryArgs extends PartArgs {
  readonly config: EntryConfig;
  /** Image reference of nginx, of the kind that needs no root. */
  readonly image: string;
  /** Address of the cluster's DNS server; see toClusterDns. */
  readonly clusterDns: string;
  /** Folder workloads/ of the project: the pages lie in its folder chat/. */
  readonly workloadsDir: string;
  /** Address of Grafana as pods reach it; it must serve below /grafana/. @default no link and no route */
  readonly grafanaUrl?: string;
  /** Password of the one user, where the configuration asks for one. @default generated */
  readonly password?: pulumi.Input<string>;
  /** Whether faults of experiments may act on it. @default false */
  readonly faults?: boolean;
}

const namespaceName = entryPlace.namespace;
/** Address inside the cluster. */
export const entryUrl = `http://entry.${namespaceName}.svc`;
const metadata = { name: "entry", namespace: namespaceName, labels: objectLabels("entry") } as const;
const authSecret = "entry-auth";
/** `nginx` in the image, and its group. */
const nginxUser = 101;

/** The DNS server's address in a service network: the tenth, by the convention that K3s and kubeadm follow. */
export function toClusterDns(serviceCidr: string): string {
  const [address = "", bits = "32"] = serviceCidr.split("/");
  const number = address.split(".").reduce((left, part) => left * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(bits));
  const tenth = Math.floor(number / size) * size + 10;
  return [24, 16, 8, 0].map((shift) => Math.floor(tenth / 2 ** shift) % 256).join(".");
}

/**
 * A line of nginx's password file in the format {SSHA}. It costs nothing to check: nginx does so for every request, and
 * sha512-crypt would hold up all streams of a worker for milliseconds each time. Against guessing, the generated
 * password is long; a given one should be too.
 */
export function toHtpasswd(user: string, password: string, salt: string): string {
  const digest = createHash("sha1").update(password).update(salt).digest();
  return `${user}:{SSHA}${Buffer.concat([digest, Buffer.from(salt)]).toString("base64")}\n`;
}

/** What nginx serves: path below the root of the pages to text. */
export function readPages(workloadsDir: string, grafana: boolean): Record<string, string> {
  const folder = join(workloadsDir, "chat");
  const read = (file: string): string => readFileSync(join(folder, file), "utf8");
  const assets = readdirSync(folder).filter((file) => [".css", ".js", ".svg"].includes(extname(file)));
  return {
    "home.html": read("home.html").replace("<!-- links -->", grafana ? grafanaLink : ""),
    "chat.html": read("chat.html"),
    ...Object.fromEntries(assets.sort().map((file) => [`assets/${file}`, read(file)])),
  };
}

const grafanaLink = `<li>
          <h2><a href="/grafana/">Dashboards</a></h2>
          <p>Metrics and logs of models, hosts and accelerators, in Grafana.</p>
        </li>`;

/** Name and content of the ConfigMap: another content is another name, so a change is a new pod. */
export function toConfigMap(nginxConfig: string, pages: Readonly<Record<string, string>>) {
  const data: Record<string, string> = { "nginx.conf": nginxConfig };
  for (const [path, text] of Object.entries(pages)) data[keyOf(path)] = text;
  return { name: `entry-${contentHash(JSON.stringify(data))}`, data };
}

/** A ConfigMap's keys hold no slash; the volume puts each file back where it belongs. */
function keyOf(path: string): string {
  return `www__${path.replaceAll("/", "__")}`;
}

export interface DeploymentArgs {
  readonly image: string;
  readonly configMapName: string;
  readonly pages: readonly string[];
  readonly auth: boolean;
}

/** Spec of the Deployment. A changed password reaches the running pod through its volume, within about a minute. */
export function toEntrySpec(args: DeploymentArgs): k8s.types.input.apps.v1.DeploymentSpec {
  const items = args.pages.map((path) => ({ key: keyOf(path), path: `www/${path}` }));
  return {
    replicas: entryPlace.pods,
    selector: { matchLabels: appLabels("entry") },
    template: {
      metadata: { labels: objectLabels("entry") },
      spec: {
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        // The image's stop signal lets answers that are on their way end first.
        terminationGracePeriodSeconds: 30,
        securityContext: {
          runAsNonRoot: true,
          runAsUser: nginxUser,
          runAsGroup: nginxUser,
          fsGroup: nginxUser,
        },
        containers: [
          {
            name: entryPlace.container,
            image: args.image,
            command: ["nginx", "-e", "stderr", "-c", `${folders.config}/nginx.conf`],
            ports: [
              { name: "http", containerPort: nginxPort },
              { name: "inside", containerPort: insidePort },
            ],
            readinessProbe: { httpGet: { path: "/healthz", port: "http" }, periodSeconds: 2 },
            resources: { requests: { cpu: "20m", memory: "32Mi" }, limits: { memory: "256Mi" } },
            securityContext: {
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ["ALL"] },
            },
            volumeMounts: [
              { name: "config", mountPath: folders.config, readOnly: true },
              ...(args.auth ? [{ name: "auth", mountPath: folders.auth, readOnly: true }] : []),
              { name: "temporary", mountPath: "/tmp" },
            ],
          },
        ],
        volumes: [
          {
            name: "config",
            configMap: {
              name: args.configMapName,
              items: [{ key: "nginx.conf", path: "nginx.conf" }, ...items],
            },
          },
          ...(args.auth ? [{ name: "auth", secret: { secretName: authSecret, defaultMode: 0o440 } }] : []),
          { name: "temporary", emptyDir: { sizeLimit: "1Gi" } },
        ],
      },
    },
  };
}

/** Spec of the Service. */
export function toServiceSpec(config: EntryConfig): k8s.types.input.core.v1.ServiceSpec {
  const nodePort = config.nodePort === undefined ? {} : { nodePort: config.nodePort };
  return {
    type: config.serviceType,
    selector: appLabels("entry"),
    ports: [{ name: "http", port: 80, targetPort: "http", ...nodePort }],
  };
}

/** Spec of the Service for programs of the cluster. */
export function toInsideServiceSpec(): k8s.types.input.core.v1.ServiceSpec {
  return {
    type: "ClusterIP",
    selector: appLabels("entry"),
    ports: [{ name: "http", port: 80, targetPort: "inside" }],
  };
}

/** Chaos Mesh acts in namespaces with this annotation only. */
const faultsAllowed = { "chaos-mesh.org/inject": "enabled" };

/**
 * nginx in a namespace of its own. Routes: `/` the start page, `/chat/<namespace>/` the chat page of an experiment's
 * model, `/models/<namespace>/v1/...` that model's OpenAI interface, `/grafana/`. Only namespaces of experiments
 * (exp-...) can be reached. It forwards the trace context of a request (traceparent) and makes no spans of its own;
 * every request has an id, and a line of JSON with the upstream's times in the pod's log.
 *
 * For people, not for measurements: a load that is to be measured goes straight to the engine's Service, as the load
 * generator does unless its experiment says otherwise (serve.via); then it takes a port of its own, without password.
 * Each request here costs a further connection, since nginx keeps none open to upstreams that it looks up by name.
 */
export class Entry extends pulumi.ComponentResource {
  /** Password of `config.user`; undefined where nobody is asked for one. */
  readonly password: pulumi.Output<string> | undefined;

  constructor(name: string, args: EntryArgs, opts?: pulumi.ComponentResourceOptions) {
    super("llmeval:cluster:Entry", name, {}, opts);
    const { config, grafanaUrl } = args;
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: namespaceName,
          labels: objectLabels("entry"),
          ...(args.faults === true ? { annotations: faultsAllowed } : {}),
        },
      },
      childOptions(this, args),
    );
    const child = childOptions(this, args, { dependsOn: [namespace] });
    const pages = readPages(args.workloadsDir, grafanaUrl !== undefined);
    const configMap = toConfigMap(toNginxConfig(args), pages);
    const mounted: pulumi.Resource[] = [
      new k8s.core.v1.ConfigMap(
        `${name}-config`,
        { metadata: { ...metadata, name: configMap.name }, immutable: true, data: configMap.data },
        child,
      ),
    ];
    const auth = config.auth === "on";
    if (auth) {
      this.password = this.#password(name, args);
      mounted.push(this.#passwordFile(name, config.user, this.password, child));
    }
    new k8s.apps.v1.Deployment(
      `${name}-server`,
      {
        metadata,
        spec: toEntrySpec({
          image: args.image,
          configMapName: configMap.name,
          pages: Object.keys(pages),
          auth,
        }),
      },
      childOptions(this, args, { dependsOn: mounted }),
    );
    const services = {
      service: [metadata.name, toServiceSpec(config)],
      inside: [entryPlace.insideService, toInsideServiceSpec()],
    } as const;
    for (const [role, [serviceName, spec]] of Object.entries(services)) {
      new k8s.core.v1.Service(
        `${name}-${role}`,
        // No wait for endpoints: the Deployment already waits for its pod.
        {
          metadata: { ...metadata, name: serviceName, annotations: { "pulumi.com/skipAwait": "true" } },
          spec,
        },
        child,
      );
    }
    this.registerOutputs({ password: this.password });
  }

  #password(name: string, args: EntryArgs): pulumi.Output<string> {
    if (args.password !== undefined) return pulumi.secret(args.password);
    return new random.RandomPassword(`${name}-password`, { length: 32, special: false }, { parent: this })
      .result;
  }

  #passwordFile(
    name: string,
    user: string,
    password: pulumi.Output<string>,
    child: pulumi.CustomResourceOptions,
  ): pulumi.Resource {
    const salt = new random.RandomPassword(`${name}-salt`, { length: 16, special: false }, { parent: this });
    const htpasswd = pulumi
      .all([password, salt.result])
      .apply(([password, salt]) => toHtpasswd(user, password, salt));
    return new k8s.core.v1.Secret(
      `${name}-auth`,
      { metadata: { ...metadata, name: authSecret }, stringData: { htpasswd } },
      child,
    );
  }
}
