"""The image store of a further node."""

from pathlib import Path

import pytest

from dev.cluster import seed
from dev.cluster.errors import ClusterError

SOURCE_FILES = {
    "io.containerd.content.v1.content/blobs/sha256/1": b"a manifest",
    "io.containerd.content.v1.content/ingest/1": b"half a blob",
    "io.containerd.metadata.v1.bolt/meta.db": b"names",
    "io.containerd.snapshotter.v1.overlayfs/metadata.db": b"snapshots",
    "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/lib": b"a layer",
    "io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs/tmp": b"a container's",
}
MOUNTS = ("overlay /run/rootfs overlay rw,lowerdir=/s/snapshots/1/fs,upperdir=/var/lib/containerd/"
          "io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs,workdir=/w 0 0\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, content in SOURCE_FILES.items():
        (tmp_path / "node-0" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "node-0" / name).write_bytes(content)
    return tmp_path / "node-0"


def test_layers_and_blobs_are_shared_databases_are_copied_and_what_a_container_writes_is_neither(source: Path) -> None:
    target = source.with_name("node-1")
    seed.seed(source, target, MOUNTS)
    linked = {str(file.relative_to(target)): file.samefile(source / file.relative_to(target))
              for file in target.rglob("*") if file.is_file()}
    names = list(SOURCE_FILES)
    assert linked == {names[0]: True, names[2]: False, names[3]: False, names[4]: True}


def test_what_one_node_deletes_stays_with_the_other(source: Path) -> None:
    target = source.with_name("node-1")
    seed.seed(source, target, MOUNTS)
    layer = "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/lib"
    (target / layer).unlink()
    assert (source / layer).read_bytes() == b"a layer"


def test_a_database_that_never_rests_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = iter(range(10 * seed.TRIES))
    monkeypatch.setattr(Path, "read_bytes", lambda _: str(next(reads)).encode())
    with pytest.raises(ClusterError, match=r"meta\.db changed each of the"):
        seed.copy_database(tmp_path / "meta.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
