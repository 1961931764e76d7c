#!/usr/bin/env bash
# Makes the root file system of the lab's serve-simulator image: Debian + Python 3.11 + Ray Serve + the simulator + our Serve application.
#
#   ray-rootfs.sh BASE_ROOTFS SIMULATOR_BINARY OUT_DIR
#
# BASE_ROOTFS is a Debian bookworm minbase tree (debootstrap); it is copied, not changed. Runs as root. How this
# machine reaches its package registries (apt settings, pip settings, CA bundle, name resolution) is lent to the
# tree by bind mounts in an own mount namespace: nothing of it stays in the image.
set -euo pipefail

if [[ $# -ne 3 ]]; then
  echo "usage: ray-rootfs.sh BASE_ROOTFS SIMULATOR_BINARY OUT_DIR" >&2
  exit 2
fi
base=$(realpath "$1") simulator=$(realpath "$2") out=$(realpath -m "$3")
application=$(realpath "$(dirname "$0")/../../workloads/serve-simulator")

if [[ ! -d $base/usr/bin ]]; then
  echo "ray-rootfs.sh: $base: no root file system; make one with debootstrap --variant=minbase bookworm" >&2
  exit 1
fi
if [[ -e $out ]]; then
  echo "ray-rootfs.sh: $out: exists; name a new directory" >&2
  exit 1
fi
if [[ -z ${LLMEVAL_OWN_MOUNTS:-} ]]; then
  exec env LLMEVAL_OWN_MOUNTS=1 unshare --mount --propagation private "$0" "$base" "$simulator" "$out"
fi

# Built beside its place: a run that was cut off never looks like a finished image.
final=$out out=$out.partial
mkdir -p "$(dirname "$out")"
rm -rf "$out"
cp -a "$base" "$out"

# lend FILE [NAME_INSIDE]: shows a file of this machine inside the tree until give_back.
lent=()
lend() {
  local inside="$out${2:-$1}"
  [[ -e $1 ]] || return 0
  mkdir -p "$(dirname "$inside")"
  if [[ ! -e $inside ]]; then
    rm -f "$inside" # a dangling link
    : >"$inside"
    lent+=("$inside:made")
  else
    lent+=("$inside:kept")
  fi
  mount --bind "$(realpath "$1")" "$inside"
}
give_back() {
  local entry
  umount "$out/proc"
  for entry in "${lent[@]}"; do
    umount "${entry%:*}"
    if [[ $entry == *:made ]]; then rm -f "${entry%:*}"; fi
  done
}
inside() {
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive "${passed[@]}" chroot "$out" "$@"
}

apt_settings=$(mktemp)
trap 'rm -f "$apt_settings"' EXIT
{
  echo 'Acquire::https::CAInfo "/etc/ssl/build-ca.crt";'
  apt-config dump | grep '^Acquire::' || true
} >"$apt_settings"
chmod 644 "$apt_settings"
ca=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
mount -t proc proc "$out/proc"
lend "$apt_settings" /etc/apt/apt.conf.d/99build
lend /etc/resolv.conf
lend /etc/hosts
lend /etc/pip.conf
lend "$ca" /etc/ssl/build-ca.crt

passed=(PIP_CERT=/etc/ssl/build-ca.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_EXTRA_INDEX_URL \
  PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT; do
  if [[ -n ${!name:-} ]]; then passed+=("$name=${!name}"); fi
done

# wget: KubeRay's readiness probe of a worker runs `bash -c "wget ... | grep success"` in the container.
inside apt-get update -q
inside apt-get install -qy --no-install-recommends python3 wget
inside apt-mark manual python3 wget
inside apt-get install -qy --no-install-recommends python3-venv
install -m 644 "$application/requirements.txt" "$out/tmp/requirements.txt"
inside python3 -m venv /opt/ray
inside /opt/ray/bin/pip install -q --no-deps --require-hashes --no-compile -r /tmp/requirements.txt
inside /opt/ray/bin/pip uninstall -qy pip setuptools
inside apt-get purge -qy --auto-remove -o APT::AutoRemove::SuggestsImportant=false python3-venv
rm -f "$out/tmp/requirements.txt"

# Parts of Ray that Serve never loads: Java, and the libraries for training and reinforcement learning.
ray=$out/opt/ray/lib/python3.11/site-packages/ray
rm -rf "$ray/jars" "$ray/rllib" "$ray/tune" "$ray/train"
# Each of these dashboard parts is a process of 60 to 70 MiB in the head; Serve, KubeRay and the metrics need none of them.
rm "$ray"/dashboard/modules/{data/data,event/event,job/job,metrics/metrics,state/state,train/train}_head.py
find "$out/opt/ray" -depth -type d -name tests -exec rm -rf {} +

install -d "$out/opt/serve-simulator"
install -m 644 "$application"/*.py "$out/opt/serve-simulator/"
install -m 755 "$simulator" "$out/usr/local/bin/llm-d-inference-sim"
# Found without any variable, so that KubeRay's plain `bash -c -- "ray start ..."` works under every image config.
echo /opt/serve-simulator >"$out/opt/ray/lib/python3.11/site-packages/serve-simulator.pth"
for name in ray serve; do ln -s "/opt/ray/bin/$name" "$out/usr/local/bin/$name"; done
inside useradd --create-home --uid 1000 --shell /bin/bash ray

# Byte code that never looks at the sources: their times change on the way through an image layer. Not for our own
# application: a later layer may replace it, and stale byte code would run in its place.
inside /opt/ray/bin/python -m compileall -q -j 2 --invalidation-mode unchecked-hash \
  /opt/ray/lib/python3.11/site-packages || true

inside apt-get clean
rm -rf "$out"/var/lib/apt/lists/* "$out"/var/cache/apt/*.bin "$out"/var/log/{apt,dpkg.log,alternatives.log} \
  "$out"/usr/share/{doc,man,locale,info} "$out"/root/.cache
# The check that the image is whole: everything that Serve, the probes and KubeRay's start command call.
inside /bin/bash -c 'set -e; ray --version; for tool in wget grep setpriv; do command -v $tool >/dev/null; done
  /opt/ray/bin/python -c "import serve_simulator, ray.dashboard.optional_deps, ray.dashboard.modules.serve.serve_head"'
give_back
mv "$out" "$final"
echo "$final: $(du -sm "$final" | cut -f1) MiB"
