"""Real parts for every suite: an S3 server, a Kubernetes control plane. Started once a session, when a test asks."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from minio import Minio

from dev.cluster import control_plane as planes
from dev.cluster import minio as servers
from magistral_api.runtime import SecretRef, Storage
from magistral_workloads.storage import ObjectStore


@pytest.fixture(scope="session")
def s3_server() -> Iterator[servers.Store]:
    """A MinIO server: `url`, `access_key`, `secret_key`."""
    with servers.minio() as server:
        yield server


@pytest.fixture
def s3_storage(s3_server: servers.Store) -> Storage:
    """`spec.storage` of a runtime with a fresh, empty bucket."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    Minio(s3_server.address, s3_server.access_key, s3_server.secret_key, secure=False).make_bucket(bucket)
    return Storage(endpoint=s3_server.url, bucket=bucket, credentials_secret_ref=SecretRef(name="store"))


@pytest.fixture
def s3(s3_server: servers.Store, s3_storage: Storage) -> ObjectStore:
    """A store with a fresh, empty bucket."""
    return ObjectStore(s3_storage, s3_server.access_key, s3_server.secret_key, owner="MagistralRuntime/test")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[planes.ControlPlane]:
    """etcd and kube-apiserver; no controllers."""
    with planes.control_plane() as plane:
        yield plane


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a figure past pytest's capture."""
    def say(figure: str) -> None:
        with capsys.disabled():
            print(f"\n{figure}")
    return say
