// What Grafana reads when it starts: settings, data sources and where the dashboards lie.

import { prometheusUid } from "./dashboards/build.ts";

/** Path under which Grafana answers; a proxy passes it on as it is, and the request's host with it. */
export const grafanaPath = "/grafana";
export const secretsFolder = "/run/secrets/grafana";
export const dashboardsFolder = "/etc/grafana/dashboards";

interface GrafanaSettings {
  readonly anonymousRead: boolean;
  readonly publicUrl?: string;
}

/** Addresses that pods reach. */
export interface GrafanaSources {
  readonly prometheusUrl: string;
  readonly scrapeIntervalSeconds: number;
  /** @default none: no logs in Grafana */
  readonly lokiUrl?: string;
}

/** Settings, as Grafana's environment variables. */
export function toGrafanaEnv(settings: GrafanaSettings): Record<string, string> {
  return {
    GF_SERVER_ROOT_URL: `${settings.publicUrl?.replace(/\/+$/, "") ?? "%(protocol)s://%(domain)s"}${grafanaPath}/`,
    GF_SERVER_SERVE_FROM_SUB_PATH: "true",
    GF_SECURITY_ADMIN_USER: "admin",
    GF_SECURITY_ADMIN_PASSWORD__FILE: `${secretsFolder}/password`,
    GF_SECURITY_DISABLE_GRAVATAR: "true",
    GF_USERS_ALLOW_SIGN_UP: "false",
    GF_AUTH_ANONYMOUS_ENABLED: String(settings.anonymousRead),
    GF_AUTH_ANONYMOUS_ORG_ROLE: "Viewer",
    GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: `${dashboardsFolder}/llmeval-cluster.json`,
    GF_DASHBOARDS_MIN_REFRESH_INTERVAL: "1s",
    // Nothing leaves the cluster and nothing comes in: sites without internet would wait for it at each start.
    GF_ANALYTICS_REPORTING_ENABLED: "false",
    GF_ANALYTICS_CHECK_FOR_UPDATES: "false",
    GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES: "false",
    GF_ANALYTICS_FEEDBACK_LINKS_ENABLED: "false",
    GF_NEWS_NEWS_FEED_ENABLED: "false",
    GF_SNAPSHOTS_EXTERNAL_ENABLED: "false",
    GF_PLUGINS_PLUGIN_ADMIN_ENABLED: "false",
    // From 13.2 the data sources are plug-ins beside the program. The installer would unload one to replace it, fail
    // on the read-only file system and leave it unloaded (grafana#132528).
    GF_PLUGINS_PREINSTALL_DISABLED: "true",
    GF_PLUGINS_PREINSTALL_AUTO_UPDATE: "false",
  };
}

/** File of the data sources. */
export function toDataSources(sources: GrafanaSources): Record<string, unknown> {
  const common = { access: "proxy", editable: false };
  return {
    apiVersion: 1,
    prune: true,
    datasources: [
      {
        ...common,
        name: "Prometheus",
        uid: prometheusUid,
        type: "prometheus",
        url: sources.prometheusUrl,
        isDefault: true,
        // The shortest window of a rate is four of these.
        jsonData: { timeInterval: `${sources.scrapeIntervalSeconds}s`, httpMethod: "POST" },
      },
      ...(sources.lokiUrl === undefined
        ? []
        : [{ ...common, name: "Loki", uid: "loki", type: "loki", url: sources.lokiUrl }]),
    ],
  };
}

/** File that tells where the dashboards lie. */
export const dashboardProvider = {
  apiVersion: 1,
  providers: [
    {
      name: "llm-serving-eval",
      type: "file",
      allowUiUpdates: false,
      disableDeletion: true,
      options: { path: dashboardsFolder },
    },
  ],
};
