#!/usr/bin/env bash
# Builds Pulumi's Node.js language host; v3.68.0 is the last tag that carries it, and it serves newer CLIs.
set -euo pipefail
cd "$(dirname "$0")"
go build -ldflags "-s -w" -o "$OUT/pulumi-language-nodejs" github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs
