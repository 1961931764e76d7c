// The entry: configuration, password file, objects and what they hold, to the last field.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  Entry,
  type EntryArgs,
  readPages,
  toClusterDns,
  toConfigMap,
  toEntrySpec,
  toHtpasswd,
  toInsideServiceSpec,
  toServiceSpec,
} from "../../../../components/cluster/network/entry.ts";
import { toFullName, toNginxConfig } from "../../../../components/cluster/network/entry-nginx.ts";
import { entryModelUrl, entryPlace } from "../../../../components/cluster/network/entry-place.ts";
import { projectDir } from "../../../experiments/project.ts";
import { record } from "../../../support/record.ts";
import { entryConfig } from "./entry-config.ts";

const workloadsDir = join(projectDir, "workloads");

test("defaults: reached from inside, and nobody is asked for a password", () => {
  expect(entryConfig()).toEqual({
    mode: "on",
    serviceType: "ClusterIP",
    user: "llmeval",
    maxBodyMebibytes: 16,
    answerTimeoutSeconds: 600,
    auth: "off",
  });
});

test.each(["NodePort", "LoadBalancer"])("%s asks for a password unless told not to", (serviceType) => {
  expect(entryConfig({ serviceType }).auth).toBe("on");
  expect(entryConfig({ serviceType, auth: "off" }).auth).toBe("off");
});

test("bad input is refused with what is allowed", () => {
  const bad = { serviceType: "Nodeport", user: "a:b", clusterDns: "dns", nodePorts: 1 };
  expect(() => entryConfig(bad)).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x: 4 problems
      - nodePorts: unknown key; did you mean "nodePort"? (allowed: answerTimeoutSeconds, auth, clusterDns, maxBodyMebibytes, mode, nodePort, serviceType, user)
      - serviceType: "Nodeport" is not allowed; did you mean "NodePort"? allowed: ClusterIP, NodePort, LoadBalancer
      - user: expected letters, digits, \`.\`, \`_\` or \`-\`, got "a:b"
      - clusterDns: expected an IPv4 address, got "dns"]
  `);
  expect(() => entryConfig({ nodePort: 30080 })).toThrowErrorMatchingInlineSnapshot(`
    [UserError: x: 1 problem
      - nodePort: only serviceType NodePort has one, got ClusterIP; remove nodePort or set serviceType: NodePort]
  `);
});

test("the DNS server is the tenth address of the service network", () => {
  expect(toClusterDns("10.43.0.0/16")).toBe("10.43.0.10");
  expect(toClusterDns("172.21.4.0/22")).toBe("172.21.4.10");
  expect(toClusterDns("192.168.255.7/24")).toBe("192.168.255.10");
});

test("the password file holds a salted hash that nginx understands", () => {
  const line = toHtpasswd("llmeval", "secret", "saltsalt");
  const [user, rest = ""] = line.trimEnd().split(":");
  expect([user, rest.slice(0, 6)]).toEqual(["llmeval", "{SSHA}"]);
  const bytes = Buffer.from(rest.slice(6), "base64");
  expect(bytes.subarray(20).toString()).toBe("saltsalt");
  expect(bytes.subarray(0, 20)).toEqual(createHash("sha1").update("secretsaltsalt").digest());
});

test("short names of Services become full ones, others stay", () => {
  expect(toFullName("grafana.monitoring.svc")).toBe("grafana.monitoring.svc.cluster.local");
  expect(toFullName("grafana.test")).toBe("grafana.test");
});

test("nginx.conf without Grafana and password", () => {
  expect(toNginxConfig({ config: entryConfig(), clusterDns: "10.43.0.10" })).toMatchInlineSnapshot(`
    "# Two workers do for people; one per core of a big host would only take memory.
    worker_processes 2;
    daemon off;
    pid /tmp/nginx.pid;
    error_log stderr warn;

    events {
      worker_connections 1024;
    }

    http {
      # Everything below /tmp: the root file system is read-only.
      client_body_temp_path /tmp/body;
      proxy_temp_path /tmp/proxy;
      fastcgi_temp_path /tmp/fastcgi;
      uwsgi_temp_path /tmp/uwsgi;
      scgi_temp_path /tmp/scgi;

      types {
        text/html html;
        text/css css;
        text/javascript js;
        image/svg+xml svg;
      }
      default_type application/json;
      server_tokens off;
      absolute_redirect off;
      keepalive_timeout 75s;

      # Names are looked up for every request (and kept for 5 s): experiments come and go while the proxy runs.
      resolver 10.43.0.10 valid=5s ipv6=off;
      resolver_timeout 5s;

      log_format entry escape=json '{"time":"$time_iso8601","unixSeconds":"$msec","requestId":"$entry_request_id","traceparent":"$http_traceparent","method":"$request_method","path":"$entry_path","namespace":"$ns","status":"$status","seconds":"$request_time","upstream":"$upstream_addr","upstreamStatus":"$upstream_status","upstreamConnectSeconds":"$upstream_connect_time","upstreamHeaderSeconds":"$upstream_header_time","upstreamSeconds":"$upstream_response_time","receivedBytes":"$request_length","sentBytes":"$bytes_sent","client":"$remote_addr","user":"$remote_user"}';
      access_log /dev/stdout entry;

      # A client's own id is kept where it is a plain one.
      map $http_x_request_id $entry_request_id {
        "~^[A-Za-z0-9._-]{1,64}$" $http_x_request_id;
        default $request_id;
      }
      # The query may hold what is secret (a token of Grafana's).
      map $request_uri $entry_path {
        "~^(?<before_query>[^?]*)" $before_query;
      }
      map $http_upgrade $entry_connection {
        "" "";
        default upgrade;
      }
      # A page of another site must not send load to an engine with the reader's password.
      map "$http_origin|$http_host" $entry_foreign {
        "~^\\|" "";
        "~^https?://([^|]+)\\|\\1$" "";
        default 1;
      }
      map $ns $entry_silent {
        "" "what is behind this path does not answer";
        default "no model answers in namespace $ns: there is no such experiment, or its engine is not up";
      }

      server {
        listen 8080;
        root /etc/entry/www;
        client_max_body_size 16m;
        add_header X-Request-Id $entry_request_id always;
        add_header X-Content-Type-Options nosniff always;

        error_page 401 = @unauthorized;
        location @unauthorized {
          return 401 '{"error":{"message":"user and password are missing or wrong","type":"entry_proxy","code":401}}';
        }
        error_page 413 = @too_large;
        error_page 502 = @silent;
        error_page 504 = @late;
        location @too_large {
          return 413 '{"error":{"message":"the request is larger than 16 MiB","type":"entry_proxy","code":413}}';
        }
        location @silent {
          return 502 '{"error":{"message":"$entry_silent","type":"entry_proxy","code":502}}';
        }
        location @late {
          return 504 '{"error":{"message":"no byte came for 600 s, or no connection: $entry_silent","type":"entry_proxy","code":504}}';
        }

        location = /healthz {
          auth_basic off;
          access_log off;
          return 200 '{"status":"ok"}';
        }

        location = / {
          add_header Content-Security-Policy "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" always;
          add_header Referrer-Policy no-referrer always;
          add_header X-Content-Type-Options nosniff always;
          add_header Cache-Control no-cache always;
          try_files /home.html =404;
        }
        location /assets/ {
          add_header Content-Security-Policy "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" always;
          add_header Referrer-Policy no-referrer always;
          add_header X-Content-Type-Options nosniff always;
          add_header Cache-Control no-cache always;
          try_files $uri =404;
        }
        location = /chat/ {
          if ($arg_namespace ~ "^exp-(?:[a-z0-9-]{0,58}[a-z0-9])$") {
            return 302 /chat/$arg_namespace/;
          }
          return 302 /;
        }
        location ~ "^/chat/(?<ns>exp-(?:[a-z0-9-]{0,58}[a-z0-9]))$" {
          return 301 /chat/$ns/;
        }
        location ~ "^/chat/(?<ns>exp-(?:[a-z0-9-]{0,58}[a-z0-9]))/$" {
          add_header Content-Security-Policy "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" always;
          add_header Referrer-Policy no-referrer always;
          add_header X-Content-Type-Options nosniff always;
          add_header Cache-Control no-cache always;
          try_files /chat.html =404;
        }

        location ~ "^/models/(?<ns>exp-(?:[a-z0-9-]{0,58}[a-z0-9]))(?<path>/v1/[A-Za-z0-9._:@/-]+)$" {
          if ($request_method !~ "^(GET|HEAD|POST)$") {
            return 405 '{"error":{"message":"only GET, HEAD and POST","type":"entry_proxy","code":405}}';
          }
          if ($entry_foreign) {
            return 403 '{"error":{"message":"pages of other sites may not ask the models","type":"entry_proxy","code":403}}';
          }
          proxy_pass http://llm-serve-svc.$ns.svc.cluster.local:8000$path$is_args$args;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_set_header X-Request-Id $entry_request_id;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_hide_header X-Request-Id;
          # Each token leaves as it comes.
          proxy_buffering off;
          proxy_next_upstream off;
          proxy_connect_timeout 5s;
          proxy_send_timeout 60s;
          # Between two pieces of an answer, so also until its first token.
          proxy_read_timeout 600s;
        }
        # Anything else in the cluster stays closed.
        location ~ "^/(models|chat)/(?<ns>[a-z0-9-]{1,63})(/|$)" {
          return 404 '{"error":{"message":"namespace $ns: only /models/exp-.../v1/... and /chat/exp-.../ lead to experiments","type":"entry_proxy","code":404}}';
        }

        location / {
          return 404 '{"error":{"message":"nothing is here; the start page is /","type":"entry_proxy","code":404}}';
        }
      }

      # For programs of the cluster, such as a load that is to go through here. They reach the engines without the entry as
      # well, so nobody is asked for a password; its Service has no port on the nodes.
      server {
        listen 8081;
        client_max_body_size 16m;
        add_header X-Request-Id $entry_request_id always;
        error_page 413 = @too_large;
        error_page 502 = @silent;
        error_page 504 = @late;
        location @too_large {
          return 413 '{"error":{"message":"the request is larger than 16 MiB","type":"entry_proxy","code":413}}';
        }
        location @silent {
          return 502 '{"error":{"message":"$entry_silent","type":"entry_proxy","code":502}}';
        }
        location @late {
          return 504 '{"error":{"message":"no byte came for 600 s, or no connection: $entry_silent","type":"entry_proxy","code":504}}';
        }
        location ~ "^/models/(?<ns>exp-(?:[a-z0-9-]{0,58}[a-z0-9]))(?<path>/v1/[A-Za-z0-9._:@/-]+)$" {
          if ($request_method !~ "^(GET|HEAD|POST)$") {
            return 405 '{"error":{"message":"only GET, HEAD and POST","type":"entry_proxy","code":405}}';
          }
          if ($entry_foreign) {
            return 403 '{"error":{"message":"pages of other sites may not ask the models","type":"entry_proxy","code":403}}';
          }
          proxy_pass http://llm-serve-svc.$ns.svc.cluster.local:8000$path$is_args$args;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_set_header X-Request-Id $entry_request_id;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_hide_header X-Request-Id;
          # Each token leaves as it comes.
          proxy_buffering off;
          proxy_next_upstream off;
          proxy_connect_timeout 5s;
          proxy_send_timeout 60s;
          # Between two pieces of an answer, so also until its first token.
          proxy_read_timeout 600s;
        }
        location / {
          return 404 '{"error":{"message":"only /models/exp-.../v1/... is here","type":"entry_proxy","code":404}}';
        }
      }
    }
    "
  `);
});

test("password and Grafana add their own lines only", () => {
  const without = toNginxConfig({ config: entryConfig(), clusterDns: "10.43.0.10" }).split("\n");
  const all = toNginxConfig({
    config: entryConfig({ auth: "on" }),
    clusterDns: "10.43.0.10",
    grafanaUrl: "http://grafana.monitoring.svc:3000/grafana",
  }).split("\n");
  expect(without.filter((line) => !all.includes(line))).toEqual([]);
  const added = all.filter((line) => !without.includes(line)).map((line) => line.trim());
  expect(added).toMatchInlineSnapshot(`
    [
      "auth_basic "LLM serving evaluation";",
      "auth_basic_user_file /etc/entry-auth/htpasswd;",
      "proxy_set_header Authorization "";",
      "location = /grafana {",
      "return 301 /grafana/;",
      "location /grafana/ {",
      "# A variable, so that nginx starts without Grafana and finds it later.",
      "set $grafana http://grafana.monitoring.svc.cluster.local:3000;",
      "proxy_pass $grafana;",
      "proxy_set_header Host $http_host;",
      "proxy_set_header Connection $entry_connection;",
      "proxy_set_header Upgrade $http_upgrade;",
      "proxy_set_header X-Forwarded-Proto $scheme;",
      "proxy_set_header Authorization "";",
    ]
  `);
});

test("the pages: everything that they ask for is there, and nothing comes from elsewhere", () => {
  const pages = readPages(workloadsDir, true);
  expect(Object.keys(pages).sort()).toEqual([
    "assets/chat.css",
    "assets/chat.js",
    "assets/completion.js",
    "assets/home.css",
    "assets/icon.svg",
    "assets/markup.js",
    "assets/style.css",
    "assets/view.js",
    "chat.html",
    "home.html",
  ]);
  for (const [path, text] of Object.entries(pages)) {
    const references = [...text.matchAll(/(?:src|href)="([^"]+)"|from "([^"]+)"/g)].map(
      ([, address, module]) => address ?? module?.replace("./", "/assets/"),
    );
    const known = ["/", "/grafana/", ...Object.keys(pages).map((page) => `/${page}`)];
    expect([path, references.filter((reference) => !known.includes(reference ?? ""))]).toEqual([path, []]);
    expect(text).not.toMatch(/\s(style|on[a-z]+)="|<style|<script>/);
  }
  expect(pages["home.html"]).toContain('href="/grafana/"');
  expect(readPages(workloadsDir, false)["home.html"]).not.toContain("grafana");
});

test("another content is another ConfigMap", () => {
  const pages = { "chat.html": "a", "assets/chat.js": "b" };
  const { name, data } = toConfigMap("conf", pages);
  expect(data).toEqual({ "nginx.conf": "conf", "www__chat.html": "a", "www__assets__chat.js": "b" });
  expect(name).toMatch(/^entry-[0-9a-f]{8}$/);
  expect(toConfigMap("conf2", pages).name).not.toBe(name);
  expect(toConfigMap("conf", { ...pages, "chat.html": "c" }).name).not.toBe(name);
});

test("the Deployment", () => {
  const spec = toEntrySpec({
    image: "nginx:test",
    configMapName: "entry-1",
    pages: ["home.html", "assets/chat.js"],
    auth: true,
  });
  expect(spec).toMatchInlineSnapshot(`
    {
      "replicas": 1,
      "selector": {
        "matchLabels": {
          "app.kubernetes.io/name": "entry",
        },
      },
      "template": {
        "metadata": {
          "labels": {
            "app.kubernetes.io/name": "entry",
            "app.kubernetes.io/part-of": "llm-serving-eval",
          },
        },
        "spec": {
          "automountServiceAccountToken": false,
          "containers": [
            {
              "command": [
                "nginx",
                "-e",
                "stderr",
                "-c",
                "/etc/entry/nginx.conf",
              ],
              "image": "nginx:test",
              "name": "nginx",
              "ports": [
                {
                  "containerPort": 8080,
                  "name": "http",
                },
                {
                  "containerPort": 8081,
                  "name": "inside",
                },
              ],
              "readinessProbe": {
                "httpGet": {
                  "path": "/healthz",
                  "port": "http",
                },
                "periodSeconds": 2,
              },
              "resources": {
                "limits": {
                  "memory": "256Mi",
                },
                "requests": {
                  "cpu": "20m",
                  "memory": "32Mi",
                },
              },
              "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {
                  "drop": [
                    "ALL",
                  ],
                },
                "readOnlyRootFilesystem": true,
              },
              "volumeMounts": [
                {
                  "mountPath": "/etc/entry",
                  "name": "config",
                  "readOnly": true,
                },
                {
                  "mountPath": "/etc/entry-auth",
                  "name": "auth",
                  "readOnly": true,
                },
                {
                  "mountPath": "/tmp",
                  "name": "temporary",
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "securityContext": {
            "fsGroup": 101,
            "runAsGroup": 101,
            "runAsNonRoot": true,
            "runAsUser": 101,
          },
          "terminationGracePeriodSeconds": 30,
          "volumes": [
            {
              "configMap": {
                "items": [
                  {
                    "key": "nginx.conf",
                    "path": "nginx.conf",
                  },
                  {
                    "key": "www__home.html",
                    "path": "www/home.html",
                  },
                  {
                    "key": "www__assets__chat.js",
                    "path": "www/assets/chat.js",
                  },
                ],
                "name": "entry-1",
              },
              "name": "config",
            },
            {
              "name": "auth",
              "secret": {
                "defaultMode": 288,
                "secretName": "entry-auth",
              },
            },
            {
              "emptyDir": {
                "sizeLimit": "1Gi",
              },
              "name": "temporary",
            },
          ],
        },
      },
    }
  `);
});

test("the Service", () => {
  const ports = [{ name: "http", port: 80, targetPort: "http" }];
  const selector = { "app.kubernetes.io/name": "entry" };
  expect(toServiceSpec(entryConfig())).toEqual({ type: "ClusterIP", selector, ports });
  expect(toServiceSpec(entryConfig({ serviceType: "NodePort", nodePort: 30080 }))).toEqual({
    type: "NodePort",
    selector,
    ports: [{ ...ports[0], nodePort: 30080 }],
  });
});

test("programs of the cluster have a Service of their own, whatever people are given", () => {
  expect(toInsideServiceSpec()).toEqual({
    type: "ClusterIP",
    selector: { "app.kubernetes.io/name": "entry" },
    ports: [{ name: "http", port: 80, targetPort: "inside" }],
  });
});

test("experiments name its place as it is", () => {
  expect(toEntrySpec({ image: "x", configMapName: "x", pages: [], auth: false })).toMatchObject({
    replicas: entryPlace.pods,
    selector: { matchLabels: entryPlace.labels },
    template: {
      metadata: { labels: entryPlace.labels },
      spec: { containers: [{ name: entryPlace.container }] },
    },
  });
  expect(entryModelUrl("exp-smoke")).toBe("http://entry-inside.entry.svc/models/exp-smoke");
});

/** Objects of the part and its password. */
async function built(config: Readonly<Record<string, unknown>>, more: Partial<EntryArgs> = {}) {
  const { resources, outputs } = await record(
    () => {
      const entry = new Entry("entry", {
        config: entryConfig(config),
        image: "nginx:test",
        clusterDns: "10.43.0.10",
        workloadsDir,
        ...more,
      });
      return { password: entry.password };
    },
    { config: {}, stack: "dev" },
  );
  const names = resources
    .filter(({ type }) => type !== "pulumi:pulumi:Stack")
    .map(({ type, name }) => `${type.split(":").at(-1)} ${name}`);
  const secret = resources.find(({ name }) => name === "entry-auth")?.inputs["stringData"];
  return { names, password: (outputs as { password?: string }).password, secret, resources };
}

const always = ["Namespace entry-namespace", "ConfigMap entry-config", "Deployment entry-server"]
  .concat(["Service entry-service", "Service entry-inside", "Entry entry"])
  .sort();

test("without a password there is no secret", async () => {
  const { names, password } = await built({});
  expect([names.sort(), password]).toEqual([always, undefined]);
});

test("a password is generated, and lies in the secret as a hash only", async () => {
  const { names, password, secret, resources } = await built({ serviceType: "NodePort" });
  expect(names.sort()).toEqual(
    [...always, "RandomPassword entry-password", "RandomPassword entry-salt", "Secret entry-auth"].sort(),
  );
  expect(password).toBeTruthy();
  expect(JSON.stringify(secret)).toContain("llmeval:{SSHA}");
  const others = resources.filter(({ type }) => !type.includes("random"));
  expect(JSON.stringify(others)).not.toContain(`"${password}"`);
});

test("faults may act in its namespace only where they are allowed to", async () => {
  const annotations = async (faults: boolean) => {
    const { resources } = await built({}, { faults });
    const namespace = resources.find(({ name }) => name === "entry-namespace");
    expect(namespace).toBeDefined();
    return (namespace?.inputs["metadata"] as { annotations?: unknown } | undefined)?.annotations;
  };
  expect(await annotations(false)).toBeUndefined();
  expect(await annotations(true)).toEqual({ "chaos-mesh.org/inject": "enabled" });
});

test("a given password wins", async () => {
  const { names, password } = await built({ auth: "on" }, { password: "given" });
  expect(password).toBe("given");
  expect(names).not.toContain("RandomPassword entry-password");
});
