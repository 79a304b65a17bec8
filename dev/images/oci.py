"""Reads and joins images in an OCI layout folder (OCI image specification 1.1), and packs what a cluster lacks."""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Layout:
    """A folder with `index.json`, `oci-layout` and `blobs/sha256/`."""

    folder: Path

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def read(self, digest: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.blob(digest).read_bytes())
        return document

    def names(self) -> dict[str, dict[str, Any]]:
        """Reference to descriptor of its manifest."""
        index = self.folder / "index.json"
        entries = json.loads(index.read_bytes())["manifests"] if index.exists() else []
        return {entry["annotations"][NAME]: entry for entry in entries if NAME in entry.get("annotations", {})}

    def layers(self, manifests: Collection[str]) -> set[str]:
        """Digests of the layers of those manifests that this layout knows."""
        return {layer["digest"] for digest in manifests if self.blob(digest).exists()
                for layer in self.read(digest).get("layers", [])}

    def put(self, document: dict[str, Any]) -> tuple[str, int]:
        """Store a JSON document as a blob; returns digest and size."""
        data = json.dumps(document, sort_keys=True).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blob(digest).write_bytes(data)
        return digest, len(data)

    def join(self, bottom: str, top: str, reference: str) -> str:
        """What `FROM bottom` / `COPY --from=top / /` makes: the layers of both, the settings of `bottom`.

        Returns the digest of the new manifest.
        """
        lower, upper = (self.read(self.names()[name]["digest"]) for name in (bottom, top))
        config, added = self.read(lower["config"]["digest"]), self.read(upper["config"]["digest"])
        config["rootfs"]["diff_ids"] += added["rootfs"]["diff_ids"]
        config["history"] = config.get("history", []) + [
            {"created_by": f"COPY --from={top} / /"} for _ in added["rootfs"]["diff_ids"]]
        digest, size = self.put(config)
        manifest = {**lower, "config": {**lower["config"], "digest": digest, "size": size},
                    "layers": lower["layers"] + upper["layers"]}
        digest, size = self.put(manifest)
        entries = [entry for name, entry in self.names().items() if name != reference]
        entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "annotations": {NAME: reference}})
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        return digest

    def archive(self, reference: str, target: Path, present: Collection[str]) -> None:
        """Write an importable archive of one image, leaving out the layers in `present`."""
        entry = self.names()[reference]
        manifest = self.read(entry["digest"])
        layers = [layer["digest"] for layer in manifest["layers"] if layer["digest"] not in present]
        named = {**entry, "annotations": {NAME: reference, CONTAINERD_NAME: reference}}
        with tarfile.open(target, "w") as tar:
            _add(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
            _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
            for digest in [entry["digest"], manifest["config"]["digest"], *layers]:
                tar.add(self.blob(digest), f"blobs/sha256/{digest.removeprefix('sha256:')}")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
