"""What step comes when: learning rate, epochs, the rows of each SFT step. Step numbers count from 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from magistral_api.run import Optimizer

T = TypeVar("T")


def learning_rate(optimizer: Optimizer, step: int) -> float:
    """Of optimiser step `step` (from 1): linear warm-up over `warmup_steps`, then constant."""
    if step <= optimizer.warmup_steps:
        return optimizer.learning_rate * step / (optimizer.warmup_steps + 1)
    return optimizer.learning_rate


@dataclass(frozen=True)
class Epochs:
    """A data set read `epochs` times, each time in another order that the seed fixes.

    The last step of an epoch takes what is left, so that every row comes once an epoch.
    """

    rows: int
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.rows // self.batch_size)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """Of step `step`, both from 1."""
        return (step - 1) // self.steps_per_epoch + 1

    def ends_epoch(self, step: int) -> bool:
        return step % self.steps_per_epoch == 0

    def batch(self, step: int) -> list[int]:
        """Row numbers of step `step`."""
        order = np.random.default_rng([self.seed, self.epoch(step)]).permutation(self.rows)
        start = (step - 1) % self.steps_per_epoch * self.batch_size
        return [int(row) for row in order[start:start + self.batch_size]]


def share(items: Sequence[T], rank: int, world_size: int) -> list[T]:
    """A rank's part of a minibatch, dealt round. Parts differ by at most one item; a part may be empty."""
    return list(items[rank::world_size])
