#!/usr/bin/env bash
# Makes .venv from the hashed lock: our three packages editable, kubectl and helm beside python. Nothing to do when the lock is the same.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || python=python3
"$python" -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "magistral needs Python 3.11 or 3.12; set PYTHON=<path>")'

stamp=$(cat locks/{bootstrap,dev}.txt crds/pyproject.toml operator/pyproject.toml workloads/pyproject.toml dev/venv.sh dev/vllm_metadata.py dev/kubectl_binaries.py | sha256sum | cut -c1-64)
if [ "$(cat .venv/.stamp 2>/dev/null || true)" = "$stamp" ]; then exit 0; fi

echo "making .venv with $("$python" --version): about 3 minutes the first time (torch, vLLM, DeepSpeed)"
if ! ldconfig -p | grep -q libnuma.so.1; then
  echo "installing libnuma1 (vLLM's CPU backend loads it)"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libnuma1 >/dev/null
fi
"$python" -m venv --clear .venv
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r locks/bootstrap.txt
# DeepSpeed would compile its CUDA operators; the CPU path needs none of them.
export DS_BUILD_OPS=0 UV_LINK_MODE=hardlink
.venv/bin/uv pip install --python .venv/bin/python --no-deps --require-hashes --compile-bytecode -r locks/dev.txt
.venv/bin/uv pip install --python .venv/bin/python --no-deps --no-build-isolation -e crds -e operator -e workloads
.venv/bin/python dev/vllm_metadata.py
.venv/bin/python dev/kubectl_binaries.py
echo "$stamp" > .venv/.stamp
echo "done: .venv"
