"""Trains in RL: `python -m magistral_workloads.roles.trainer`, one process a GPU, all of them one group.

A batch from the conductor, one optimiser step, the new version into the store, the next batch. When a process of the
group dies the others end too; all start again, meet, and go on from the newest checkpoint with the same batches.

Version v is the model after v optimiser steps. Step s turns version s - 1 into version s. The conductor finds versions
published before a restart in the store, so nothing is published a second time when resuming.
"""

import logging
import time
from collections.abc import Callable

import torch

from magistral_api.config import TOKEN_PATH
from magistral_api.run import RL
from magistral_workloads.checkpoints import newest
from magistral_workloads.contracts import PolicyPublished
from magistral_workloads.progress import UserFault
from magistral_workloads.training.checkpointing import Checkpoints, resume
from magistral_workloads.training.curve import record
from magistral_workloads.training.engine import Engine
from magistral_workloads.training.group import Group
from magistral_workloads.training.model import Microbatch, save
from magistral_workloads.training.process import Process, StoppedEarly, run_process, said
from magistral_workloads.training.rendezvous import StopError
from magistral_workloads.training.rl import train_step
from magistral_workloads.transport.rollouts import Share
from magistral_workloads.transport.rollouts.client import Conductor, ConductorError
from magistral_workloads.transport.weights.probe import TOLERANCE, Probe, fixed_tokens, write
from magistral_workloads.transport.weights.store import publish, retain

log = logging.getLogger("trainer")


def run(process: Process) -> None:
    """Entry point. After the last step it waits to be told to end: pods of a StatefulSet are not allowed to finish."""
    train(process, Conductor(process.config.services.conductor, TOKEN_PATH.read_text().strip(), process.stopping))
    log.info("all steps are done; waiting to be told to end")
    process.stopping.wait()


def train(process: Process, conductor: Conductor) -> None:
    """From the newest checkpoint to the last step. Told to end before, commits a checkpoint and raises StoppedEarly."""
    rl = process.config.spec.rl
    if rl is None:
        raise UserFault("SpecInvalid", "MagistralRun spec.rl: found nothing; expected the settings of RL")
    found = newest(process.store, process.config.run_uid, "rl")
    if found and found.manifest.step >= rl.steps:
        # Its peers wait to be told to end; there is no group to meet any more.
        if process.place.rank == 0:
            conductor.done()
        return
    try:
        group = Group.join(process.place, process.stopping)
        Trainer(process, group, rl, conductor).run()
        group.leave()
    except StopError as stop:
        log.info("%s", stop)
        raise StoppedEarly from None


class Trainer:
    """One rank, from meeting the group to the last step."""

    def __init__(self, process: Process, group: Group, rl: RL, conductor: Conductor) -> None:
        self._store, self._config, self._uid = process.store, process.config, process.config.run_uid
        self._group, self._rl, self._conductor = group, rl, conductor
        self._model = process.scratch / "model"
        self._checkpoints = Checkpoints(process, group)
        self._start = self._checkpoints.start(rl.zero_stage)
        self._engine = resume(self._start, group, rl)
        self._metrics: dict[str, float] = {}

    def run(self) -> None:
        """All steps that are left."""
        saved = self._start.step
        self._group.together("tell the conductor where we go on", lambda: self._first(self._tell_start))
        for step in range(saved + 1, self._rl.steps + 1):
            began = time.monotonic()
            try:
                share = self._batch(step)
            except StopError:
                if step - 1 > saved:
                    self._commit(step - 1)
                raise
            arrived = time.monotonic()
            self._metrics = train_step(self._engine, share, self._rl)
            self._metrics |= {"waitSeconds": arrived - began, "trainSeconds": time.monotonic() - arrived}
            self._publish(step)
            if step % self._rl.checkpoint_every == 0 or step == self._rl.steps:
                self._commit(step)
                saved = step
        self._group.together("say that all steps are done", lambda: self._first(self._conductor.done))

    def _tell_start(self) -> None:
        told, ours = self._conductor.resume(), self._checkpoints.newest
        if ours and told.digest != ours.digest:
            # Committed a moment before the process ended: the conductor has not heard of it.
            self._conductor.checkpoint(ours.record())
        log.info("starting at step %d of %d", self._start.step + 1, self._rl.steps)

    def _batch(self, step: int) -> Share:
        """This rank's share. Raises StopError on all ranks when any of them is told to end."""
        share = self._group.together(
            f"wait for batch {step}", lambda: self._conductor.batch(step, self._group.rank), cancellable=True)
        assert share is not None, "without a stop the wait ends with a batch"
        return share

    def _publish(self, step: int) -> None:
        weights, probe = self._engine.full_weights(), probed(self._engine)

        def work() -> None:
            save(self._engine.policy, weights, self._start.model, self._model)
            write(self._model, probe)
            began = time.monotonic()
            uri, digest = publish(self._store, self._uid, step, self._model, nonce=self._checkpoints.nonce)
            self._metrics["publishSeconds"] = time.monotonic() - began
            record(self._store, self._config, step, self._metrics)
            policy = PolicyPublished(version=step, uri=uri, digest=digest, metrics=self._metrics)
            self._tell(lambda: self._conductor.published(policy))
            retain(self._store, self._uid, step)
            log.info("step %d of %d: %s", step, self._rl.steps, said(self._metrics))

        self._group.together(f"publish version {step}", lambda: self._first(work))

    def _commit(self, step: int) -> None:
        done = self._checkpoints.commit(
            self._engine, step, self._model if self._group.rank == 0 else None, policy_version=step,
            state={"step": step}, metrics=self._metrics)

        def report() -> None:
            if done:
                log.info("checkpoint of step %d committed: %s", step, done.digest)
                self._tell(lambda: self._conductor.checkpoint(done.record()))

        self._group.together(f"report checkpoint {step}", report)

    def _tell(self, say: Callable[[], None]) -> None:
        try:
            say()
        except ConductorError as error:
            # A suspended run ends its conductor too. It finds everything in the store when it starts again.
            if not self._group.stopping.is_set():
                raise
            log.info("%s", error)

    def _first(self, work: Callable[[], None]) -> None:
        if self._group.rank == 0:
            work()


def probed(engine: Engine) -> Probe:
    """What generators are to find once they hold the weights as they are now. All ranks together."""
    config, dtype = engine.policy.model.config, str(next(engine.policy.parameters()).dtype).removeprefix("torch.")
    tokens = fixed_tokens(config.vocab_size)
    logprobs = engine.logprobs(Microbatch.of([torch.tensor(tokens)], [1]))
    return Probe(tokens=tokens, logprobs=logprobs, tolerance=TOLERANCE[dtype])


if __name__ == "__main__":
    run_process("magistral_workloads.roles.trainer", run, reports=False)
