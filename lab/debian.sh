#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing.  debian.sh PACKAGE...
set -euo pipefail
missing=$(comm -23 <(printf '%s\n' "$@" | sort) <(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii  *//p' | sort -u))
[ -z "$missing" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "  ✗ missing Debian packages, and only root can install them:" $missing >&2; exit 1; }
echo "  … Debian packages:" $missing
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Tests start servers of their own; RUNLEVEL=1 keeps packages from starting theirs on this machine now.
RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
