"""Advantages of section 2.1, by hand and by property."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magistral_workloads.algorithm.advantages import group_advantages, group_totals, minibatch_advantages, normalise

REWARDS = np.array([1.0, 0.1, 0.0, 1.0, 1.1, 0.1])
GROUPS = np.array([7, 7, 7, 9, 9, 9])


def test_a_reward_is_compared_with_the_mean_of_its_own_group() -> None:
    found = group_advantages(np.array([1.0, 0.0, 0.4, 0.6]), np.array([5, 5, 2, 2]))
    np.testing.assert_allclose(found, [0.5, -0.5, -0.1, 0.1])


def test_no_group_is_divided_by_its_own_deviation() -> None:
    # Two groups whose spread differs tenfold keep that ratio after normalisation over the minibatch.
    found = minibatch_advantages(np.array([1.0, 0.0, 0.6, 0.5]), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found[0] / found[2], 10.0)


def test_the_minibatch_has_mean_zero_and_deviation_one() -> None:
    found = minibatch_advantages(REWARDS, GROUPS)
    np.testing.assert_allclose([found.mean(), found.std()], [0.0, 1.0], atol=1e-12)


def test_equal_rewards_give_no_advantage_instead_of_a_division_by_zero() -> None:
    np.testing.assert_array_equal(normalise(np.array([0.3, 0.3, 0.3])), [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(minibatch_advantages(np.full(4, 1.1), np.array([0, 0, 1, 1])), np.zeros(4))


def test_the_order_of_completions_does_not_matter() -> None:
    order = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(
        minibatch_advantages(REWARDS[order], GROUPS[order]), minibatch_advantages(REWARDS, GROUPS)[order])


def test_each_sequence_knows_the_tokens_of_its_whole_group() -> None:
    np.testing.assert_array_equal(group_totals(np.array([3, 4, 10, 1]), np.array([8, 2, 8, 2])), [13, 5, 13, 5])


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1.1)), min_size=1, max_size=40))
def test_every_group_sums_to_zero_whatever_the_rewards(batch: list[tuple[int, float]]) -> None:
    groups, rewards = (np.array(column) for column in zip(*batch, strict=True))
    found = group_advantages(rewards, groups)
    for group in set(groups.tolist()):
        assert abs(found[groups == group].sum()) < 1e-9
