"""Our own pause program: the first process of every pod and of every node."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from dev.cluster import oci
from dev.cluster.commands import run
from dev.cluster.config import DIRECTORY
from dev.cluster.paths import cache

SOURCE = DIRECTORY / "pause.c"


def version() -> str:
    return hashlib.sha256(SOURCE.read_bytes() + platform.machine().encode()).hexdigest()[:12]


def image() -> str:
    """The full name of the sandbox image."""
    return f"localhost/magistral/pause:{version()}"


def ensure() -> Path:
    """Compile it statically unless the cache has it. Returns the binary's path."""
    binary = cache() / "pause" / version() / "pause"
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        fresh = binary.with_suffix(".new")
        run(["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", str(fresh), str(SOURCE)])
        fresh.replace(binary)
    return binary


def archive() -> Path:
    """The sandbox image as an OCI archive. Returns the archive's path."""
    binary = ensure()
    target = binary.with_suffix(".tar")
    if not target.exists():
        fresh = oci.write(
            target.with_suffix(".new"),
            image(),
            {"/pause": binary},
            entrypoint=["/pause"],
            machine=platform.machine(),
        )
        fresh.replace(target)
    return target
