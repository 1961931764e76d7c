#!/usr/bin/env bash
# Puts `pulumi` of the pinned version into $OUT: the one on PATH when it has that version, else it is built, with
# its Node.js language host beside it, where it looks first.
set -euo pipefail
if command -v pulumi >/dev/null && [ "$(pulumi version)" = "v$1" ]; then
  ln -s "$(command -v pulumi)" "$OUT/pulumi"
else
  "$(dirname "$0")/pulumi/build.sh"
  "$(dirname "$0")/pulumi-language-nodejs/build.sh"
fi
