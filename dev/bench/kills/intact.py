"""What a ledger and a loss curve say about a run whose processes were killed: nothing lost, doubled or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from magistral_api.names import ledger_key, ledger_prefix
from magistral_api.problems import Problem, RolloutRecord
from magistral_api.run import RL
from magistral_workloads.algorithm.groups import rank_permutation
from magistral_workloads.conductor.order import PromptOrder
from magistral_workloads.storage import ObjectStore
from magistral_workloads.training.curve import curve


@dataclass(frozen=True)
class Faults:
    """Counts over a run's ledger; all are 0 in a run that lost nothing.

    `lost`: groups that are missing below the largest number; `doubled`: completions that are there more than once;
    `misasked`: groups whose problem is not the pre-set order's; `broken_groups`: with a completion too few or too many;
    `broken_batches`: steps without a whole batch, or dealt otherwise than by the pre-set permutation.
    """

    groups: int
    completions: int
    lost: int
    doubled: int
    misasked: int
    broken_groups: int
    broken_batches: int

    @property
    def total(self) -> int:
        return self.lost + self.doubled + self.misasked + self.broken_groups + self.broken_batches


def faults(batches: Sequence[Sequence[RolloutRecord]], rl: RL, problems: Sequence[Problem], seed: int) -> Faults:
    """`batches`: the records of steps 1, 2, …, trained on and dropped."""
    records = [record for batch in batches for record in batch]
    places = Counter((record.group, record.index) for record in records)
    asked = {(record.group, record.problem_id) for record in records}
    groups, order = {group for group, _ in places}, PromptOrder(len(problems), seed)
    ranks = [rank_permutation(rl.at(step).batch_size, rl.trainers, seed=seed, step=step)
             for step in range(1, rl.steps + 1)]
    return Faults(
        groups=len(groups), completions=len(records), lost=max(groups, default=-1) + 1 - len(groups),
        doubled=sum(count - 1 for count in places.values()),
        misasked=sum(problems[order.problem(group)].id != name for group, name in asked),
        broken_groups=sum({index for found, index in places if found == group} != set(range(rl.group_size))
                          for group in groups),
        broken_batches=rl.steps - sum(
            [record.rank for record in batch if record.trained_step == step] == ranks[step - 1]
            for step, batch in enumerate(batches, start=1)))


def ledger(store: ObjectStore, uid: str) -> list[list[RolloutRecord]]:
    """The batches of all steps, in order."""
    steps = sum(found.key.endswith(".jsonl") for found in store.list(f"{ledger_prefix(uid)}/"))
    return [[RolloutRecord.model_validate_json(line) for line in store.get(ledger_key(uid, step)).splitlines()]
            for step in range(1, steps + 1)]


def copy_ledger(store: ObjectStore, uid: str, other: str) -> None:
    """All batches of a run become another's, to be trained on again."""
    for step in range(1, len(list(store.list(f"{ledger_prefix(uid)}/"))) + 1):
        store.put(ledger_key(other, step), store.get(ledger_key(uid, step)))


def difference(store: ObjectStore, uid: str, other: str) -> float:
    """Largest difference of any metric of any step between two runs, but those in seconds. Raises ValueError when one has
    more steps than the other.
    """
    return max(abs(value - theirs.metrics[name])
               for ours, theirs in zip(curve(store, uid, "rl"), curve(store, other, "rl"), strict=True)
               for name, value in ours.metrics.items() if not name.endswith("Seconds"))
