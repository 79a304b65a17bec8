"""Greedy collation: a minibatch to microbatches of at most a fixed number of tokens (section 4 of the paper).

Sequences lie one after the other in a microbatch, so none of it is padding; what is left to win is how full they are.
"""

from collections.abc import Iterable, Sequence


def greedy(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Longest first, each into the first microbatch that it fits, else into a new one.

    Returns indices into `lengths`, a list a microbatch. Every index comes once. The tokens of a microbatch are at most
    `capacity`; a sequence that is longer than that is not lost but gets a microbatch of its own.
    """
    return _first_fit(sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)), lengths, capacity, look_back=len(lengths))


def split(microbatches: Sequence[Sequence[int]], lengths: Sequence[int], number: int) -> list[list[int]]:
    """`number` microbatches out of fewer, where there are enough sequences: the fullest of several becomes two.

    Ranks make the same number of passes, as collectives need it. One that splits what it has computes no padding for that.
    """
    parts = [list(members) for members in microbatches]
    while len(parts) < number and (several := [members for members in parts if len(members) > 1]):
        fullest = max(several, key=lambda members: sum(lengths[i] for i in members))
        ordered = sorted(fullest, key=lambda i: (-lengths[i], i))
        parts.remove(fullest)
        parts += [ordered[::2], ordered[1::2]]
    return parts


def in_order(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The baseline that `greedy` is quoted against: as they arrive, a new microbatch when the next does not fit."""
    return _first_fit(range(len(lengths)), lengths, capacity, look_back=1)


def _first_fit(order: Iterable[int], lengths: Sequence[int], capacity: int, look_back: int) -> list[list[int]]:
    bins: list[list[int]] = []
    room: list[int] = []
    for index in order:
        first = max(0, len(bins) - look_back)
        place = next((place for place in range(first, len(bins)) if lengths[index] <= room[place]), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(capacity)
        bins[place].append(index)
        room[place] -= lengths[index]
    return bins
