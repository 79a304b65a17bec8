"""What groups ask."""

from collections import Counter

from magistral_api.problems import Problem
from magistral_workloads.conductor.order import PromptOrder, asked, sequence_seed

PROBLEM = Problem(id="p", kind="maths", prompt="How many?", translations={"fr": "Combien ?", "de": "Wie viele?"}, answer="1")
GROUPS = 20_000


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


def test_a_tenth_of_the_groups_asks_a_translation_each_language_as_often() -> None:
    prompts = Counter(asked(PROBLEM, 0.1, 3, group).prompt for group in range(GROUPS))
    assert prompts.keys() == {"How many?", "Combien ?", "Wie viele?"}
    # Four standard deviations of a binomial of 20,000 draws are less than a hundredth.
    assert abs(prompts["How many?"] / GROUPS - 0.9) < 0.01
    assert abs(prompts["Combien ?"] / GROUPS - 0.05) < 0.01


def test_a_group_asked_again_asks_in_the_same_language_and_another_seed_asks_others() -> None:
    draws = [[asked(PROBLEM, 0.5, seed, group).prompt for group in range(50)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_only_the_prompt_of_a_translated_problem_differs() -> None:
    found = asked(PROBLEM, 1.0, 0, 0)
    assert found.prompt in PROBLEM.translations.values()
    assert found.model_copy(update={"prompt": PROBLEM.prompt}) == PROBLEM


def test_without_translations_or_a_fraction_a_problem_is_asked_as_it_is() -> None:
    plain = PROBLEM.model_copy(update={"translations": {}})
    assert [asked(plain, 1.0, 0, group) for group in range(20)] == [plain] * 20
    assert [asked(PROBLEM, 0.0, 0, group) for group in range(20)] == [PROBLEM] * 20
