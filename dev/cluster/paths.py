"""Where everything lies: in the repository, in the cache, and on the machine."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GO_MODULES = REPOSITORY / "dev" / "go"

STATE = REPOSITORY / ".cluster"
KUBECONFIG = STATE / "kubeconfig"

# Not in the clone: what runs must still be found after `git clean`, socket paths end at 108 bytes, and volumes
# of pods are mounts.
RUN = Path("/run/magistral-cluster")
NODES = Path("/var/lib/magistral-cluster")


def cache() -> Path:
    """Directory that outlives a cluster: binaries and the image store. `MAGISTRAL_CACHE` moves it."""
    chosen = os.environ.get("MAGISTRAL_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else Path.home() / ".cache" / "magistral"
