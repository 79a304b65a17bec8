"""Forming a batch."""

from collections import Counter

import pytest

from magistral_workloads.algorithm.groups import informative, rank_permutation


def test_a_group_whose_rewards_are_all_equal_teaches_nothing() -> None:
    assert not informative([1.0, 1.0, 1.0])
    assert not informative([0.1 + 0.9, 1.0])
    assert informative([1.0, 1.0, 0.1])


def test_every_rank_gets_the_same_number_of_completions() -> None:
    assert Counter(rank_permutation(24, 3, seed=1, step=4)) == {0: 8, 1: 8, 2: 8}


def test_the_permutation_is_fixed_by_seed_and_step() -> None:
    assert rank_permutation(64, 2, seed=5, step=3) == rank_permutation(64, 2, seed=5, step=3)
    assert rank_permutation(64, 2, seed=5, step=3) != rank_permutation(64, 2, seed=5, step=4)


def test_a_batch_that_does_not_divide_among_the_ranks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rl\.batchSize: found 10 completions for 4"):
        rank_permutation(10, 4, seed=0, step=1)
