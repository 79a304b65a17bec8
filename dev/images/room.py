"""Is there disk space for a build? Asked before: without room its last step ends in a broken pipe after minutes."""

import shutil

from dev.cluster.errors import ClusterError
from dev.cluster.paths import cache
from dev.images import buildah
from dev.images.catalog import Image


def check(image: Image) -> None:
    """Raise ClusterError when dependencies must be built and the disk cannot hold them."""
    if f"localhost/magistral/{image.name}-dependencies:{image.dependencies_hash()}" not in buildah.layout().names():
        need(image, shutil.disk_usage(cache()).free)


def need(image: Image, free: int) -> None:
    """Raise ClusterError when `free` bytes are too few."""
    if free < image.room_gib << 30:
        raise ClusterError(f"image {image.name}: {free >> 30} GiB free on the disk of {cache()}, its build needs "
                           f"{image.room_gib} GiB; make room, or set MAGISTRAL_CACHE to a folder on a larger disk")
