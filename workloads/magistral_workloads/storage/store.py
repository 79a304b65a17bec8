"""The minio SDK 7.2 behind one small typed interface.

Everything that the project asks of an object store is a method here: a new SDK version changes this file only.
"""

import base64
import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from magistral_api.config import StageConfig
from magistral_api.runtime import Storage
from magistral_workloads.storage import errors
from magistral_workloads.storage.errors import StorageError
from magistral_workloads.storage.uri import ObjectAt

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 30.0
RETRIES: Final = 3
# The SDK holds a part in memory for each parallel upload.
PART_BYTES: Final = 16 * 1024 * 1024
PARALLEL_PARTS: Final = 2
CHUNK_BYTES: Final = 1024 * 1024
_RETRIED = (500, 502, 503, 504)

T = TypeVar("T")


@dataclass(frozen=True)
class ObjectInfo:
    """What the store says of an object. `size` in bytes."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Stored:
    """What was sent: bytes and their SHA-256 in hex."""

    size: int
    sha256: str


class ObjectStore:
    """One bucket. Safe to share between threads. Every method raises StorageError, no other error of the network.

    `owner` names the object with `spec.storage` in messages, for example `MagistralRuntime/default`.
    """

    def __init__(self, storage: Storage, access_key: str, secret_key: str, *, owner: str = "MagistralRuntime",
                 bucket: str | None = None, connect_seconds: float = CONNECT_SECONDS,
                 read_seconds: float = READ_SECONDS, retries: int = RETRIES) -> None:
        self._storage, self._owner, self._retries = storage, owner, retries
        self._access_key, self._secret_key = _checked(access_key, secret_key, storage, owner)
        self.bucket = bucket or storage.bucket
        self._http = urllib3.PoolManager(
            maxsize=16,
            timeout=Timeout(connect=connect_seconds, read=read_seconds),
            retries=Retry(total=retries, redirect=0, backoff_factor=0.3, status_forcelist=_RETRIED,
                          allowed_methods=None, raise_on_status=False),
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        endpoint = urlsplit(storage.endpoint)
        self._minio = Minio(endpoint.netloc, access_key=self._access_key, secret_key=self._secret_key,
                            region=storage.region, secure=endpoint.scheme == "https", http_client=self._http)

    @classmethod
    def connect(cls, storage: Storage, environ: Mapping[str, str] = os.environ, *, owner: str = "MagistralRuntime",
                connect_seconds: float = CONNECT_SECONDS, read_seconds: float = READ_SECONDS,
                retries: int = RETRIES) -> "ObjectStore":
        """With AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment. Raises StorageError without them."""
        return cls(storage, environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", ""), owner=owner,
                   connect_seconds=connect_seconds, read_seconds=read_seconds, retries=retries)

    @classmethod
    def of(cls, config: StageConfig, environ: Mapping[str, str] = os.environ, *,
           connect_seconds: float = CONNECT_SECONDS, read_seconds: float = READ_SECONDS,
           retries: int = RETRIES) -> "ObjectStore":
        """The run's bucket, with the credentials of the pod's environment."""
        return cls.connect(config.storage, environ, owner=f"MagistralRuntime/{config.spec.runtime_ref.name}",
                           connect_seconds=connect_seconds, read_seconds=read_seconds, retries=retries)

    def locate(self, uri: str) -> tuple["ObjectStore", str]:
        """The store of the URI's bucket (same server and credentials), and the key. Raises ValueError."""
        at = ObjectAt.parse(uri)
        if at.bucket == self.bucket:
            return self, at.key
        other = ObjectStore.__new__(ObjectStore)
        other.__dict__.update(self.__dict__)
        other.bucket = at.bucket
        return other, at.key

    def uri(self, key: str) -> str:
        return str(ObjectAt(self.bucket, key))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create the object; False when it was there before. Atomic where the store honours `If-None-Match`.

        The look beforehand keeps a store that ignores the header from losing what is already there.
        """
        return self.head(key) is None and self.put_conditionally(key, data)

    def put_conditionally(self, key: str, data: bytes) -> bool:
        """One PUT with `If-None-Match: *`: True when this call created the object.

        A try that ended without an answer may have won all the same: then the bytes tell.
        """
        unanswered = False
        failure: Exception = HTTPError("conflict")
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(0.3 * 2 ** (attempt - 1))
            try:
                # The SDK would turn If-None-Match into user metadata; unsigned on a presigned PUT it passes.
                url = self._minio.presigned_put_object(self.bucket, key, expires=timedelta(minutes=5))
                response = self._http.request("PUT", url, body=data, retries=False, headers={
                    "If-None-Match": "*", "Content-MD5": _md5(data),
                    "Content-Type": "application/octet-stream"})
            except (MinioException, HTTPError, OSError) as error:
                unanswered, failure = True, error
                continue
            if response.status in (200, 201, 204):
                return True
            if response.status == 412:
                return unanswered and self.get(key) == data
            if response.status == 409:  # another conditional PUT is under way
                continue
            refused = self._refused(response, key)
            if response.status not in _RETRIED:
                raise refused
            unanswered, failure = True, refused
        if isinstance(failure, StorageError):
            raise failure
        raise errors.translate(failure, self._storage, self._owner, self.bucket, key) from None

    def put(self, key: str, data: bytes) -> Stored:
        """Create or replace a small object."""
        self._call(key, lambda: self._minio.put_object(
            self.bucket, key, io.BytesIO(data), len(data), part_size=PART_BYTES))
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    def put_file(self, key: str, path: Path) -> Stored:
        """Create or replace an object from a file, in parts; the digest is of the bytes that were sent."""
        with path.open("rb") as file:
            reader = _Hashing(file)
            size = os.fstat(file.fileno()).st_size
            self._call(key, lambda: self._minio.put_object(
                self.bucket, key, cast(BinaryIO, reader), size, part_size=PART_BYTES,
                num_parallel_uploads=PARALLEL_PARTS))
        return Stored(size, reader.sha256.hexdigest())

    def get(self, key: str) -> bytes:
        """The whole object. For files use `download`."""
        return b"".join(self.stream(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer when the object ends before."""
        return b"".join(self.stream(key, offset, length))

    def stream(self, key: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """Chunks of the object. After a broken connection it goes on from where it was, at most `retries` times."""
        done = 0
        for attempt in range(self._retries + 1):
            remaining = length - done if length else 0
            response = self._call(key, lambda: self._minio.get_object(
                self.bucket, key, offset=offset + done, length=remaining))  # noqa: B023
            try:
                for chunk in response.stream(CHUNK_BYTES, decode_content=False):
                    done += len(chunk)
                    yield chunk
                return
            except (HTTPError, OSError) as error:
                if attempt == self._retries:
                    raise errors.translate(error, self._storage, self._owner, self.bucket, key) from None
            finally:
                response.close()
                response.release_conn()

    def download(self, key: str, path: Path) -> Stored:
        """To a file that appears only when complete."""
        digest, size = hashlib.sha256(), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                for chunk in self.stream(key):
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
            partial.replace(path)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()
        return Stored(size, digest.hexdigest())

    def download_verified(self, key: str, path: Path, size: int, sha256: str) -> None:
        """As `download`; raises DigestMismatch, and leaves no file, when size or SHA-256 differ."""
        found = self.download(key, path)
        if found != Stored(size, sha256):
            path.unlink()
            raise StorageError(
                errors.DIGEST_MISMATCH,
                f"{self.uri(key)}: found {found.size} bytes with SHA-256 {found.sha256}; expected {size} bytes "
                f"with {sha256}. The object was changed or damaged after it was written; restore it, or name "
                "another")

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time, or None when there is no such object."""
        try:
            found = self._call(key, lambda: self._minio.stat_object(self.bucket, key))
        except StorageError as error:
            if error.reason == errors.OBJECT_NOT_FOUND:
                return None
            raise
        return _info(key, found)

    def exists(self) -> bool:
        """Whether the bucket is there."""
        return bool(self._call("", lambda: self._minio.bucket_exists(self.bucket)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in order of keys. End a folder's prefix with a slash."""
        pages = self._minio.list_objects(self.bucket, prefix=prefix, recursive=True)
        while (found := self._call(prefix, lambda: next(pages, None))) is not None:
            yield _info(found.object_name or "", found)

    def delete(self, key: str) -> None:
        """No error when it is already gone."""
        self._call(key, lambda: self._minio.remove_object(self.bucket, key))

    def delete_prefix(self, prefix: str) -> int:
        """Delete all below the folder `prefix`; returns how many. Raises ValueError on an empty prefix."""
        folder = f"{prefix.strip('/')}/"
        if folder == "/":
            raise ValueError("an empty prefix would delete the whole bucket")
        keys = [found.key for found in self.list(folder)]
        failed = self._call(folder, lambda: list(self._minio.remove_objects(
            self.bucket, [DeleteObject(key) for key in keys])))
        if failed:
            raise StorageError(errors.REQUEST_REFUSED, f"{self.uri(failed[0].name or folder)}: not deleted, "
                               f"{failed[0].code}; {len(failed)} of {len(keys)} objects are left")
        return len(keys)

    def _call(self, key: str, request: Callable[[], T]) -> T:
        try:
            return request()
        except (MinioException, HTTPError, OSError) as error:
            raise errors.translate(error, self._storage, self._owner, self.bucket, key) from None

    def _refused(self, response: urllib3.BaseHTTPResponse, key: str) -> StorageError:
        try:
            parsed: MinioException = S3Error.fromxml(response)
        except Exception:  # not XML at all
            parsed = InvalidResponseError(response.status, response.headers.get("content-type"), None)
        return errors.translate(parsed, self._storage, self._owner, self.bucket, key)


class _Hashing:
    """A reader that hashes what is read, so that the digest is of the very bytes that were sent."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def _info(key: str, found: Object) -> ObjectInfo:
    return ObjectInfo(key, found.size or 0, found.last_modified or datetime.now(UTC))


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _checked(access_key: str, secret_key: str, storage: Storage, owner: str) -> tuple[str, str]:
    name = storage.credentials_secret_ref.name
    for key, value in (("accessKey", access_key), ("secretKey", secret_key)):
        if not value or value != value.strip():
            found = "an empty value" if not value else "a value with a blank or a line break at one end"
            raise StorageError(
                errors.CREDENTIALS_INVALID,
                f"{owner} spec.storage.credentialsSecretRef: Secret {name} key {key}: found {found}; "
                f"expected the plain key. Write it again, for example with kubectl create secret generic {name} "
                f"--from-literal={key}=...")
    return access_key, secret_key
