"""Greedy collation: a minibatch to microbatches of at most a fixed number of tokens (section 4 of the paper)."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

Cells: TypeAlias = Callable[[Sequence[int]], int]
"""Tokens that a forward pass over sequences of these lengths computes, padding included."""


def padded(lengths: Sequence[int]) -> int:
    """A rectangle: every row as long as the longest."""
    return len(lengths) * max(lengths, default=0)


def packed(lengths: Sequence[int]) -> int:
    """One row, sequences one after the other."""
    return sum(lengths)


def greedy(lengths: Sequence[int], capacity: int, cells: Cells = padded) -> list[list[int]]:
    """Longest first, each into the first microbatch that it fits, else into a new one.

    Returns indices into `lengths`, a list a microbatch. Every index comes once. `cells` of a microbatch is at most
    `capacity`; a sequence that is longer than that is not lost but gets a microbatch of its own.
    """
    bins: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        for members in bins:
            if cells([lengths[i] for i in (*members, index)]) <= capacity:
                members.append(index)
                break
        else:
            bins.append([index])
    return bins


def in_order(lengths: Sequence[int], capacity: int, cells: Cells = padded) -> list[list[int]]:
    """The baseline that padding is quoted against: as they arrive, a new microbatch when the next does not fit."""
    bins: list[list[int]] = []
    for index in range(len(lengths)):
        if bins and cells([lengths[i] for i in (*bins[-1], index)]) <= capacity:
            bins[-1].append(index)
        else:
            bins.append([index])
    return bins


def padding(lengths: Sequence[int], bins: Sequence[Sequence[int]], cells: Cells = padded) -> float:
    """Share of the computed tokens that are padding, 0 to 1. 0 for an empty minibatch."""
    computed = sum(cells([lengths[i] for i in members]) for members in bins)
    return 1 - sum(lengths[i] for members in bins for i in members) / computed if computed else 0.0
