"""Checkpoints of a training stage: what is in them, how all ranks write one, how they go on from one.

`model/`: the whole model, written by rank 0. `state/rank-<r>.pt`: the rank's part of the optimiser and of the float32
master weights (training.fragments), plain tensors and numbers, loaded with `weights_only=True`. Any number of ranks, at
any ZeRO stage, goes on from it. DeepSpeed's own checkpoint is not used: it pickles, and it names its newest checkpoint
in a file before all ranks have written theirs.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from magistral_api.run import RL, SFT
from magistral_workloads import checkpoints
from magistral_workloads.checkpoints import Checkpoint, CheckpointWriter, fetch, fetch_model, new_nonce, quarantine
from magistral_workloads.checkpoints.found import read_manifest
from magistral_workloads.checkpoints.writer import files_below
from magistral_workloads.progress import UserFault
from magistral_workloads.storage import StorageError
from magistral_workloads.storage.errors import DIGEST_MISMATCH, OBJECT_NOT_FOUND
from magistral_workloads.training.engine import Engine
from magistral_workloads.training.fragments import IncompleteStateError, load_state, save_state
from magistral_workloads.training.group import Group
from magistral_workloads.training.model import forget_weights, load
from magistral_workloads.training.process import Process

MODEL: Final = "model"
NONE: Final = "none"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a rank starts from: a model directory; after a restart also the checkpoint and the state files it needs."""

    model: Path
    checkpoint: Checkpoint | None = None
    states: tuple[Path, ...] = ()

    @property
    def step(self) -> int:
        return self.checkpoint.manifest.step if self.checkpoint else 0


def resume(start: Start, group: Group, settings: SFT | RL) -> Engine:
    """The engine in the state that `start` says. All ranks together. Raises UserFault when the state is not all there."""
    policy = load(start.model, group.place.device, microbatch_tokens=settings.microbatch_tokens)
    engine = Engine(policy, group, settings.optimizer, settings.zero_stage)
    if start.checkpoint:
        _load(engine, start.checkpoint, start.states)
    # Ranks of one pod read the same files.
    group.wait_for_all()
    if group.place.local_rank == 0:
        forget_weights(start.model)
    return engine


class Checkpoints:
    """The checkpoints of one stage of one run, as one process start sees them. All ranks call it together."""

    def __init__(self, process: Process, group: Group) -> None:
        self._config, self._store, self._scratch = process.config, process.store, process.scratch
        self._group = group
        self.nonce = group.from_first(new_nonce())
        self.newest: Checkpoint | None = None

    def start(self, zero_stage: int) -> Start:
        """The newest checkpoint that verifies on every rank, else the stage's initial model.

        Raises StorageError.
        """
        # The processes of a pod share its scratch space: one of them clears it and downloads the model.
        folder = self._scratch / "start"
        leads = self._group.place.local_rank == 0
        self._group.together("clear scratch space", lambda: shutil.rmtree(
            self._scratch, ignore_errors=True) if leads else None)
        while (uri := self._group.from_first(self._newest_uri())) != NONE:
            chosen = self._group.together("read a manifest", lambda: read_manifest(*self._store.locate(uri)))
            keys = self._state_keys(chosen, zero_stage)
            if self._fetched(chosen, folder, leads, keys):
                self.newest = chosen
                return Start(folder / MODEL, chosen, tuple(folder / key for key in keys))
        self._group.together("fetch the initial model", lambda: fetch_model(
            self._store, self._config.initial_model, folder) if leads else None)
        return Start(folder / MODEL if (folder / MODEL).is_dir() else folder)

    def commit(self, engine: Engine, step: int, model: Path | None, *, policy_version: int = 0,
               state: Mapping[str, int | float | str] | None = None, metrics: Mapping[str, float] | None = None,
               data_digests: Mapping[str, str] | None = None) -> Checkpoint | None:
        """Write the checkpoint of `step`; returns it on rank 0. `model`: rank 0's saved model directory."""
        writer = CheckpointWriter(
            self._store, self._config.run_uid, self._config.stage, step, attempt=self._config.attempt, nonce=self.nonce,
            rank=self._group.rank, world_size=self._group.size)

        def upload() -> None:
            files = {self._state_key(): save_state(engine, self._scratch / "commit" / self._state_key())}
            if model is not None:
                files |= files_below(model, MODEL)
            writer.upload_shards(files)

        def manifest() -> Checkpoint | None:
            return None if self._group.rank else writer.commit(
                run_generation=self._config.run_generation, policy_version=policy_version, zero_stage=engine.zero_stage,
                state=state, metrics=metrics, parent_digest=self.newest.digest if self.newest else None,
                data_digests=data_digests)

        self._group.together(f"upload checkpoint {step}", upload)
        done = self._group.together(f"commit checkpoint {step}", manifest)
        self.newest = done or self.newest
        return done

    def _newest_uri(self) -> str:
        if self._group.rank:
            return NONE
        found = checkpoints.newest(self._store, self._config.run_uid, self._config.stage)
        return found.uri if found else NONE

    def _state_keys(self, chosen: Checkpoint, zero_stage: int) -> list[str]:
        """Of the files that hold this rank's state: its own, or all where another number of ranks wrote them."""
        if (chosen.manifest.world_size, chosen.manifest.zero_stage) == (self._group.size, zero_stage):
            return [self._state_key()]
        log.info("checkpoint %s: state of %d processes at ZeRO stage %d is dealt anew to %d at stage %d", chosen.uri,
                 chosen.manifest.world_size, chosen.manifest.zero_stage, self._group.size, zero_stage)
        return [_state_key(rank) for rank in range(chosen.manifest.world_size)]

    def _fetched(self, chosen: Checkpoint, folder: Path, leads: bool, states: list[str]) -> bool:
        """Whether every rank has its verified part. A damaged checkpoint is marked, so that the next look passes it."""
        def part() -> bool:
            try:
                # Files that several processes of a pod read are fetched by one of them.
                own = states == [self._state_key()]
                fetch(self._store, chosen.uri, chosen.digest, folder, lambda key: ((own or leads) and key in states) or (
                    leads and key.startswith(f"{MODEL}/")))
            except StorageError as error:
                if error.reason not in (DIGEST_MISMATCH, OBJECT_NOT_FOUND):
                    raise
                quarantine(self._store, chosen.uri, error.message)
                return False
            return True

        whole = self._group.together(f"fetch checkpoint {chosen.manifest.step}", part)
        return self._group.largest(int(not whole)) == 0

    def _state_key(self) -> str:
        return _state_key(self._group.rank)


def _state_key(rank: int) -> str:
    return f"state/rank-{rank}.pt"


def _load(engine: Engine, checkpoint: Checkpoint, states: tuple[Path, ...]) -> None:
    try:
        load_state(engine, states)
    except (IncompleteStateError, FileNotFoundError) as error:
        manifest = checkpoint.manifest
        raise UserFault(
            "CheckpointLayoutChanged",
            f"{checkpoint.uri}: the optimiser state of {manifest.world_size} processes at ZeRO stage {manifest.zero_stage} "
            f"cannot be dealt to {engine.group.size} at stage {engine.zero_stage}: {error}. Go on with the release and the "
            "number of processes that wrote it, or start a new run whose base model is this checkpoint") from None
