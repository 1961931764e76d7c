# Every set-up step is a target of its own: done once, done again when its inputs change. Outputs lie in a cache
# outside the work tree under the content of their inputs (lab/step), linked into .tools.
SHELL := /bin/bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules -j3

SERVERS ?= 1
AGENTS ?= 0
export PULUMI_VERSION := 3.248.0
export LLMEVAL_LAB ?= /var/lib/llmeval-lab
# Contents decide whether a step is done, not times: so each is always asked (FORCE), and answers at once.
step = @lab/step $(@F) $(filter-out FORCE,$^) --

.PHONY: FORCE help demo test check preview lab-up lab-down tools env clean
FORCE:
help: ## this list
	@echo "Evaluates LLM serving under load and under faults. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "SERVERS=N and AGENTS=N give the lab N server and N agent hosts (1 and 0)."

demo: lab-up ## sets everything up, starts the lab, runs one experiment end to end; results in fetched/
	@lab/with-tools lab/demo.sh

test: packages test-packages tools images ## sets everything up, then all checks and tests
	@lab/with-tools test/run.sh

check: packages test-packages .tools/node ## format, lint, types, unused code
	@lab/with-tools test/check.sh

preview: packages .tools/node engine ## previews every stack with no cluster and no network
	@lab/with-tools test/preview.sh

lab-up: packages tools images ## starts the lab's mirror and hosts (twice is quick and changes nothing)
	@lab/up.sh $(AGENTS) $(SERVERS)

lab-down: ## removes everything that lab-up made
	@lab/down.sh

env: ## prints what a shell needs to use the tools: eval "$$(make env)"
	@lab/with-tools --print

clean: ## removes this clone's links and packages; the cache and the lab stay
	rm -rf .tools node_modules

# --- packages of the machine and of npm ------------------------------------------------------------------------
debian_packages := ca-certificates curl debootstrap gcc git iproute2 iptables libc6-dev openssh-client procps systemd-container util-linux zstd
# Only tests use these: a browser, an sshd of their own, the linter of shell scripts.
test_packages := chromium openssh-server shellcheck

.PHONY: packages test-packages debian
packages: debian node_modules/.package-lock.json
debian:
	@lab/debian.sh $(debian_packages)
test-packages: | debian
	@lab/debian.sh $(test_packages)

node_modules/.package-lock.json: package.json package-lock.json | .tools/node
	@echo "  … npm packages"
	@lab/with-tools npm ci --ignore-scripts --no-progress --loglevel=error
	@touch $@

# --- the toolchain: Pulumi, its plug-ins, Node, kubectl ---------------------------------------------------------
.PHONY: tools engine
engine: .tools/pulumi .tools/pulumi-resource-kubernetes .tools/pulumi-home
tools: .tools/node engine .tools/k3s

# A Go module of ours has a build.sh that leaves its programs in $OUT. The Go version is an argument so that the
# cache tells builds of different compilers apart. go.sum pins every hash; the public checksum database does not
# know all of these modules.
include lab/go.env
export GOFLAGS GONOSUMDB GOTOOLCHAIN CGO_ENABLED
go_build = $(step) $</build.sh $(shell go env GOVERSION)

.tools/node: lab/toolchain/node lab/toolchain/node.sh FORCE | debian
	$(step) lab/toolchain/node.sh
.tools/pulumi: lab/toolchain/pulumi.sh lab/toolchain/pulumi lab/toolchain/pulumi-language-nodejs FORCE | debian
	$(step) lab/toolchain/pulumi.sh $(PULUMI_VERSION)
.tools/pulumi-resource-kubernetes: lab/toolchain/pulumi-resource-kubernetes FORCE | debian
	$(go_build)
.tools/pulumi-home: lab/toolchain/pulumi-home.sh lab/plugins/install.sh .tools/pulumi .tools/pulumi-resource-kubernetes .tools/node
	@lab/with-tools lab/toolchain/pulumi-home.sh
	@touch $@

# --- what the lab runs -----------------------------------------------------------------------------------------
programs := prometheus node-exporter kube-state-metrics coredns metrics-server local-path-provisioner \
  llm-d-inference-sim kuberay-operator loki otel-collector gateway-api chaos-mesh
$(addprefix .tools/,$(programs)): .tools/%: lab/toolchain/% FORCE | debian
	$(go_build)
.tools/k3s .tools/mirror .tools/pause .tools/chaos-helpers: .tools/%: lab/% FORCE | debian
	$(go_build)
.tools/load: workloads/load FORCE | debian
	$(go_build)
.tools/charts: lab/charts .tools/kuberay-operator .tools/chaos-mesh FORCE
	$(step) lab/charts/build.sh kuberay-operator=.tools/kuberay-operator/crds chaos-mesh=.tools/chaos-mesh/crds
.tools/base-rootfs: lab/images/base-rootfs.sh lab/images/layer.sh FORCE | debian
	$(step) lab/images/base-rootfs.sh
.tools/host-rootfs: lab/host-rootfs.sh .tools/base-rootfs FORCE
	$(step) lab/host-rootfs.sh .tools/base-rootfs/rootfs
.tools/nginx-layer: lab/images/nginx-layer.sh lab/images/layer.sh .tools/base-rootfs FORCE
	$(step) lab/images/nginx-layer.sh .tools/base-rootfs/rootfs
.tools/chaos-daemon-layer: lab/images/chaos-daemon-layer.sh lab/images/layer.sh .tools/base-rootfs FORCE
	$(step) lab/images/chaos-daemon-layer.sh .tools/base-rootfs/rootfs
.tools/ray-layer: lab/images/ray-layer.sh lab/images/ray-rootfs.sh workloads/serve-simulator/requirements.txt .tools/base-rootfs .tools/llm-d-inference-sim FORCE
	$(step) lab/images/ray-layer.sh .tools/base-rootfs/rootfs .tools/llm-d-inference-sim/llm-d-inference-sim

# An image is built from the programs named here by lab/images/build.sh.
image_keys := prometheus nodeExporter kubeStateMetrics loki otelCollector kuberayOperator chaosController chaosDaemon nginx node load \
  serveSimulator pause coredns metrics-server local-path-provisioner busybox
.PHONY: images
images: $(addprefix .tools/image-,$(image_keys)) .tools/charts .tools/gateway-api .tools/mirror .tools/host-rootfs
.tools/image-prometheus: .tools/prometheus
.tools/image-nodeExporter: .tools/node-exporter
.tools/image-kubeStateMetrics: .tools/kube-state-metrics
.tools/image-loki: .tools/loki
.tools/image-otelCollector: .tools/otel-collector
.tools/image-nginx: .tools/nginx-layer
.tools/image-kuberayOperator: .tools/kuberay-operator
.tools/image-chaosController: .tools/chaos-mesh
.tools/image-chaosDaemon: .tools/chaos-mesh .tools/chaos-helpers .tools/chaos-daemon-layer
.tools/image-node: .tools/base-rootfs .tools/node
.tools/image-load: .tools/load
.tools/image-serveSimulator: .tools/ray-layer workloads/serve-simulator
.tools/image-pause: .tools/pause
.tools/image-coredns: .tools/coredns
.tools/image-metrics-server: .tools/metrics-server
.tools/image-local-path-provisioner: .tools/local-path-provisioner
.tools/image-busybox: .tools/base-rootfs
.tools/image-%: lab/images/build.sh lab/images/layer.sh .tools/mirror FORCE
	$(step) lab/images/build.sh $*
