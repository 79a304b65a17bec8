"""pass@1, maj@k and intervals, on numbers worked by hand."""

import pytest

from magistral_workloads.evaluation.statistics import Answer, interval, maj_at_k, pass_at_1

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
