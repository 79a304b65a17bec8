"""TRL beside .venv: what locks/bench.txt names, in a folder of the cache that only processes of the bench see."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.cluster.paths import REPOSITORY, cache
from dev.cluster.progress import step

LOCK = REPOSITORY / "locks" / "bench.txt"
LIMIT_S = 600


def installed() -> Path:
    """The folder, filled when it was not. It has only what .venv has not; torch, transformers and vLLM are .venv's."""
    name = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    target = cache() / "bench" / name
    if not target.exists():
        unfinished = target.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with step("installing TRL and what it needs into the cache"):
            subprocess.run([Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--python", sys.executable,
                            "--target", unfinished, "--no-deps", "--require-hashes", "-r", LOCK],
                           check=True, timeout=LIMIT_S)
        unfinished.rename(target)
    return target


def environment(threads: int) -> dict[str, str]:
    """Of a process that imports TRL. `threads`: of torch and vLLM."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")]), str(installed())]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
