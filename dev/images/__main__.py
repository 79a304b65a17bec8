"""`python -m dev.images build [--load]`: every image up to date, and in the local cluster."""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dev.cluster import local
from dev.cluster.binaries import ensure
from dev.cluster.errors import ClusterError
from dev.cluster.node import present
from dev.images import buildah, room
from dev.images.catalog import PYTHON_IMAGES, STORE
from dev.kubectl import ROOT


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def docker_answers() -> bool:
    """Whether a Docker engine runs; the client alone is not enough."""
    return shutil.which("docker") is not None and subprocess.run(
        ["docker", "info"], capture_output=True, check=False, timeout=20).returncode == 0


def build_with_docker() -> None:
    """The same Dockerfiles on the public base image."""
    for image in PYTHON_IMAGES:
        say(f"docker build {image.name}")
        buildah.run("docker", "build", "-f", str(image.dockerfile), "-t", image.reference, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ensure(["minio"])["minio"], f"{folder}/minio")
        buildah.run("docker", "build", "-f", str(ROOT / "images/store/Dockerfile"), "-t", STORE, folder)


def build_without_docker() -> None:
    buildah.prepare(say)
    changed = []
    for image in PYTHON_IMAGES:
        start = time.monotonic()
        room.check(image)
        if buildah.build(image, lambda: buildah.base(say), say):
            say(f"{image.name}: built in {time.monotonic() - start:.0f} s")
            changed.append(image.name)
    if buildah.store(say):
        changed.append("store")
    say(f"images: {', '.join(changed) or 'nothing had changed'}")


def load_into_kind() -> None:
    for reference in [*(image.reference for image in PYTHON_IMAGES), STORE]:
        buildah.run("kind", "load", "docker-image", reference)


def load_into_local() -> None:
    """Import each image that a node does not hold. Layers of images that all hold are left out of the archive."""
    layout, ctr = buildah.layout(), ensure(["ctr"])["ctr"]
    for reference in [*(image.reference for image in PYTHON_IMAGES), STORE]:
        held = set.intersection(*(set(present(node, ctr).values()) for node in local.running()))
        if layout.names()[reference]["digest"] in held:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=layout.folder) as folder:
            archive = Path(folder) / "image.tar"
            layout.archive(reference, archive, layout.layers(held))
            try:
                local.load(archive)
            except ClusterError as error:
                # containerd may drop the layers of the image that is replaced before the new one has taken them over.
                say(f"{reference}: once more with all layers, as: {str(error)[-200:]}")
                layout.archive(reference, archive, ())
                local.load(archive)
        say(f"{reference}: imported in {time.monotonic() - start:.0f} s")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.images")
    parser.add_argument("action", choices=("build",))
    parser.add_argument("--load", action="store_true", help="also bring them into the local cluster")
    options = parser.parse_args(arguments)
    docker = docker_answers()
    try:
        build_with_docker() if docker else build_without_docker()
        if options.load:
            load_into_kind() if docker else load_into_local()
    except (buildah.BuildFailed, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
