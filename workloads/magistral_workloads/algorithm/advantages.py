"""Group advantages, normalised over the minibatch (paper, section 2.1). numpy only: the conductor needs no torch."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


def group_advantages(rewards: Floats, groups: Ints) -> Floats:
    """r_i minus the mean reward of its group; no division by the group's deviation. [sequences] -> [sequences]."""
    _, member = np.unique(groups, return_inverse=True)
    means = np.bincount(member, weights=rewards) / np.bincount(member)
    return np.asarray(rewards - means[member], dtype=np.float64)


def normalise(advantages: Floats) -> Floats:
    """(Â_i - mean) / std, statistics over the sequences of the minibatch. All zero where they are all equal."""
    centred = advantages - advantages.mean()
    deviation = float(centred.std())
    # Differences of the size of rounding errors are no signal; divided by their own deviation they would become one.
    if deviation <= 1e-9 * max(1.0, float(np.abs(advantages).max())):
        return np.zeros_like(centred)
    return np.asarray(centred / deviation, dtype=np.float64)


def minibatch_advantages(rewards: Floats, groups: Ints) -> Floats:
    """What the loss wants: rewards [sequences] and group numbers [sequences] of one whole minibatch to advantages."""
    return normalise(group_advantages(rewards, groups))


def group_totals(counts: Ints, groups: Ints) -> Ints:
    """For each sequence the sum of `counts` over its group: the denominator Σ|o_i| of the loss. [sequences] -> same."""
    _, member = np.unique(groups, return_inverse=True)
    totals = np.zeros(int(member.max()) + 1, dtype=np.int64)
    np.add.at(totals, member, counts)
    return totals[member]
