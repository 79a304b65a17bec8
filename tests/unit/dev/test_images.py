"""Image archives, written and read."""

import json
import tarfile
from pathlib import Path

import pytest

from dev.cluster import oci
from dev.cluster.errors import ClusterError
from dev.images import room
from dev.images.catalog import PYTHON_IMAGES

NAME = "localhost/magistral/test:dev"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program"
    file.write_bytes(b"a program")
    return file


def write(target: Path, program: Path) -> Path:
    return oci.write(target, NAME, {"/program": program}, entrypoint=["/program"], machine="x86_64")


def test_the_same_files_give_the_same_digest(tmp_path: Path, program: Path) -> None:
    first, second = write(tmp_path / "1.tar", program), write(tmp_path / "2.tar", program)
    assert first.read_bytes() == second.read_bytes()
    program.write_bytes(b"another program")
    assert oci.images(write(tmp_path / "3.tar", program))[NAME] != oci.images(first)[NAME]


def test_a_layout_directory_reads_like_its_archive(tmp_path: Path, program: Path) -> None:
    archive = write(tmp_path / "image.tar", program)
    layout = tmp_path / "layout"
    with tarfile.open(archive) as tar:
        tar.extractall(layout, filter="data")
    assert oci.images(layout) == oci.images(archive)


def test_the_name_that_buildah_gives_is_read_too(tmp_path: Path) -> None:
    entry = {"digest": "sha256:1", "annotations": {"org.opencontainers.image.ref.name": NAME}}
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [entry]}))
    assert oci.images(tmp_path) == {NAME: "sha256:1"}


def test_an_archive_without_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:1"}]}))
    with pytest.raises(ClusterError, match="no image in it has a name"):
        oci.images(tmp_path)


def test_what_is_no_image_archive_is_refused_by_name(tmp_path: Path, program: Path) -> None:
    with pytest.raises(ClusterError, match=f"{program} is not a tar file"):
        oci.images(program)
    with pytest.raises(ClusterError, match=r"nowhere\.tar does not exist"):
        oci.images(tmp_path / "nowhere.tar")
    with tarfile.open(tmp_path / "docker.tar", "w") as tar:
        tar.add(program, "manifest.json")
    with pytest.raises(ClusterError, match="must be an OCI archive"):
        oci.images(tmp_path / "docker.tar")


def test_a_build_that_the_disk_cannot_hold_is_refused_before_it_starts() -> None:
    workload = next(image for image in PYTHON_IMAGES if image.name == "workload")
    room.need(workload, workload.room_gib << 30)
    with pytest.raises(ClusterError, match=r"image workload: 2 GiB free .* its build needs 30 GiB; make room"):
        room.need(workload, 2 << 30)
