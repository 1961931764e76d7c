#!/bin/sh
# Installs the lab's stand-ins for Pulumi's command and random plug-ins into $PULUMI_HOME, with the `pulumi` of PATH.
# The installed plug-in is a shim that runs the sources where they lie now, with the `node` of PATH (>= 22.18, as it was
# at installation). Safe to run again: a plug-in whose shim is already in place is left alone.
set -eu
export PULUMI_SKIP_UPDATE_CHECK=true

: "${PULUMI_HOME:?set PULUMI_HOME to the directory that the plug-ins go into}"
sources=$(cd "$(dirname "$0")" && pwd)
node=$(command -v node)
shim=$(mktemp)
trap 'rm -f "$shim"' EXIT

install_plugin() { # name version
  printf '#!/bin/sh\nexec "%s" "%s/%s.ts" "$@"\n' "$node" "$sources" "$1" >"$shim"
  chmod 755 "$shim"
  installed="$PULUMI_HOME/plugins/resource-$1-v$2/pulumi-resource-$1"
  if cmp -s "$shim" "$installed"; then
    return
  fi
  pulumi plugin install resource "$1" "$2" --file "$shim" --reinstall
}

install_plugin command 1.2.1
install_plugin random 4.21.2
