"""pass@1, maj@k and intervals, on numbers worked by hand."""

import numpy as np
import pytest

from magistral_workloads.evaluation.statistics import Answer, Column, difference, interval, maj_at_k, pass_at_1, pooled

RIGHT, WRONG, OTHER, NONE = Answer(True, "4"), Answer(False, "5"), Answer(False, "6"), Answer(False, None)


def test_pass_at_1_is_the_mean_over_problems_of_the_mean_over_runs() -> None:
    assert pass_at_1([[RIGHT, WRONG, WRONG, WRONG], [RIGHT, RIGHT, RIGHT, WRONG]]) == pytest.approx(0.5)


def test_the_majority_can_be_right_where_most_answers_are_wrong() -> None:
    assert maj_at_k([[RIGHT, RIGHT, WRONG, OTHER, NONE]]) == 1.0


def test_the_majority_can_be_wrong_where_some_answers_are_right() -> None:
    assert maj_at_k([[WRONG, WRONG, RIGHT]]) == 0.0


def test_answers_without_a_final_answer_do_not_vote() -> None:
    assert maj_at_k([[NONE, NONE, RIGHT]]) == 1.0
    assert maj_at_k([[NONE, NONE]]) == 0.0


def test_the_interval_holds_the_mean_and_is_the_same_under_the_same_seed() -> None:
    answers = [[RIGHT, WRONG], [RIGHT, RIGHT], [WRONG, WRONG], [RIGHT, WRONG]] * 5
    low, high = interval(answers, seed=3)
    assert 0.0 <= low < pass_at_1(answers) < high <= 1.0
    assert interval(answers, seed=3) == (low, high)


def test_a_suite_that_everybody_passes_has_an_interval_without_width() -> None:
    assert interval([[RIGHT]] * 4) == (1.0, 1.0)


def test_nothing_to_average_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one problem"):
        pass_at_1([])


def column(*rates: list[float], answers: int = 4) -> Column:
    """A training run a list, a problem a rate."""
    passes = np.array(rates) * answers
    return Column(passes.round().astype(np.int64), np.full(passes.shape, answers))


def test_training_runs_of_one_column_are_pooled_into_their_mean() -> None:
    found = pooled(column([0.5, 1.0], [0.0, 0.5]))
    assert found.mean == pytest.approx(0.5)
    assert 0.0 <= found.low < found.mean < found.high <= 1.0


def test_one_training_run_has_the_interval_of_its_problems_and_answers() -> None:
    rates = [0.0, 0.25, 0.5, 0.75, 1.0] * 12
    answers = [[RIGHT] * round(4 * rate) + [WRONG] * (4 - round(4 * rate)) for rate in rates]
    found = pooled(column(rates))
    assert (found.low, found.high) == pytest.approx(interval(answers), abs=0.02)


def test_training_runs_that_differ_widen_the_interval() -> None:
    apart, alike = pooled(column([0.25] * 40, [0.75] * 40)), pooled(column([0.5] * 40, [0.5] * 40))
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_a_difference_on_the_same_problems_is_surer_than_both_columns_apart() -> None:
    hard, easy = [0.0] * 20 + [0.75] * 20, [0.25] * 20 + [1.0] * 20
    found, one, other = difference(column(easy), column(hard)), pooled(column(easy)), pooled(column(hard))
    assert found.mean == pytest.approx(0.25)
    assert one.low < other.high
    assert found.low > 0.1


def test_a_difference_of_a_column_from_itself_is_nothing() -> None:
    found = difference(column([0.25, 0.5, 0.75]), column([0.25, 0.5, 0.75]))
    assert found.mean == 0.0
    assert found.low < 0.0 < found.high


def test_pooled_intervals_are_the_same_under_the_same_seed() -> None:
    assert pooled(column([0.25, 0.5]), seed=1) == pooled(column([0.25, 0.5]), seed=1)
