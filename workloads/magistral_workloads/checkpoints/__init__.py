"""Commit, find, verify and fetch checkpoints and models (docs/architecture.md, Checkpoints). No torch here."""

from magistral_workloads.checkpoints.found import Checkpoint, committed, newest, quarantine, records, remove
from magistral_workloads.checkpoints.reader import fetch, fetch_model, fetch_newest
from magistral_workloads.checkpoints.writer import CheckpointWriter, Receipt, new_nonce

__all__ = [
    "Checkpoint", "CheckpointWriter", "Receipt", "committed", "fetch", "fetch_model", "fetch_newest", "new_nonce",
    "newest", "quarantine", "records", "remove",
]
