"""Supervised fine-tuning on the curated traces (section 5.3): `python -m magistral_workloads.recipe.sft`.

Loss: mean over the response tokens of a batch, all ranks together. A checkpoint an epoch; `select` tries each of them.
A row longer than `sft.maxTokens` is left out and counted, never cut: a cut trace has no answer.
"""

import logging
import time
from collections.abc import Iterator

from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from magistral_api.manifest import digest
from magistral_api.problems import SftRow
from magistral_api.run import SFT
from magistral_workloads.algorithm.packing import greedy, split
from magistral_workloads.algorithm.schedule import Epochs, learning_rate, share
from magistral_workloads.checkpoints import records
from magistral_workloads.progress import UserFault
from magistral_workloads.training.checkpointing import Checkpoints, resume
from magistral_workloads.training.curve import record
from magistral_workloads.training.examples import Example, Examples, microbatch, tokenise
from magistral_workloads.training.group import Group
from magistral_workloads.training.model import save
from magistral_workloads.training.process import Process, StoppedEarly, run_process, said
from magistral_workloads.training.rendezvous import StopError

log = logging.getLogger("sft")


def run(process: Process) -> None:
    """From the newest checkpoint to the last epoch. Told to end before, it commits one and raises StoppedEarly."""
    sft, dataset = process.config.spec.sft, process.config.dataset_uri
    if sft is None or dataset is None:
        raise UserFault("SpecInvalid", "MagistralRun spec.sft, data set: found none; expected both before SFT starts")
    try:
        group = Group.join(process.place, process.stopping)
        Finetuning(process, group, sft, dataset).run()
        group.leave()
    except StopError as stop:
        log.info("%s", stop)
        raise StoppedEarly from None


class Finetuning:
    """One rank, from meeting the group to the last epoch."""

    def __init__(self, process: Process, group: Group, sft: SFT, dataset: str) -> None:
        self._process, self._sft, self._group, self._reporter = process, sft, group, process.reporter
        self._model = process.scratch / "model"
        self._checkpoints = Checkpoints(process, group)
        self._start = self._checkpoints.start(sft.zero_stage)

        def read() -> tuple[Examples, str]:
            at, key = process.store.locate(dataset)
            data = at.get(key)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(self._start.model)
            return tokenise(rows(data, dataset), tokenizer, sft.max_tokens), digest(data)

        found, self._digest = group.together("read the data set", read)
        self._examples, self._too_long = found.kept, found.too_long
        self._plan = Epochs(len(self._examples), sft.batch_size, sft.epochs, process.config.spec.seed)
        self._engine = resume(self._start, group, sft)

    def run(self) -> None:
        """All steps that are left."""
        self._tell_start()
        for step in range(self._start.step + 1, self._plan.steps + 1):
            metrics = self._train(step)
            self._record(step, metrics)
            stop = self._group.told_to_stop()
            if self._plan.ends_epoch(step) or stop:
                self._commit(step, metrics)
            self._tell(step, metrics)
            if stop and step < self._plan.steps:
                raise StopError(f"told to end after step {step} of {self._plan.steps}")

    def _train(self, step: int) -> dict[str, float]:
        began = time.monotonic()
        batch = [self._examples[row] for row in self._plan.batch(step)]
        learnt = sum(example.learnt for example in batch)
        # Dealt longest first, every rank gets long and short rows.
        mine = share(sorted(batch, key=lambda example: -len(example.tokens)), self._group.rank, self._group.size)
        lengths = [len(example.tokens) for example in mine]
        packed = greedy(lengths, self._sft.microbatch_tokens)
        parts = [[mine[i] for i in members] for members in split(packed, lengths, self._group.largest(len(packed)))]
        sums = {"loss": 0.0}

        def loss(_index: int, logprobs: Tensor, _entropy: Tensor) -> Tensor:
            part = -logprobs.sum() / learnt
            sums["loss"] += float(part.detach())
            return part

        rate = learning_rate(self._sft.optimizer, step)
        norm = self._engine.step([microbatch(part) for part in parts], loss, rate)
        seconds = time.monotonic() - began
        metrics = self._group.total(sums) | {
            "epoch": float(self._plan.epoch(step)), "learningRate": rate, "tokens": float(learnt),
            "tokensPerSecond": tokens(batch) / max(seconds, 1e-9)}
        return metrics if norm is None else metrics | {"gradNorm": norm}

    def _record(self, step: int, metrics: dict[str, float]) -> None:
        first = self._group.rank == 0
        self._group.together(f"record the metrics of step {step}", lambda: record(
            self._process.store, self._process.config, step, metrics) if first else None)

    def _commit(self, step: int, metrics: dict[str, float]) -> None:
        weights = self._engine.full_weights()
        first = self._group.rank == 0
        self._group.together("save the model", lambda: save(
            self._engine.policy, weights, self._start.model, self._model) if first else None)
        done = self._checkpoints.commit(
            self._engine, step, self._model if first else None, metrics=metrics,
            state={"epoch": self._plan.epoch(step), "seed": self._plan.seed, "rows": self._plan.rows},
            data_digests={"dataset.jsonl": self._digest})
        if done and self._reporter:
            self._reporter.checkpoint(done.record())
            log.info("checkpoint of step %d committed: %s", step, done.digest)

    def _tell_start(self) -> None:
        log.info("%d rows, %d left out as longer than %d tokens; starting at step %d of %d", len(self._examples),
                 self._too_long, self._sft.max_tokens, self._start.step + 1, self._plan.steps)
        if self._reporter:
            self._reporter.checkpoint(*records(self._process.store, self._process.config.run_uid, "sft"))
            self._reporter.update(
                step=self._start.step, total_steps=self._plan.steps,
                metrics={"rows": float(len(self._examples)), "rowsTooLong": float(self._too_long)})

    def _tell(self, step: int, metrics: dict[str, float]) -> None:
        if self._reporter:
            self._reporter.update(step=step, total_steps=self._plan.steps, metrics=metrics)
        if self._group.rank == 0:
            log.info("step %d of %d: %s", step, self._plan.steps, said(metrics))


def rows(data: bytes, uri: str) -> Iterator[SftRow]:
    """Lines of the data set. Raises UserFault(DatasetInvalid) with the line's number."""
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield SftRow.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise UserFault("DatasetInvalid", f"{uri} line {number}: {'.'.join(map(str, first['loc'])) or 'line'}: "
                            f"{first['msg']}; expected a row as the curate stage writes it") from None


def tokens(batch: list[Example]) -> int:
    """All tokens of a batch, prompts included."""
    return sum(len(example.tokens) for example in batch)


if __name__ == "__main__":
    run_process("magistral_workloads.recipe.sft", run, reports=True)
