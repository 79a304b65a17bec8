"""The image store of a further node: the first node's, by hard links. Importing again takes minutes, and the disk twice.

Blobs and unpacked layers are never written again, so nodes can share their files. Shared are files, not directories:
what a node deletes is gone there only. The two databases are copied. What they say of the first node's containers is true of
no container here: the node removes those pods when it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dev.cluster.commands import run
from dev.cluster.errors import ClusterError
from dev.cluster.progress import step

BLOBS = Path("io.containerd.content.v1.content/blobs")
SNAPSHOTTER = Path("io.containerd.snapshotter.v1.overlayfs")
SNAPSHOTS = SNAPSHOTTER / "snapshots"
DATABASES = (Path("io.containerd.metadata.v1.bolt/meta.db"), SNAPSHOTTER / "metadata.db")
TRIES = 100


def seed(source: Path, target: Path, mounts: str) -> None:
    """Make the image store `target`, which is not there, like `source`, whose containerd may run.

    `mounts`: of the node that uses `source`, in the form of /proc/PID/mounts. Raises ClusterError.
    """
    with step(f"images of {source.name} for {target.name}, as hard links"):
        used = written(mounts)
        _link([source / BLOBS], target / BLOBS.parent)
        _link((one for one in sorted((source / SNAPSHOTS).iterdir()) if one.name not in used), target / SNAPSHOTS)
        for database in DATABASES:
            copy_database(source / database, target / database)


def written(mounts: str) -> set[str]:
    """Names of the snapshots that containers write to."""
    return set(re.findall(rf"upperdir=[^, ]*/{SNAPSHOTS}/(\d+)/", mounts))


def copy_database(source: Path, target: Path) -> None:
    """A copy of a bolt database at one moment: each moment is one from which bolt can go on, as after a crash.

    Raises ClusterError when it is written to all the time.
    """
    before = source.read_bytes()
    for _ in range(TRIES):
        now = source.read_bytes()
        if now == before:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(now)
            return
        before = now
    raise ClusterError(f"{source} changed each of the {TRIES} times that it was read; try again when fewer pods start")


def _link(sources: Iterable[Path], target: Path) -> None:
    target.mkdir(parents=True)
    run(["cp", "--archive", "--link", f"--target-directory={target}", "--", *map(str, sources)], timeout_s=600)
