# shellcheck shell=sh
# Runs on a server: brings the Gateway API's CRDs to one release, or removes them. Safe to run again.
#
# Environment: ACTION (apply|delete), WAIT_SECONDS; for apply also URL and SHA256 of the release file. K3S is the
# executable and ROOT a prefix of all paths, for tests.
set -eu

k3s=${K3S:-/usr/local/bin/k3s}
# Kept for the removal, which must not need a network.
file=${ROOT:-}/etc/rancher/k3s/gateway-api.yaml

fail() {
  echo "Gateway API: $*" >&2
  exit 1
}

sha256_of() {
  sha256sum "$1" | cut -d ' ' -f 1
}

fetch() {
  if [ -f "$file" ] && [ "$(sha256_of "$file")" = "$SHA256" ]; then
    return
  fi
  command -v curl >/dev/null || fail "curl is missing; install it, the release file is fetched with it"
  mkdir -p "$(dirname "$file")"
  curl --fail --silent --show-error --location --retry 3 --connect-timeout 10 --max-time 120 \
    --output "$file.new" "$URL" || fail "cannot fetch $URL"
  got=$(sha256_of "$file.new")
  if [ "$got" != "$SHA256" ]; then
    rm -f "$file.new"
    fail "$URL has sha256 $got, expected $SHA256; the cluster was left as it was"
  fi
  mv -f "$file.new" "$file"
}

# CRDs that an earlier release had and this one lacks stay: their objects may be in use.
apply() {
  fetch
  timeout "$WAIT_SECONDS" "$k3s" kubectl apply --server-side --force-conflicts -f "$file" || fail "cannot apply $URL"
  crds=$("$k3s" kubectl get -f "$file" -o name | grep '^customresourcedefinition') || fail "$URL holds no CRD"
  # shellcheck disable=SC2086
  "$k3s" kubectl wait --for=condition=Established --timeout="${WAIT_SECONDS}s" $crds ||
    fail "not every CRD was established within $WAIT_SECONDS s"
}

delete() {
  if [ ! -f "$file" ]; then
    echo "Gateway API: nothing was applied from here"
    return
  fi
  timeout "$WAIT_SECONDS" "$k3s" kubectl delete -f "$file" --ignore-not-found ||
    fail "not all of $file could be removed within $WAIT_SECONDS s; objects of its kinds may have finalizers"
  rm -f "$file"
}

# The text comes on standard input, so nothing in it may read from there.
case $ACTION in
  apply) apply </dev/null ;;
  delete) delete </dev/null ;;
  *) fail "unknown action: $ACTION" ;;
esac
