"""The commit protocol: shards and receipts first, `manifest.json` last with `If-None-Match: *`.

Every rank makes a writer for the same prefix, uploads and leaves a receipt; rank 0 commits when all are there.
A crash at any point leaves either a whole checkpoint or none.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from magistral_api.base import ApiModel
from magistral_api.manifest import MANIFEST, Manifest, ManifestObject
from magistral_api.names import checkpoint_prefix
from magistral_workloads.checkpoints.found import Checkpoint
from magistral_workloads.storage import ObjectStore, StorageError
from magistral_workloads.storage.errors import ALREADY_COMMITTED, NOT_COMMITTED

PARALLEL_FILES: Final = 4
RECEIPT_SECONDS: Final = 600.0
POLL_SECONDS: Final = 0.25
NONCE_BYTES: Final = 4


class Receipt(ApiModel):
    """What one rank has uploaded. Keys are relative to the checkpoint's prefix."""

    rank: int
    objects: list[ManifestObject]


def new_nonce() -> str:
    """Drawn by rank 0 once a process start and broadcast, so that no two incarnations share a prefix."""
    return secrets.token_hex(NONCE_BYTES)


def upload(store: ObjectStore, prefix: str, files: Mapping[str, Path]) -> list[ManifestObject]:
    """Files to `prefix/<key>`, several at a time; size and SHA-256 of the bytes that were sent."""
    def one(item: tuple[str, Path]) -> ManifestObject:
        stored = store.put_file(f"{prefix}/{item[0]}", item[1])
        return ManifestObject(key=item[0], size=stored.size, sha256=stored.sha256)

    with ThreadPoolExecutor(PARALLEL_FILES) as pool:
        return list(pool.map(one, sorted(files.items())))


def files_below(folder: Path, under: str = "") -> dict[str, Path]:
    """Key to file of everything in a directory; `under` is put before each key, for example `model`."""
    head = f"{under}/" if under else ""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {f"{head}{path.relative_to(folder).as_posix()}": path for path in files}


class CheckpointWriter:
    """One attempt at one checkpoint, as one rank sees it."""

    def __init__(self, store: ObjectStore, uid: str, stage: str, step: int, *, attempt: int, nonce: str,
                 rank: int = 0, world_size: int = 1) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size
        self._uid, self._stage, self._step = uid, stage, step
        self.prefix = checkpoint_prefix(uid, stage, step, f"{attempt}.{nonce}")

    @property
    def uri(self) -> str:
        return self._store.uri(self.prefix)

    def upload_shards(self, files: Mapping[str, Path]) -> Receipt:
        """Each rank, once: its files (key relative to the prefix), then its receipt. Raises StorageError."""
        receipt = Receipt(rank=self._rank, objects=upload(self._store, self.prefix, files))
        self._store.put(self._receipt(self._rank), receipt.model_dump_json(by_alias=True).encode())
        return receipt

    def receipts(self, timeout_seconds: float = RECEIPT_SECONDS, *,
                 clock: Callable[[], float] = time.monotonic) -> list[Receipt]:
        """Rank 0: wait for the receipts of the whole world. Raises StorageError(NotCommitted) after the timeout."""
        wanted = {self._receipt(rank) for rank in range(self._world_size)}
        deadline = clock() + timeout_seconds
        while True:
            missing = wanted - {found.key for found in self._store.list(f"{self.prefix}/receipts/")}
            if not missing:
                return [Receipt.model_validate_json(self._store.get(key)) for key in sorted(wanted)]
            if clock() > deadline:
                raise StorageError(NOT_COMMITTED, f"{self.uri}: found {len(wanted) - len(missing)} receipts after "
                                   f"{timeout_seconds:.0f} s; expected {len(wanted)}, one a rank. Look at the log of "
                                   f"the pod that should have written {sorted(missing)[0].rpartition('/')[2]}")
            time.sleep(POLL_SECONDS)

    def commit(self, *, run_generation: int = 0, policy_version: int = 0, zero_stage: int = 0,
               state: Mapping[str, int | float | str] | None = None, metrics: Mapping[str, float] | None = None,
               parent_digest: str | None = None, image: str = "", data_digests: Mapping[str, str] | None = None,
               timeout_seconds: float = RECEIPT_SECONDS) -> Checkpoint:
        """Rank 0: wait for all receipts, write the manifest. From then on the checkpoint exists.

        Raises StorageError: NotCommitted when a receipt never came, AlreadyCommitted when another manifest was first.
        """
        objects = [entry for receipt in self.receipts(timeout_seconds) for entry in receipt.objects]
        manifest = Manifest(
            run_uid=self._uid, run_generation=run_generation, stage=self._stage, step=self._step,
            policy_version=policy_version, world_size=self._world_size, zero_stage=zero_stage,
            objects=sorted(objects, key=lambda entry: entry.key), state=dict(state or {}), metrics=dict(metrics or {}),
            image=image, parent_digest=parent_digest, data_digests=dict(data_digests or {}))
        return commit_manifest(self._store, self.prefix, manifest)

    def _receipt(self, rank: int) -> str:
        return f"{self.prefix}/receipts/rank-{rank:05d}.json"


def commit_manifest(store: ObjectStore, prefix: str, manifest: Manifest) -> Checkpoint:
    """Make the checkpoint exist. Raises StorageError(AlreadyCommitted); the one that was first is left as it is."""
    checkpoint = Checkpoint(store.uri(prefix), manifest.digest(), manifest)
    if not store.put_if_absent(f"{prefix}/{MANIFEST}", manifest.to_bytes()):
        raise StorageError(ALREADY_COMMITTED, f"{checkpoint.uri}: found another {MANIFEST}; expected none, as each "
                           "attempt has a prefix of its own. This process is late; let it end")
    return checkpoint
