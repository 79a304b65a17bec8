"""What is built, and from which files: the hash of those files decides whether there is anything to do."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dev.kubectl import ROOT

TAG = "dev"


@dataclass(frozen=True)
class Image:
    """One folder of `images/`. `dependencies` change rarely and are large; `code` is ours and small.

    `room_gib`: disk space that building the dependencies takes at its height, with some to spare.
    """

    name: str
    dependencies: tuple[str, ...]
    code: tuple[str, ...]
    room_gib: int

    @property
    def reference(self) -> str:
        return f"localhost/magistral/{self.name}:{TAG}"

    @property
    def dockerfile(self) -> Path:
        return ROOT / "images" / self.name / "Dockerfile"

    def dependencies_hash(self) -> str:
        """Of the Dockerfile and what its first stage copies."""
        return content_hash([self.dockerfile, *(ROOT / path for path in self.dependencies)])

    def code_hash(self) -> str:
        """Of our own packages."""
        return content_hash([self.dockerfile, *(ROOT / path for path in self.code)])


_API = ("crds/pyproject.toml", "crds/magistral_api")
_WORKLOADS = (*_API, "workloads/pyproject.toml", "workloads/magistral_workloads")
_OPERATOR = (*_API, "operator/pyproject.toml", "operator/magistral_operator")

PYTHON_IMAGES = (
    Image("operator", ("locks/bootstrap.txt", "locks/operator.txt"), _OPERATOR, 3),
    Image("verifier", ("locks/bootstrap.txt", "locks/verifier.txt"), _WORKLOADS, 3),
    Image("workload", ("locks/bootstrap.txt", "locks/workloads.txt", "dev/vllm_metadata.py"), _WORKLOADS, 30),
)
STORE = "localhost/magistral/store:dev"


def content_hash(paths: Iterable[Path]) -> str:
    """Hash of names and bytes of files and of every Python file below folders."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            digest.update(f"{file.relative_to(ROOT)}\0".encode())
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
