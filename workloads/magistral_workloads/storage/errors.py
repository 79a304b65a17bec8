"""The one exception of the store, its constant reasons, and how the SDK's errors become it."""

from typing import Final

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from magistral_api.runtime import Storage

STORE_UNREACHABLE: Final = "StoreUnreachable"
BUCKET_NOT_FOUND: Final = "BucketNotFound"
ACCESS_DENIED: Final = "AccessDenied"
OBJECT_NOT_FOUND: Final = "ObjectNotFound"
DIGEST_MISMATCH: Final = "DigestMismatch"
CREDENTIALS_INVALID: Final = "CredentialsInvalid"
REQUEST_REFUSED: Final = "StoreRefusedRequest"
NOT_COMMITTED: Final = "NotCommitted"
ALREADY_COMMITTED: Final = "AlreadyCommitted"
MANIFEST_INVALID: Final = "ManifestInvalid"

_CREDENTIAL_CODES = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity"}
_NO_OBJECT_CODES = {"NoSuchKey", "NoSuchVersion", "ResourceNotFound"}


class StorageError(Exception):
    """`reason`: a constant CamelCase word. `message`: object, field, found, expected, what to do; no secret."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type["StorageError"], tuple[str, str]]:
        return type(self), (self.reason, self.message)


def unreachable(found: str, where: Storage, owner: str) -> StorageError:
    """No usable answer from the endpoint. `found` says what happened instead."""
    return StorageError(
        STORE_UNREACHABLE,
        f"{owner} spec.storage.endpoint: {where.endpoint} {found}; expected an S3 server that answers. "
        "Check address and port, that the server runs, and that network policies let the run's pods reach it")


def translate(error: BaseException, where: Storage, owner: str, bucket: str, key: str) -> StorageError:
    """The SDK's or the transport's error in this project's words.

    `owner` names the object that holds `spec.storage`. Anything that is neither is raised again as it is.
    """
    if isinstance(error, S3Error):
        return _refusal(error, where, owner, bucket, key)
    if isinstance(error, InvalidResponseError):
        return unreachable("answered, but not as an S3 server does", where, owner)
    if isinstance(error, ServerError):
        return unreachable(f"answered with HTTP status {error.status_code}", where, owner)
    if isinstance(error, (HTTPError, OSError)):
        return unreachable(_transport(error), where, owner)
    if isinstance(error, MinioException):
        return StorageError(REQUEST_REFUSED, f"s3://{bucket}/{key}: {error}")
    raise error


def _refusal(error: S3Error, where: Storage, owner: str, bucket: str, key: str) -> StorageError:
    code = error.code or "unknown"
    status = error.response.status
    secret = f"Secret {where.credentials_secret_ref.name} (keys accessKey and secretKey)"
    if code == "NoSuchBucket":
        return StorageError(
            BUCKET_NOT_FOUND,
            f"{owner} spec.storage.bucket: no bucket {bucket!r} at {where.endpoint}; expected an existing "
            "one. Create the bucket, or name another")
    if code in _CREDENTIAL_CODES:
        return StorageError(
            ACCESS_DENIED,
            f"{owner} spec.storage.credentialsSecretRef: {where.endpoint} does not accept the credentials "
            f"({code}). Put an access key and secret key that this server knows into {secret}")
    if code == "AccessDenied" or status == 403:
        return StorageError(
            ACCESS_DENIED,
            f"{owner} spec.storage.bucket: access to s3://{bucket}/{key} was refused ({code}); expected "
            f"permission to list, read, write and delete. Grant it to the access key in {secret}, or use another key")
    if code in _NO_OBJECT_CODES or status == 404:
        return StorageError(OBJECT_NOT_FOUND, f"no object s3://{bucket}/{key} at {where.endpoint}")
    if status >= 500:
        return unreachable(f"answered with HTTP status {status} ({code})", where, owner)
    return StorageError(
        REQUEST_REFUSED,
        f"{where.endpoint} refused a request for s3://{bucket}/{key}: {code}, {error.message}")


def _transport(error: BaseException) -> str:
    cause: BaseException | None = error
    if isinstance(error, MaxRetryError) and error.reason is not None:
        cause = error.reason
    if isinstance(cause, NameResolutionError):
        return "has a host name that nobody knows"
    if isinstance(cause, (ConnectTimeoutError, ReadTimeoutError)) and not isinstance(cause, NewConnectionError):
        return "does not answer (timed out)"
    if isinstance(cause, SSLError):
        return f"has a certificate that is not trusted here ({cause})"
    root = cause
    while root is not None and not isinstance(root, OSError):
        root = root.__cause__ or root.__context__
    if isinstance(root, OSError) and root.strerror:
        return f"cannot be reached ({root.strerror})"
    return f"does not answer ({type(cause).__name__})"
