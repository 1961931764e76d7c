#!/usr/bin/env bash
# Builds one image of the lab as an OCI layout in $OUT:  build.sh KEY
# KEY is the key under which stacks ask for the image, or the name of an image that the k3s stand-in pulls itself.
# Every program comes from .tools, where the build steps leave it.
set -euo pipefail
key=$1
cd "$(dirname "$0")/../.."
tools=$PWD/.tools
files=$OUT/files
layers=()
entrypoint='[]'
environment='["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
user=''
stand_in=''

program() { # SOURCE TARGET
  install -D -m 755 "$1" "$files/$2"
  entrypoint="[\"/$2\"]"
}

case $key in
  prometheus)
    reference=quay.io/prometheus/prometheus:v3.14.0
    program "$tools/prometheus/prometheus" bin/prometheus
    ;;
  nodeExporter)
    reference=quay.io/prometheus/node-exporter:v1.12.1
    program "$tools/node-exporter/node_exporter" bin/node_exporter
    ;;
  kubeStateMetrics)
    reference=registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.20.0
    program "$tools/kube-state-metrics/kube-state-metrics" kube-state-metrics
    entrypoint='["/kube-state-metrics", "--port=8080", "--telemetry-port=8081"]'
    user=65534:65534
    ;;
  loki)
    reference=docker.io/grafana/loki:3.7.6
    program "$tools/loki/loki" usr/bin/loki
    user=10001:10001
    ;;
  otelCollector)
    reference=ghcr.io/open-telemetry/opentelemetry-collector-releases/opentelemetry-collector-contrib:0.159.0
    program "$tools/otel-collector/otelcol-contrib" otelcol-contrib
    user=10001:10001
    ;;
  nginx)
    reference=docker.io/nginxinc/nginx-unprivileged:1.28.0-bookworm
    layers=("$tools/base-rootfs/layer.tar.zst" "$tools/nginx-layer/layer.tar.zst")
    entrypoint='["nginx", "-g", "daemon off;"]'
    user=101:101
    stand_in="Debian nginx 1.22 in place of nginx 1.28.0"
    ;;
  kuberayOperator)
    reference=quay.io/kuberay/operator:v1.6.2
    program "$tools/kuberay-operator/manager" manager
    user=65532:65532
    ;;
  chaosController)
    reference=ghcr.io/chaos-mesh/chaos-mesh:v2.8.3
    program "$tools/chaos-mesh/chaos-controller-manager" usr/local/bin/chaos-controller-manager
    user=65534:65534
    stand_in="Chaos Mesh of 2022-08 in place of 2.8.3"
    ;;
  chaosDaemon)
    reference=ghcr.io/chaos-mesh/chaos-daemon:v2.8.3
    layers=("$tools/base-rootfs/layer.tar.zst" "$tools/chaos-daemon-layer/layer.tar.zst")
    install -D -m 755 -t "$files/usr/local/bin" "$tools"/chaos-helpers/{nsexec,pause,memStress}
    program "$tools/chaos-mesh/chaos-daemon" usr/local/bin/chaos-daemon
    stand_in="Chaos Mesh of 2022-08 in place of 2.8.3"
    ;;
  node)
    reference=docker.io/library/node:24.21.0-bookworm-slim
    layers=("$tools/base-rootfs/layer.tar.zst")
    program "$tools/node/bin/node" usr/local/bin/node
    ;;
  load)
    reference=docker.io/llm-serving-eval/load:0.1.0
    program "$tools/load/k6" usr/bin/k6
    ;;
  serveSimulator)
    reference=docker.io/llm-serving-eval/serve-simulator:0.1.0
    layers=("$tools/ray-layer/layer.tar.zst")
    # Over the copy in the big layer, so that a change of the application makes a small layer.
    install -D -m 644 -t "$files/opt/serve-simulator" workloads/serve-simulator/*.py
    stand_in="llm-d-inference-sim in place of vLLM"
    ;;
  pause)
    reference=docker.io/rancher/mirrored-pause:3.6
    program "$tools/pause/pause" pause
    ;;
  coredns)
    reference=docker.io/rancher/mirrored-coredns-coredns:1.14.7
    program "$tools/coredns/coredns" coredns
    ;;
  metrics-server)
    reference=docker.io/rancher/mirrored-metrics-server:v0.9.0
    program "$tools/metrics-server/metrics-server" metrics-server
    user=65534:65534
    ;;
  local-path-provisioner)
    reference=docker.io/rancher/local-path-provisioner:v0.0.37
    program "$tools/local-path-provisioner/local-path-provisioner" usr/bin/local-path-provisioner
    entrypoint='["local-path-provisioner"]'
    ;;
  busybox)
    reference=docker.io/rancher/mirrored-library-busybox:1.37.0
    layers=("$tools/base-rootfs/layer.tar.zst")
    stand_in="Debian 12 in place of busybox"
    ;;
  *)
    echo "unknown image $key" >&2
    exit 1
    ;;
esac

if [ -d "$files" ]; then
  mkdir -p "$files/tmp"
  chmod 1777 "$files/tmp"
  lab/images/layer.sh "$files" "$OUT/files.tar.zst"
  layers+=("$OUT/files.tar.zst")
fi
cat >"$OUT/config.json" <<JSON
{
  "Entrypoint": $entrypoint,
  "Env": $environment,
  "User": "$user",
  "WorkingDir": "/",
  "Labels": { "dev.llmeval.lab": "built for the lab", "dev.llmeval.stand-in": "$stand_in" }
}
JSON
"$tools/mirror/mirror" image --out "$OUT" --reference "$reference" --config "$OUT/config.json" "${layers[@]}"
rm -rf "$files" "$OUT/files.tar.zst" "$OUT/config.json"
