"""What the cluster changes on the machine itself, so that `down` can put it back.

Mounts and processes of a node are not here: they live and die in the node's own namespaces (node.py).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from dev.cluster.errors import ClusterError

CGROUPS = Path("/sys/fs/cgroup")
# kubelet and the CNI plugins set these.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def remember(file: Path, mount_points: Iterable[Path], sysctls: Sequence[str] = SYSCTLS) -> None:
    """Write down the machine's settings and make the mount points. A record left by a crash is kept: it is older."""
    if not file.exists():
        values = {name: value for name in sysctls if (value := _read(name)) is not None}
        missing: list[str] = []
        for point in mount_points:
            missing += [str(part) for part in (point, *point.parents) if not part.exists() and str(part) not in missing]
        file.write_text(json.dumps({"sysctls": values, "directories": missing}, indent=2))
    for point in mount_points:
        point.mkdir(parents=True, exist_ok=True)


def restore(file: Path) -> None:
    """Put settings back, remove directories made (only while empty), forget the record."""
    if not file.exists():
        return
    record = json.loads(file.read_text())
    for name, value in record["sysctls"].items():
        if _read(name) != value:
            _path(name).write_text(value)
    for directory in sorted(record["directories"], key=len, reverse=True):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    file.unlink()


def forward() -> None:
    """Let the machine route between pods, services and the world."""
    _path("net/ipv4/ip_forward").write_text("1")
    bridge = _path("net/bridge/bridge-nf-call-iptables")
    if not bridge.exists():
        raise ClusterError(
            "the kernel has no bridge netfilter (/proc/sys/net/bridge): service addresses would not work between "
            "pods of one node. Load it with `modprobe br_netfilter` and try again"
        )
    bridge.write_text("1")


def make_cgroup(name: str) -> None:
    """A cgroup of our own in every hierarchy, below which a kubelet puts all its pods."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        # An empty cpuset of version 1 takes no process.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).exists() and (hierarchy / "tasks").exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def remove_cgroup(name: str) -> None:
    """Remove it and those below, the innermost first. Their processes must have ended."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        if not group.exists():
            continue
        for directory in sorted((path for path in group.rglob("*") if path.is_dir()), key=_depth, reverse=True):
            directory.rmdir()
        group.rmdir()


def hierarchies() -> list[Path]:
    """Mount points of cgroup version 1 controllers, or the single one of version 2."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in sorted(CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def _depth(path: Path) -> int:
    return len(path.parts)


def _path(name: str) -> Path:
    return Path("/proc/sys") / name


def _read(name: str) -> str | None:
    try:
        return _path(name).read_text().strip()
    except OSError:
        return None
