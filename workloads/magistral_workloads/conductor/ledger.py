"""The rollout ledger: every scored completion, and the conductor's only memory across restarts.

One JSONL file a step, created once and never changed. A small summary of each lies elsewhere, so that a restart reads
kilobytes; one that is missing is made from the file again.
"""

from collections.abc import Iterable, Sequence

from magistral_api.base import ApiModel
from magistral_api.names import ledger_key, ledger_prefix, number_of, run_prefix
from magistral_api.problems import RolloutRecord
from magistral_workloads.conductor.batches import Batch
from magistral_workloads.storage import ObjectStore
from magistral_workloads.transport.rollouts.batch import mean_version


class LedgerError(Exception):
    """The ledger is not what this conductor wrote: another one is at work, or objects were removed."""


class StepSummary(ApiModel):
    """One step of the ledger in figures: means over completions. Lengths in tokens, staleness in versions.

    `reward` and `passed` are over every completion, the dropped groups' too: groups that all pass are dropped, so the
    mean over those trained on would fall as the policy gets better. The others are over completions trained on.
    """

    step: int
    groups: list[int]
    reward: float
    staleness: float
    length: float
    max_length: int
    passed: float
    dropped_groups: int


class Ledger:
    """Ledger of one run. Blocking: call it from a thread. Raises StorageError."""

    def __init__(self, store: ObjectStore, uid: str) -> None:
        self._store, self._uid = store, uid

    def write(self, batch: Batch) -> StepSummary:
        """Make the batch exist. Raises LedgerError when its step was written by somebody else."""
        data = b"".join(record.model_dump_json(by_alias=True).encode() + b"\n"
                        for record in (*batch.trained, *batch.dropped))
        key = ledger_key(self._uid, batch.step)
        if not self._store.put_if_absent(key, data):
            raise LedgerError(f"{self._store.uri(key)}: found another conductor's batch; expected none, as each step is "
                              "written once. This process starts anew from what is there")
        return self._summarise(batch)

    def read(self, step: int) -> list[RolloutRecord]:
        """The records that `step` trains on, of all ranks."""
        return self._batch(step).trained

    def summaries(self) -> list[StepSummary]:
        """Of steps 1, 2, …, in order. Raises LedgerError when one is missing between others."""
        steps = sorted(number_of(found.key) for found in self._store.list(f"{ledger_prefix(self._uid)}/")
                       if found.key.endswith(".jsonl"))
        if steps != list(range(1, len(steps) + 1)):
            raise LedgerError(f"{self._store.uri(ledger_prefix(self._uid))}: found steps {_short(steps)}; expected 1 "
                              f"to {len(steps)}. Restore the missing file, or start the run under another name")
        known = {number_of(found.key): found.key for found in self._store.list(f"{self._summaries}/")}
        return [StepSummary.model_validate_json(self._store.get(known[step])) if step in known
                else self._summarise(self._batch(step)) for step in steps]

    @property
    def _summaries(self) -> str:
        return f"{run_prefix(self._uid)}/rl/summaries"

    def _batch(self, step: int) -> Batch:
        lines = self._store.get(ledger_key(self._uid, step)).splitlines()
        records = [RolloutRecord.model_validate_json(line) for line in lines]
        return Batch(step, [record for record in records if record.trained_step is not None],
                     [record for record in records if record.trained_step is None])

    def _summarise(self, batch: Batch) -> StepSummary:
        summary = summarise(batch)
        self._store.put(f"{self._summaries}/{batch.step:06d}.json", summary.model_dump_json(by_alias=True).encode())
        return summary


def summarise(batch: Batch) -> StepSummary:
    """Figures of a batch. Step `s` trains version s - 1, so a token of version v is s - 1 - v versions old."""
    lengths = [len(record.completion_tokens) for record in batch.trained]
    scored = (*batch.trained, *batch.dropped)
    return StepSummary(
        step=batch.step, groups=sorted(batch.groups),
        reward=_mean([record.reward.total for record in scored]),
        staleness=_mean([batch.step - 1 - mean_version(record) for record in batch.trained]),
        length=_mean(lengths), max_length=max(lengths, default=0),
        passed=_mean([float(record.outcome == "pass") for record in scored]),
        dropped_groups=len({record.group for record in batch.dropped}))


def unused(used: Iterable[int]) -> tuple[list[int], int]:
    """Groups to ask after a restart: those that were in flight, then every number from the second value on."""
    taken = set(used)
    beyond = max(taken, default=-1) + 1
    return [group for group in range(beyond) if group not in taken], beyond


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _short(steps: list[int]) -> str:
    return ", ".join(map(str, steps[:8])) + (", …" if len(steps) > 8 else "")
