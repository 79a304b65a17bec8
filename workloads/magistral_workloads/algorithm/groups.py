"""Which groups form a batch, and which trainer rank gets which completion."""

from collections.abc import Sequence

import numpy as np


def informative(rewards: Sequence[float]) -> bool:
    """Whether a group teaches anything: a group whose rewards are all equal has no advantage and is dropped."""
    return max(rewards) - min(rewards) > 1e-9


def rank_permutation(completions: int, world_size: int, *, seed: int, step: int) -> list[int]:
    """The trainer rank of the n-th completion of a batch, fixed before anything is generated (section 4 of the paper).

    Every rank gets `completions / world_size` of them. Raises ValueError when that is no whole number.
    """
    if completions % world_size:
        raise ValueError(f"rl.batchSize: found {completions} completions for {world_size} trainer processes; expected "
                         "a multiple of trainers × processesPerPod. Change one of them")
    places = np.random.default_rng([seed, step]).permutation(completions)
    return [int(rank) for rank in places % world_size]
