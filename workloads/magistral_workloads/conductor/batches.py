"""Groups to batches, in the order in which groups complete.

Nothing is ever dropped because it is late or old: only groups that teach nothing.
"""

from dataclasses import dataclass, field

from magistral_api.problems import RolloutRecord
from magistral_api.run import RL
from magistral_workloads.algorithm.groups import informative, rank_permutation


@dataclass(frozen=True)
class Batch:
    """What one ledger file holds: the records of `step`, and those of groups dropped while it formed."""

    step: int
    trained: list[RolloutRecord]
    dropped: list[RolloutRecord]

    @property
    def groups(self) -> set[int]:
        """Numbers of all groups in it."""
        return {record.group for record in (*self.trained, *self.dropped)}


def dealt(records: list[RolloutRecord], world_size: int, seed: int, step: int) -> list[RolloutRecord]:
    """The records of a batch with their ranks. Those that were dealt to this number of ranks keep theirs."""
    if {record.rank for record in records} == set(range(world_size)):
        return records
    ranks = rank_permutation(len(records), world_size, seed=seed, step=step)
    return [record.model_copy(update={"rank": rank}) for record, rank in zip(records, ranks, strict=True)]


@dataclass
class Forming:
    """The batch that is being filled. `step` is the one that will train on it and says its size."""

    rl: RL
    world_size: int
    seed: int
    step: int
    _kept: list[RolloutRecord] = field(default_factory=list)
    _dropped: list[RolloutRecord] = field(default_factory=list)

    @property
    def groups(self) -> int:
        """Groups that it holds by now, to be trained on."""
        return len(self._kept) // self.rl.group_size

    def add(self, group: list[RolloutRecord]) -> Batch | None:
        """A complete group, verdicts in. The batch, when this group fills it; the next one begins empty."""
        if not informative([record.reward.total for record in group]):
            self._dropped += group
            return None
        self._kept += group
        if len(self._kept) < self.rl.at(self.step).batch_size:
            return None
        trained = [record.model_copy(update={"trained_step": self.step}) for record in self._kept]
        batch = Batch(self.step, dealt(trained, self.world_size, self.seed, self.step), self._dropped)
        self.step, self._kept, self._dropped = self.step + 1, [], []
        return batch
