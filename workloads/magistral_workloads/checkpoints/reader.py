"""Fetch and verify: every byte is hashed while it arrives, and a file appears only when its digest matched."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Final

from magistral_api.config import ModelAt
from magistral_api.manifest import MANIFEST
from magistral_workloads.checkpoints.found import Checkpoint, committed, quarantine, read_manifest
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.storage.errors import DIGEST_MISMATCH, NOT_COMMITTED, OBJECT_NOT_FOUND

MODEL: Final = "model/"
"""Where a checkpoint of ours keeps its Hugging Face directory."""
SAFE_SUFFIXES: Final = frozenset({".json", ".safetensors", ".txt", ".model", ".jinja"})
"""What is taken from a model directory: no pickle, no Python."""
PARALLEL_FILES: Final = 4

log = logging.getLogger(__name__)


def everything(_key: str) -> bool:
    return True


def safe(key: str) -> bool:
    """Whether a model directory's file is data that cannot run."""
    return PurePosixPath(key).suffix in SAFE_SUFFIXES


def fetch(store: ObjectStore, uri: str, digest: str | None, folder: Path,
          want: Callable[[str], bool] = everything) -> Checkpoint:
    """The objects whose relative key `want` accepts, below `folder`, each verified.

    `digest` is the identity that the manifest must have; None takes whatever manifest is there. Raises StorageError:
    NotCommitted, ManifestInvalid, DigestMismatch, ObjectNotFound and the store's own.
    """
    at, prefix = store.locate(uri)
    checkpoint = read_manifest(at, prefix)
    _check_identity(checkpoint, digest)
    wanted = [entry for entry in checkpoint.manifest.objects if want(entry.key)]
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        list(pool.map(lambda entry: at.download_verified(
            f"{prefix}/{entry.key}", folder / entry.key, entry.size, entry.sha256), wanted))
    return checkpoint


def fetch_model(store: ObjectStore, model: ModelAt, folder: Path,
                want: Callable[[str], bool] = everything) -> Path:
    """A model as a Hugging Face directory: one of our checkpoints (its `model/`), or a plain directory in the store.

    A plain directory without a manifest is taken as it is, unless a digest is asked for. `want`: of its files, those
    whose key it accepts.
    """
    at, prefix = store.locate(model.uri)
    try:
        checkpoint = read_manifest(at, prefix)
    except StorageError as error:
        if error.reason != NOT_COMMITTED:
            raise
        return _fetch_plain(at, prefix, model, folder, want)
    ours = any(entry.key.startswith(MODEL) for entry in checkpoint.manifest.objects)
    fetch(store, model.uri, model.digest, folder, lambda key: safe(key) and want(key) and (not ours or key.startswith(MODEL)))
    return folder / MODEL if ours else folder


def fetch_newest(store: ObjectStore, uid: str, stage: str, folder: Path,
                 want: Callable[[str], bool] = everything) -> Checkpoint | None:
    """The newest checkpoint that verifies; a damaged one is quarantined and the one before it is tried."""
    for checkpoint in committed(store, uid, stage):
        try:
            return fetch(store, checkpoint.uri, checkpoint.digest, folder, want)
        except StorageError as error:
            if error.reason not in (DIGEST_MISMATCH, OBJECT_NOT_FOUND):
                raise
            quarantine(store, checkpoint.uri, error.message)
    return None


def _check_identity(checkpoint: Checkpoint, digest: str | None) -> None:
    if digest is not None and digest != checkpoint.digest:
        raise StorageError(DIGEST_MISMATCH, f"{checkpoint.uri}/{MANIFEST}: found {checkpoint.digest}; expected "
                           f"{digest}. The prefix holds another checkpoint than the one that was named")


def _fetch_plain(at: ObjectStore, prefix: str, model: ModelAt, folder: Path, want: Callable[[str], bool]) -> Path:
    if model.digest is not None:
        raise StorageError(DIGEST_MISMATCH, f"{model.uri}: found no {MANIFEST}; expected one with digest "
                           f"{model.digest}. Publish the model with a manifest, or leave the digest out")
    found = [(info, info.key.removeprefix(f"{prefix}/")) for info in at.list(f"{prefix}/")]
    wanted = [(info, key) for info, key in found if safe(key) and want(key) and ".." not in PurePosixPath(key).parts]
    if not wanted:
        raise StorageError(OBJECT_NOT_FOUND, f"{model.uri}: found no model files; expected a Hugging Face directory")
    log.warning("%s has no manifest: its files are taken as they are, without a digest", model.uri)
    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        list(pool.map(lambda item: at.download(item[0].key, folder / item[1]), wanted))
    return folder
