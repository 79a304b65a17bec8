"""Learning rate and the order of SFT rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistral_api.run import Optimizer
from magistral_workloads.algorithm.schedule import Epochs, learning_rate, share


def test_the_learning_rate_rises_in_a_line_and_then_stays() -> None:
    optimizer = Optimizer(learning_rate=1e-3, warmup_steps=3)
    assert [learning_rate(optimizer, step) for step in (1, 2, 3, 4, 9)] == pytest.approx(
        [0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert learning_rate(Optimizer(learning_rate=2e-5), 1) == 2e-5


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3), st.integers(0, 9))
def test_every_row_comes_once_an_epoch(rows: int, batch_size: int, epochs: int, seed: int) -> None:
    plan = Epochs(rows, batch_size, epochs, seed)
    seen: list[int] = []
    for step in range(1, plan.steps + 1):
        seen += plan.batch(step)
        if plan.ends_epoch(step):
            assert sorted(seen) == list(range(rows))
            seen = []
    assert not seen


def test_epochs_differ_in_order_and_a_seed_repeats_them() -> None:
    plan = Epochs(rows=50, batch_size=50, epochs=2, seed=3)
    assert plan.batch(1) != plan.batch(2)
    assert plan.batch(2) == Epochs(rows=50, batch_size=50, epochs=2, seed=3).batch(2)


def test_ranks_share_a_batch_without_losing_or_repeating_a_row() -> None:
    parts = [share([5, 6, 7, 8, 9], rank, 3) for rank in range(3)]
    assert parts == [[5, 8], [6, 9], [7]]
