"""OCI image archives: written from a few files, byte for byte the same each time; and read for names and digests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dev.cluster.errors import ClusterError

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def write(target: Path, name: str, files: Mapping[str, Path], *, entrypoint: Sequence[str], machine: str) -> Path:
    """An archive of one image with one layer: `files` maps the path in the image to a file here, all mode 0755.

    `name` is the full reference, e.g. `localhost/magistral/pause:1`. `machine` as `platform.machine()` says it.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for place, source in sorted(files.items()):
            _add(tar, place.lstrip("/"), source.read_bytes(), mode=0o755)
    config = {
        "architecture": ARCHITECTURES[machine],
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
    }
    blobs: dict[str, bytes] = {}

    def put(media_type: str, content: bytes) -> dict[str, Any]:
        blobs[f"blobs/sha256/{_digest(content).removeprefix('sha256:')}"] = content
        return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}

    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put("application/vnd.oci.image.config.v1+json", _json(config)),
        "layers": [put("application/vnd.oci.image.layer.v1.tar", layer.getvalue())],
    }
    entry = put(manifest["mediaType"], _json(manifest)) | {"annotations": {NAME_KEYS[0]: name}}
    index = {"schemaVersion": 2, "manifests": [entry]}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json(index))
        for place, content in sorted(blobs.items()):
            _add(tar, place, content)
    return target


def images(archive: Path) -> dict[str, str]:
    """Name -> digest of every named image in an OCI archive or layout directory. Raises ClusterError for others."""
    if archive.is_dir() and (archive / "index.json").exists():
        index = json.loads((archive / "index.json").read_text())
    else:
        index = _index_of_tar(archive)
    found = {}
    for entry in index["manifests"]:
        annotations = entry.get("annotations") or {}
        name = next((annotations[key] for key in NAME_KEYS if key in annotations), None)
        if name is not None:
            found[name] = entry["digest"]
    if not found:
        raise ClusterError(
            f"{archive}: no image in it has a name; give one when exporting, e.g. FILE:localhost/name:tag"
        )
    return found


def _index_of_tar(archive: Path) -> Any:
    try:
        with tarfile.open(archive) as tar:
            names = {name.removeprefix("./"): name for name in tar.getnames()}
            if "index.json" in names:
                member = tar.extractfile(names["index.json"])
                if member is not None:
                    return json.loads(member.read())
    except FileNotFoundError as error:
        raise ClusterError(f"image archive {archive} does not exist") from error
    except tarfile.TarError as error:
        raise ClusterError(f"image archive {archive} is not a tar file: {error}") from error
    raise ClusterError(f"image archive {archive} has no index.json: it must be an OCI archive (`oci-archive:`)")


def _add(tar: tarfile.TarFile, place: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(place)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
