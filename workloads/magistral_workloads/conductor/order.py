"""Which problem a group asks: a seeded permutation an epoch, so that a restart asks the same ones."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class PromptOrder:
    """Groups are numbered from 0 over the whole run; epoch e has groups e·n to (e+1)·n - 1, each problem once."""

    problems: int
    seed: int

    def problem(self, group: int) -> int:
        """Index of the problem that the group asks."""
        epoch, place = divmod(group, self.problems)
        return _epoch(self.problems, self.seed, epoch)[place]


def sequence_seed(seed: int, group: int, index: int, attempt: int) -> int:
    """Seed of one completion, 32 bits. The same group asked again after a restart draws with the same seeds."""
    return int(np.random.SeedSequence([seed, group, index, attempt]).generate_state(1)[0])


@lru_cache(maxsize=4)
def _epoch(problems: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(int(i) for i in np.random.default_rng([seed, epoch]).permutation(problems))
