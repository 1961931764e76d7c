// The entry proxy's nginx configuration. Written for nginx 1.22 and later.

import { ports, serveService } from "../../experiment/conventions.ts";

export interface NginxArgs {
  readonly config: {
    readonly auth: "on" | "off";
    readonly maxBodyMebibytes: number;
    readonly answerTimeoutSeconds: number;
  };
  /** Address of the cluster's DNS server. */
  readonly clusterDns: string;
  /** Address of Grafana as pods reach it. @default no route */
  readonly grafanaUrl?: string;
}

/** Ports that nginx listens on, unprivileged ones: for people, and for programs of the cluster. */
export const nginxPort = 8080;
export const insidePort = 8081;
/** Folders inside the pod. */
export const folders = { config: "/etc/entry", auth: "/etc/entry-auth" } as const;

const clusterDomain = "cluster.local";
/** Stacks of experiments are named exp-..., and their namespaces like them; a namespace has at most 63 characters. */
const namespacePattern = "exp-(?:[a-z0-9-]{0,58}[a-z0-9])";
/** As OpenAI's interface names things; anything else could smuggle a line break into the request. */
const pathPattern = "/v1/[A-Za-z0-9._:@/-]+";

const pageHeaders = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const logFields = {
  time: "$time_iso8601",
  unixSeconds: "$msec",
  requestId: "$entry_request_id",
  traceparent: "$http_traceparent",
  method: "$request_method",
  path: "$entry_path",
  namespace: "$ns",
  status: "$status",
  seconds: "$request_time",
  upstream: "$upstream_addr",
  upstreamStatus: "$upstream_status",
  upstreamConnectSeconds: "$upstream_connect_time",
  upstreamHeaderSeconds: "$upstream_header_time",
  upstreamSeconds: "$upstream_response_time",
  receivedBytes: "$request_length",
  sentBytes: "$bytes_sent",
  client: "$remote_addr",
  user: "$remote_user",
} as const;

/** The text of nginx.conf. */
export function toNginxConfig(args: NginxArgs): string {
  const { config, grafanaUrl } = args;
  const auth = config.auth === "on";
  return `# Two workers do for people; one per core of a big host would only take memory.
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
  resolver ${args.clusterDns} valid=5s ipv6=off;
  resolver_timeout 5s;

  log_format entry escape=json '${toLogFormat()}';
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
    listen ${nginxPort};
    root ${folders.config}/www;
    client_max_body_size ${config.maxBodyMebibytes}m;
    add_header X-Request-Id $entry_request_id always;
    add_header X-Content-Type-Options nosniff always;
${auth ? `    auth_basic "LLM serving evaluation";\n    auth_basic_user_file ${folders.auth}/htpasswd;\n` : ""}
    error_page 401 = @unauthorized;
    location @unauthorized {
      return 401 '${toError(401, "user and password are missing or wrong")}';
    }
${toErrorPages(config)}

    location = /healthz {
      auth_basic off;
      access_log off;
      return 200 '{"status":"ok"}';
    }

    location = / {
${toPageHeaders()}
      try_files /home.html =404;
    }
    location /assets/ {
${toPageHeaders()}
      try_files $uri =404;
    }
    location = /chat/ {
      if ($arg_namespace ~ "^${namespacePattern}$") {
        return 302 /chat/$arg_namespace/;
      }
      return 302 /;
    }
    location ~ "^/chat/(?<ns>${namespacePattern})$" {
      return 301 /chat/$ns/;
    }
    location ~ "^/chat/(?<ns>${namespacePattern})/$" {
${toPageHeaders()}
      try_files /chat.html =404;
    }

${toModels(config, auth)}
    # Anything else in the cluster stays closed.
    location ~ "^/(models|chat)/(?<ns>[a-z0-9-]{1,63})(/|$)" {
      return 404 '${toError(404, "namespace $ns: only /models/exp-.../v1/... and /chat/exp-.../ lead to experiments")}';
    }
${grafanaUrl === undefined ? "" : toGrafana(grafanaUrl, auth)}
    location / {
      return 404 '${toError(404, "nothing is here; the start page is /")}';
    }
  }

  # For programs of the cluster, such as a load that is to go through here. They reach the engines without the entry as
  # well, so nobody is asked for a password; its Service has no port on the nodes.
  server {
    listen ${insidePort};
    client_max_body_size ${config.maxBodyMebibytes}m;
    add_header X-Request-Id $entry_request_id always;
${toErrorPages(config)}
${toModels(config, false)}
    location / {
      return 404 '${toError(404, "only /models/exp-.../v1/... is here")}';
    }
  }
}
`;
}

/** What is answered where no engine answers, or the request is too large. */
function toErrorPages({ maxBodyMebibytes, answerTimeoutSeconds }: NginxArgs["config"]): string {
  return `    error_page 413 = @too_large;
    error_page 502 = @silent;
    error_page 504 = @late;
    location @too_large {
      return 413 '${toError(413, `the request is larger than ${maxBodyMebibytes} MiB`)}';
    }
    location @silent {
      return 502 '${toError(502, "$entry_silent")}';
    }
    location @late {
      return 504 '${toError(504, `no byte came for ${answerTimeoutSeconds} s, or no connection: $entry_silent`)}';
    }`;
}

/** The models of all experiments, each below its namespace. */
function toModels({ answerTimeoutSeconds }: NginxArgs["config"], auth: boolean): string {
  return `    location ~ "^/models/(?<ns>${namespacePattern})(?<path>${pathPattern})$" {
      if ($request_method !~ "^(GET|HEAD|POST)$") {
        return 405 '${toError(405, "only GET, HEAD and POST")}';
      }
      if ($entry_foreign) {
        return 403 '${toError(403, "pages of other sites may not ask the models")}';
      }
      proxy_pass http://${serveService}.$ns.svc.${clusterDomain}:${ports.serve}$path$is_args$args;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Request-Id $entry_request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
${toAuthorization(auth)}      proxy_hide_header X-Request-Id;
      # Each token leaves as it comes.
      proxy_buffering off;
      proxy_next_upstream off;
      proxy_connect_timeout 5s;
      proxy_send_timeout 60s;
      # Between two pieces of an answer, so also until its first token.
      proxy_read_timeout ${answerTimeoutSeconds}s;
    }`;
}

/** Outside of a search list, where nginx looks names up, a Service's short name is none. */
export function toFullName(host: string): string {
  return host.endsWith(".svc") ? `${host}.${clusterDomain}` : host;
}

function toLogFormat(): string {
  return JSON.stringify(logFields);
}

/** An error in the shape in which OpenAI's clients expect one. */
function toError(code: number, message: string): string {
  return JSON.stringify({ error: { message, type: "entry_proxy", code } });
}

/** nginx drops the server's own headers where a location adds one. */
function toPageHeaders(): string {
  return [
    `      add_header Content-Security-Policy "${pageHeaders}" always;`,
    "      add_header Referrer-Policy no-referrer always;",
    "      add_header X-Content-Type-Options nosniff always;",
    "      add_header Cache-Control no-cache always;",
  ].join("\n");
}

/** The entry's own password is no business of what is behind it, and would be taken for a wrong one there. */
function toAuthorization(auth: boolean): string {
  return auth ? '      proxy_set_header Authorization "";\n' : "";
}

function toGrafana(grafanaUrl: string, auth: boolean): string {
  const { protocol, hostname, port } = new URL(grafanaUrl);
  const upstream = `${protocol}//${toFullName(hostname)}${port === "" ? "" : `:${port}`}`;
  return `
    location = /grafana {
      return 301 /grafana/;
    }
    location /grafana/ {
      # A variable, so that nginx starts without Grafana and finds it later.
      set $grafana ${upstream};
      proxy_pass $grafana;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection $entry_connection;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Request-Id $entry_request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
${toAuthorization(auth)}      proxy_connect_timeout 5s;
    }
`;
}
