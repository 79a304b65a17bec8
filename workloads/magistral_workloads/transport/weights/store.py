"""Weights through the object store: a version is a prefix with a manifest, kept for the last few versions only.

A version's folder holds a prefix for each incarnation of the trainer that published it, so that a trainer which resumes
and publishes a number again never writes over files that a generator is reading.
"""

from pathlib import Path
from typing import Final

from magistral_api.manifest import Manifest
from magistral_api.names import run_prefix, weights_prefix
from magistral_workloads.checkpoints import fetch, remove
from magistral_workloads.checkpoints.reader import safe
from magistral_workloads.checkpoints.writer import commit_manifest, files_below, upload
from magistral_workloads.storage import ObjectStore

KEEP: Final = 3


def publish(store: ObjectStore, uid: str, version: int, folder: Path, *, nonce: str) -> tuple[str, str]:
    """A Hugging Face directory as policy `version`: (uri, digest of its manifest).

    `nonce`: the process's own (checkpoints.new_nonce). Publishing a version twice in one process raises
    StorageError(AlreadyCommitted).
    """
    prefix = f"{weights_prefix(uid, version)}/{nonce}"
    objects = upload(store, prefix, files_below(folder))
    committed = commit_manifest(store, prefix, Manifest(
        run_uid=uid, stage="rl", step=version, policy_version=version, objects=objects))
    return committed.uri, committed.digest


def retain(store: ObjectStore, uid: str, version: int, keep: int = KEEP) -> int:
    """Delete versions up to `version - keep`; returns how many objects went. Newer ones may be being fetched."""
    root = f"{run_prefix(uid)}/rl/weights/"
    old: dict[str, None] = {}
    for found in store.list(root):
        number, _, rest = found.key.removeprefix(root).partition("/")
        if number.isdecimal() and int(number) <= version - keep:
            old[f"{root}{number}/{rest.partition('/')[0]}"] = None
    return sum(remove(store, store.uri(prefix)) for prefix in old)


def fetch_version(store: ObjectStore, uri: str, digest: str | None, folder: Path) -> Path:
    """The version's Hugging Face directory, every byte verified. Raises StorageError."""
    fetch(store, uri, digest, folder, safe)
    return folder
