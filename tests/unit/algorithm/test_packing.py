"""Greedy collation by property, and against arrival order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from magistral_workloads.algorithm.packing import greedy, in_order, split

CAPACITY = 64
LENGTHS = st.lists(st.integers(1, CAPACITY), max_size=40)


@given(LENGTHS)
def test_every_sequence_is_in_exactly_one_microbatch(lengths: list[int]) -> None:
    for collate in (greedy, in_order):
        placed = [index for members in collate(lengths, CAPACITY) for index in members]
        assert sorted(placed) == list(range(len(lengths)))


@given(LENGTHS)
def test_no_microbatch_exceeds_its_tokens(lengths: list[int]) -> None:
    for collate in (greedy, in_order):
        assert all(sum(lengths[i] for i in members) <= CAPACITY for members in collate(lengths, CAPACITY))


@given(LENGTHS)
def test_no_two_microbatches_would_fit_into_one(lengths: list[int]) -> None:
    sums = [sum(lengths[i] for i in members) for members in greedy(lengths, CAPACITY)]
    assert all(one + other > CAPACITY for place, one in enumerate(sums) for other in sums[place + 1:])


@given(LENGTHS)
def test_the_longest_comes_first(lengths: list[int]) -> None:
    bins = greedy(lengths, CAPACITY)
    firsts = [lengths[members[0]] for members in bins]
    assert firsts == sorted(firsts, reverse=True)
    assert all([lengths[i] for i in m] == sorted((lengths[i] for i in m), reverse=True) for m in bins)


def test_greedy_collation_needs_fewer_microbatches_than_arrival_order_on_skewed_lengths() -> None:
    draw = random.Random(0)
    lengths = [min(32768, max(1, int(draw.lognormvariate(8.7, 0.8)))) for _ in range(512)]
    assert sum(lengths) / 32768 <= len(greedy(lengths, 32768)) < len(in_order(lengths, 32768))


def test_a_sequence_longer_than_a_microbatch_is_not_lost_but_stays_alone() -> None:
    assert greedy([3, 65, 2], CAPACITY) == [[1], [0, 2]]
    assert in_order([3, 65, 2], CAPACITY) == [[0], [1], [2]]


@given(LENGTHS, st.integers(0, 60))
def test_a_rank_splits_microbatches_rather_than_padding_to_keep_pace(lengths: list[int], number: int) -> None:
    packed = greedy(lengths, CAPACITY)
    parts = split(packed, lengths, number)
    assert len(parts) == max(len(packed), min(number, len(lengths)))
    assert sorted(index for members in parts for index in members) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in members) <= CAPACITY for members in parts)


def test_microbatches_that_are_enough_stay_as_they_are() -> None:
    assert split([[1], [0, 2]], [3, 65, 2], 2) == [[1], [0, 2]]
