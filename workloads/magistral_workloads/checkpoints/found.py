"""Committed checkpoints as the store shows them. The store is a cache: only what has a manifest exists."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Final

from pydantic import ValidationError

from magistral_api.manifest import MANIFEST, Manifest, digest
from magistral_api.names import run_prefix
from magistral_api.progress import CheckpointRecord
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.storage.errors import MANIFEST_INVALID, NOT_COMMITTED, OBJECT_NOT_FOUND

QUARANTINED: Final = "quarantined.json"
"""Lies beside the manifest of a checkpoint whose bytes are not what the manifest says."""
RECORDS: Final = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: prefix as `s3://…`, identity, manifest."""

    uri: str
    digest: str
    manifest: Manifest

    @property
    def size_bytes(self) -> int:
        return sum(found.size for found in self.manifest.objects)

    def record(self) -> CheckpointRecord:
        """As the stage reports it to the operator."""
        return CheckpointRecord(
            step=self.manifest.step, digest=self.digest, parent_digest=self.manifest.parent_digest, uri=self.uri,
            size_bytes=self.size_bytes, policy_version=self.manifest.policy_version, metrics=self.manifest.metrics)


def read_manifest(store: ObjectStore, prefix: str) -> Checkpoint:
    """The manifest at a key prefix. Raises StorageError(NotCommitted | ManifestInvalid)."""
    uri = store.uri(prefix)
    try:
        data = store.get(f"{prefix}/{MANIFEST}")
    except StorageError as error:
        if error.reason == OBJECT_NOT_FOUND:
            raise StorageError(NOT_COMMITTED, f"{uri}: found no {MANIFEST}; expected a committed checkpoint. Name one "
                               "that `kubectl get checkpoints` lists") from None
        raise
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise StorageError(MANIFEST_INVALID, f"{uri}/{MANIFEST}: {'.'.join(map(str, first['loc'])) or 'document'}: "
                           f"{first['msg']}; expected a manifest of this project. Restore it, or name "
                           "another") from None
    for entry in manifest.objects:
        path = PurePosixPath(entry.key)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise StorageError(MANIFEST_INVALID, f"{uri}/{MANIFEST}: found object key {entry.key!r}; expected a path "
                               "below the prefix. Do not use this checkpoint")
    return Checkpoint(uri, digest(data), manifest)


def committed(store: ObjectStore, uid: str, stage: str) -> Iterator[Checkpoint]:
    """Committed checkpoints of a stage that are whole and not quarantined, newest first, read as they are asked for.

    One listing finds manifests and sizes: a checkpoint of which an object is absent or of another size is left out.
    Of two attempts at one step the later commit comes first.
    """
    root = f"{run_prefix(uid)}/{stage}/steps/"
    listed = {found.key: found for found in store.list(root)}
    sizes = {key: info.size for key, info in listed.items()}
    manifests = [info for key, info in listed.items() if key.endswith(f"/{MANIFEST}")]
    for info in sorted(manifests, key=lambda info: (_step(info.key, root), info.modified), reverse=True):
        prefix = info.key.rpartition("/")[0]
        if f"{prefix}/{QUARANTINED}" in listed:
            continue
        try:
            checkpoint = read_manifest(store, prefix)
        except StorageError as error:
            if error.reason not in (NOT_COMMITTED, MANIFEST_INVALID):
                raise
            log.warning("checkpoint left out: %s", error)
            continue
        if fault := _fault(checkpoint, uid, stage, sizes, prefix):
            log.warning("checkpoint left out: %s: %s", checkpoint.uri, fault)
            continue
        yield checkpoint


def _step(key: str, root: str) -> int:
    number = key.removeprefix(root).partition("/")[0]
    return int(number) if number.isdecimal() else -1


def _fault(checkpoint: Checkpoint, uid: str, stage: str, sizes: dict[str, int], prefix: str) -> str | None:
    manifest = checkpoint.manifest
    if (manifest.run_uid, manifest.stage) != (uid, stage):
        return f"manifest of run {manifest.run_uid}, stage {manifest.stage}"
    torn = [entry.key for entry in manifest.objects if sizes.get(f"{prefix}/{entry.key}") != entry.size]
    return f"absent or of another size: {', '.join(torn[:3])}" if torn else None


def newest(store: ObjectStore, uid: str, stage: str) -> Checkpoint | None:
    """The newest committed checkpoint that is whole and not quarantined; None when there is none yet."""
    return next(committed(store, uid, stage), None)


def records(store: ObjectStore, uid: str, stage: str) -> list[CheckpointRecord]:
    """The newest 20, oldest first: what a restarted stage reports again."""
    return [checkpoint.record() for checkpoint in reversed(list(islice(committed(store, uid, stage), RECORDS)))]


def quarantine(store: ObjectStore, uri: str, why: str) -> None:
    """Mark a checkpoint as damaged, for every process: `newest` passes over it from now on. The bytes stay."""
    at, prefix = store.locate(uri)
    at.put_if_absent(f"{prefix}/{QUARANTINED}", json.dumps({"why": why}).encode())
    log.error("checkpoint quarantined: %s: %s", uri, why)


def remove(store: ObjectStore, uri: str) -> int:
    """Delete a checkpoint, manifest first: whoever looks meanwhile sees none. Returns the number of objects."""
    at, prefix = store.locate(uri)
    at.delete(f"{prefix}/{MANIFEST}")
    return at.delete_prefix(prefix)
