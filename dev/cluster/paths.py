"""Where everything lies: in the repository, in the cache, and on the machine."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GO_MODULES = REPOSITORY / "dev" / "go"
CONFIG = Path(__file__).resolve().parent / "config"

STATE = REPOSITORY / ".cluster"
KUBECONFIG = STATE / "kubeconfig"

# Unix socket paths end at 108 bytes and pods mount file systems here, so neither lies in the clone.
RUN = Path("/run/magistral-cluster")
NODES = Path("/var/lib/magistral-cluster")


def cache() -> Path:
    """Directory that outlives a cluster: binaries and the image store. `MAGISTRAL_CACHE` moves it."""
    chosen = os.environ.get("MAGISTRAL_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else Path.home() / ".cache" / "magistral"
