"""One list of lengths to microbatches of each trainer rank, as several systems do it.

Each packer: (lengths, budget in tokens of a microbatch, ranks) to a `Packed`. TRL's own code is called; prime-rl is in no
package registry, so its algorithm is written down here from its published source (`trainer/batch.py`, 2026-11).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl.experimental.async_grpo.async_grpo_trainer import TokenBudgetBatcher

from magistral_workloads.algorithm.groups import rank_permutation
from magistral_workloads.algorithm.packing import greedy, split

IDLE_TOKENS = 2
"""What a rank of ours computes where its peers have one microbatch more (training.model.Microbatch.idle)."""

Shape = tuple[int, int]
"""Of one forward pass: tokens of sequences, tokens computed."""


@dataclass(frozen=True)
class Packed:
    """Forward passes of each rank in one optimiser step."""

    ranks: list[list[Shape]]
    budget: int

    @property
    def padding(self) -> float:
        """Share of the tokens computed that are no sequence's."""
        return 1 - self._sum(0) / self._sum(1)

    @property
    def room(self) -> float:
        """Share of the microbatches' fixed size that no sequence fills."""
        return 1 - self._sum(0) / (self.budget * self.microbatches)

    @property
    def balance(self) -> float:
        """Tokens of the rank that has most ÷ mean of the ranks."""
        tokens = [sum(own for own, _ in passes) for passes in self.ranks]
        return max(tokens) * len(tokens) / sum(tokens)

    @property
    def microbatches(self) -> int:
        """With sequences in them, of all ranks."""
        return sum(own > 0 for passes in self.ranks for own, _ in passes)

    def _sum(self, place: int) -> int:
        return sum(shape[place] for passes in self.ranks for shape in passes)


def ours(lengths: Sequence[int], budget: int, ranks: int) -> Packed:
    """Ranks by the pre-set permutation, then greedy collation of each rank's share, split where a peer has more
    microbatches; sequences one after the other.
    """
    places = rank_permutation(len(lengths), ranks, seed=0, step=1)
    shares = [[length for length, place in zip(lengths, places, strict=True) if place == rank] for rank in range(ranks)]
    packed = [greedy(share, budget) for share in shares]
    most = max(map(len, packed))
    passes = [[(tokens := sum(share[i] for i in members), tokens) for members in split(parts, share, most)]
              for parts, share in zip(packed, shares, strict=True)]
    return Packed([mine + [(0, IDLE_TOKENS)] * (most - len(mine)) for mine in passes], budget)


def pad_to_longest(lengths: Sequence[int], budget: int, ranks: int) -> Packed:
    """As GRPOTrainer: each rank its slice of the batch, every row as long as the longest of the batch.

    So many rows a pass as the budget holds.
    """
    longest, each = max(lengths), len(lengths) // ranks
    rows = max(1, budget // longest)
    shares = [lengths[rank * each:(rank + 1) * each] for rank in range(ranks)]
    return Packed([[(sum(part), len(part) * longest) for part in (share[i:i + rows] for i in range(0, each, rows))]
                   for share in shares], budget)


def trl(lengths: Sequence[int], budget: int, ranks: int) -> Packed:
    """TRL's TokenBudgetBatcher (experimental.async_grpo), in order of arrival, groups of 16.

    It fills rows from an endless stream, so the last rows, which it would go on filling, are not counted. Tokens are all
    different: prompts that a group shares, which it would forward once, are in no list of lengths.
    """
    packed: list[list[Shape]] = [[] for _ in range(ranks)]
    for rows in TokenBudgetBatcher(_samples(lengths), ranks, budget, defaultdict(list)):
        for passes, row in zip(packed, rows, strict=True):
            passes.append((len(row.tokens), len(row.tokens)))
    return Packed(packed, budget)


def _samples(lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    first = 0
    for number, length in enumerate(lengths):
        yield {"input_ids": torch.arange(first, first + length), "completion_mask": torch.ones(length),
               "group_id": number // 16}
        first += length


def prime_rl(lengths: Sequence[int], budget: int, ranks: int) -> Packed:
    """prime-rl's `prepare_batch`, reimplemented: first fit decreasing over all ranks, costliest bins split in two until
    each rank gets as many, then as equal costs as can be. The cost of a sequence is the square of its length.
    """
    bins: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        place = next((found for found in bins if sum(found) + length <= budget), None)
        if place is None:
            bins.append([length])
        else:
            place.append(length)
    while len(bins) % ranks and any(len(found) > 1 for found in bins):
        costliest = max((found for found in bins if len(found) > 1), key=_cost)
        bins.remove(costliest)
        bins += _halves(costliest)
    parts = _equal([_cost(found) for found in bins], ranks)
    return Packed([[(sum(bins[i]), sum(bins[i])) for i in part] for part in parts], budget)


def _cost(members: Sequence[int]) -> int:
    return sum(length * length for length in members)


def _halves(members: Sequence[int]) -> tuple[list[int], list[int]]:
    """Longest first, each to the side that costs less by now."""
    one: list[int] = []
    other: list[int] = []
    for length in sorted(members, reverse=True):
        (one if _cost(one) <= _cost(other) else other).append(length)
    return one, other


def _equal(costs: Sequence[int], parts: int) -> list[list[int]]:
    """Indices in `parts` lists of equal number and near equal cost: the largest differencing method, then swaps."""
    order = sorted(range(len(costs)), key=lambda i: -costs[i])
    heap: list[tuple[int, int, list[list[int]]]] = []
    for start in range(0, len(order), parts):
        rows = [[i] for i in order[start:start + parts]]
        heapq.heappush(heap, (_spread(costs, rows), start, rows))
    while len(heap) > 1:
        (_, _, one), (_, number, other) = heapq.heappop(heap), heapq.heappop(heap)
        ascending = sorted(other, key=lambda part: sum(costs[i] for i in part))
        descending = sorted(one, key=lambda part: -sum(costs[i] for i in part))
        joined = [left + right for left, right in zip(descending, ascending, strict=True)]
        heapq.heappush(heap, (_spread(costs, joined), number, joined))
    return _swapped(costs, heap[0][2])


def _spread(costs: Sequence[int], parts: list[list[int]]) -> int:
    """Negative: the heap gives the widest first."""
    sums = [sum(costs[i] for i in part) for part in parts]
    return min(sums) - max(sums)


def _swapped(costs: Sequence[int], parts: list[list[int]]) -> list[list[int]]:
    """Exchange two members of the costliest part and another as long as that lowers the larger of both."""
    while True:
        sums = [sum(costs[i] for i in part) for part in parts]
        top = sums.index(max(sums))
        better = ((max(sums[top] - gain, sums[low] + gain), a, low, b)
                  for low in range(len(parts)) if low != top
                  for a, i in enumerate(parts[top]) for b, j in enumerate(parts[low])
                  if (gain := costs[i] - costs[j]) > 0)
        found = min(better, default=None)
        if found is None or found[0] >= sums[top]:
            return parts
        _, a, low, b = found
        parts[top][a], parts[low][b] = parts[low][b], parts[top][a]


Packer = Callable[[Sequence[int], int, int], Packed]
PACKERS: dict[str, Packer] = {"ours": ours, "trl": trl, "prime_rl": prime_rl, "pad_to_longest": pad_to_longest}
