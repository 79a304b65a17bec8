"""Debian packages that the local cluster needs beside its own binaries."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev.cluster.errors import ClusterError
from dev.cluster.progress import say, step

CNI_PLUGINS = Path("/usr/lib/cni")
# Package -> the file or command that shows it is there.
NEEDED: Mapping[str, str] = {
    "iproute2": "ip",
    "nftables": "nft",
    "mount": "mount",
    "util-linux": "nsenter",
    "containernetworking-plugins": str(CNI_PLUGINS / "bridge"),
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdlib.h",
    "pkg-config": "pkg-config",
    "libseccomp-dev": "/usr/include/seccomp.h",
}


def missing() -> list[str]:
    """Packages whose command or file is not there."""
    return [package for package, sign in NEEDED.items() if not (shutil.which(sign) or Path(sign).exists())]


def ensure() -> None:
    """Install what is missing with apt-get, saying so. Raises ClusterError when that is not possible."""
    wanted = missing()
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(f"the local cluster needs {', '.join(wanted)} (Debian names); install them and try again")
    say(f"installing Debian packages: {' '.join(wanted)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step("apt-get update and install"):
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted],
        ):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ClusterError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
