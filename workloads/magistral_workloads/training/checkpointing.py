"""Checkpoints of a training stage: what is in them, how all ranks write one, how they go on from one.

`model/`: the whole model, written by rank 0. `state/rank-<r>.pt`: the rank's part of the optimiser and of the float32
master weights, plain tensors and numbers, loaded with `weights_only=True`. DeepSpeed's own checkpoint is not used: it
pickles, and it names its newest checkpoint in a file before all ranks have written theirs.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from magistral_api.run import Optimizer
from magistral_workloads import checkpoints
from magistral_workloads.checkpoints import Checkpoint, CheckpointWriter, fetch, fetch_model, new_nonce, quarantine
from magistral_workloads.checkpoints.found import read_manifest
from magistral_workloads.checkpoints.writer import files_below
from magistral_workloads.progress import UserFault
from magistral_workloads.storage import StorageError
from magistral_workloads.storage.errors import DIGEST_MISMATCH, OBJECT_NOT_FOUND
from magistral_workloads.training.engine import Engine
from magistral_workloads.training.group import Group
from magistral_workloads.training.model import forget_weights, load
from magistral_workloads.training.process import Process

MODEL: Final = "model"
NONE: Final = "none"


def save_state(engine: Engine, path: Path) -> Path:
    """The rank's optimiser state, in a file. No collective."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(_plain(engine.optimizer.state_dict()), path)
    return path


def load_state(engine: Engine, path: Path) -> None:
    """The inverse of `save_state`: same world size, same ZeRO stage. All ranks together."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    optimizer = engine.optimizer
    if engine.zero_stage == 0:
        optimizer.load_state_dict(saved)
        return
    # What is not plain (loss scaler, enums) does not change in float32 and bfloat16: the new optimiser's own is right.
    states: list[Any] = [None] * engine.group.size
    states[engine.group.rank] = {**optimizer.state_dict(), **saved}
    optimizer.load_state_dict(states, load_optimizer_states=True, load_from_fp32_weights=True)


def _plain(value: Any) -> Any:
    """Tensors, numbers, text and containers of them. Whatever else DeepSpeed keeps is left out."""
    if isinstance(value, Tensor):
        # A view would take its whole storage into the file.
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if _is_plain(item)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return type(value) in (bool, int, float, str, type(None)) or isinstance(value, Tensor)


@dataclass(frozen=True)
class Start:
    """What a rank starts from: a model directory; after a restart also the checkpoint and the rank's state file."""

    model: Path
    checkpoint: Checkpoint | None = None
    state: Path | None = None

    @property
    def step(self) -> int:
        return self.checkpoint.manifest.step if self.checkpoint else 0


def resume(start: Start, group: Group, optimizer: Optimizer, zero_stage: int) -> Engine:
    """The engine in the state that `start` says. All ranks together."""
    engine = Engine(load(start.model, group.place.device), group, optimizer, zero_stage)
    if start.state:
        load_state(engine, start.state)
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

        Raises UserFault when the checkpoint is of another world size or ZeRO stage, StorageError.
        """
        # The processes of a pod share its scratch space: one of them clears it and downloads the model.
        folder = self._scratch / "start"
        leads = self._group.place.local_rank == 0
        self._group.together("clear scratch space", lambda: shutil.rmtree(
            self._scratch, ignore_errors=True) if leads else None)
        while (uri := self._group.from_first(self._newest_uri())) != NONE:
            chosen = self._group.together("read a manifest", lambda: read_manifest(*self._store.locate(uri)))
            _check_layout(chosen, self._group.size, zero_stage)
            if self._fetched(chosen, folder, leads):
                self.newest = chosen
                return Start(folder / MODEL, chosen, folder / self._state_key())
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

    def _fetched(self, chosen: Checkpoint, folder: Path, leads: bool) -> bool:
        """Whether every rank has its verified part. A damaged checkpoint is marked, so that the next look passes it."""
        def part() -> bool:
            try:
                fetch(self._store, chosen.uri, chosen.digest, folder, lambda key: key == self._state_key() or (
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
        return f"state/rank-{self._group.rank}.pt"


def _check_layout(checkpoint: Checkpoint, world_size: int, zero_stage: int) -> None:
    manifest = checkpoint.manifest
    if (manifest.world_size, manifest.zero_stage) != (world_size, zero_stage):
        raise UserFault(
            "CheckpointLayoutChanged",
            f"{checkpoint.uri}: found the optimiser state of {manifest.world_size} processes at ZeRO stage "
            f"{manifest.zero_stage}; expected {world_size} processes at stage {zero_stage}. Set workers or trainers, "
            "processesPerPod and zeroStage back to what they were, or start a new run from this checkpoint")
