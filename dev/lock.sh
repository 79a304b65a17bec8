#!/usr/bin/env bash
# Resolves locks/*.in into hashed locks that name no index. Every image's lock agrees with dev.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { .venv/bin/uv pip compile "locks/$1.in" -o "locks/$1.txt" --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q "${@:2}"; }
compile dev --override locks/overrides.in
for name in operator verifier workloads; do compile "$name" --override locks/overrides.in -c locks/dev.txt; done
compile bootstrap
# What benchmarks compare with, installed beside .venv: only what that has not.
# shellcheck disable=SC2046
compile bench --override locks/overrides.in -c locks/dev.txt $(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' locks/dev.txt)
