"""A MinIO server for tests: a real S3 store on loopback.

with minio() as store:
    client = Minio(store.address, store.access_key, store.secret_key, secure=False)
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dev.cluster import binaries
from dev.cluster.control_plane import LOOPBACK, free_ports
from dev.cluster.processes import Processes

READY_S = 60.0


@dataclass(frozen=True)
class Store:
    """A running server. `address` is `host:port`, plain HTTP."""

    address: str
    access_key: str
    directory: Path
    secret_key: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def minio(directory: Path | None = None) -> Iterator[Store]:
    """Start MinIO on a free loopback port with random credentials, stop it by pid at the end.

    Data lies in `directory` (kept) or in a temporary one. The server dies with the caller.
    Raises ClusterError with the log's last lines when it does not come up within a minute.
    """
    binary = binaries.ensure(["minio"])["minio"]
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minio-")))
        port, console_port = free_ports(2)
        store = Store(f"{LOOPBACK}:{port}", secrets.token_hex(8), directory, secrets.token_hex(20))
        processes = Processes.within(directory)
        stack.callback(processes.stop, "minio")
        processes.start(
            "minio",
            [
                str(binary),
                "server",
                "--quiet",
                f"--address={store.address}",
                f"--certs-dir={directory / 'certs'}",
                f"--console-address={LOOPBACK}:{console_port}",
                str(directory / "data"),
            ],
            environment={
                "MINIO_ROOT_USER": store.access_key,
                "MINIO_ROOT_PASSWORD": store.secret_key,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
            with_parent=True,
        )
        processes.wait_ready("minio", lambda: _ready(store), READY_S)
        yield store


def binary_into(directory: Path) -> Path:
    """Copy the built server into `directory`, e.g. the build context of its image. Returns the copy's path."""
    directory.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(binaries.ensure(["minio"])["minio"], directory / "minio"))


def _ready(store: Store) -> str | None:
    # Its `ready` route answers before requests are taken.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"{store.url}/minio/health/cluster", timeout=2).close()
    except urllib.error.HTTPError as refusal:
        return f"/minio/health/cluster answers {refusal.code}"
    except OSError as error:
        return f"{store.address} does not answer ({error})"
    return None
