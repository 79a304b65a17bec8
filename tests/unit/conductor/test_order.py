"""Prompt order."""

from magistral_workloads.conductor.order import PromptOrder, sequence_seed


def test_every_epoch_asks_each_problem_once() -> None:
    order = PromptOrder(problems=7, seed=3)
    for epoch in range(3):
        assert sorted(order.problem(epoch * 7 + place) for place in range(7)) == list(range(7))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(PromptOrder(50, seed).problem(epoch * 50 + place) for place in range(50))
              for seed in range(2) for epoch in range(2)}
    assert len(orders) == 4


def test_every_completion_draws_with_a_seed_of_its_own() -> None:
    seeds = {sequence_seed(seed, group, index, attempt)
             for seed in range(2) for group in range(20) for index in range(8) for attempt in range(2)}
    assert len(seeds) == 2 * 20 * 8 * 2
    assert all(0 <= seed < 2**32 for seed in seeds)
