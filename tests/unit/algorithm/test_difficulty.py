"""Neither too easy nor too hard, and right: by the answers of a model."""

from magistral_api.run import Difficulty
from magistral_workloads.algorithm.curation import Step
from magistral_workloads.algorithm.difficulty import by_difficulty, tallied


def rules(**fields: float) -> Difficulty:
    return Difficulty.model_validate({"gradedBy": {"uri": "s3://bucket/answers"}} | fields)


def answers(problem: str, passed: int, *wrong: str | None) -> list[tuple[str, bool, str | None]]:
    """So many correct answers, and these wrong ones."""
    return [(problem, True, "right")] * passed + [(problem, False, text) for text in wrong]


def kept(given: list[tuple[str, bool, str | None]], **fields: float) -> list[str]:
    tallies = tallied(given)
    return by_difficulty(sorted(tallies), tallies, rules(**fields))[0]


def test_problems_that_are_never_solved_and_those_that_nearly_always_are_go() -> None:
    given = [*answers("always", 16), *answers("hard", 1, *map(str, range(15))), *answers("never", 0, *map(str, range(16))),
             *answers("often", 15, "x")]
    assert kept(given) == ["hard"]


def test_the_lower_bound_is_exclusive_and_the_upper_one_is_not() -> None:
    given = [*answers("quarter", 4, *map(str, range(12))), *answers("three quarters", 12, *map(str, range(4)))]
    assert kept(given, minPassRate=0.25, maxPassRate=0.75) == ["three quarters"]
    assert kept(given, minPassRate=0.2, maxPassRate=0.7) == ["quarter"]


def test_a_problem_is_taken_for_wrong_when_more_than_half_agree_on_another_answer() -> None:
    given = [*answers("half", 4, *["x"] * 8, *map(str, range(4))), *answers("more", 4, *["x"] * 9, *map(str, range(3))),
             *answers("split", 1, *["x"] * 7, *["y"] * 8)]
    assert kept(given) == ["half", "split"]
    assert kept(given, majorityDisagrees=1) == ["half", "more", "split"]
    assert kept(given, majorityDisagrees=0.4) == []


def test_wrong_answers_without_a_final_answer_agree_on_nothing() -> None:
    assert kept(answers("code", 1, *[None] * 15)) == ["code"]


def test_correct_answers_that_agree_are_no_sign_of_a_wrong_problem() -> None:
    assert kept(answers("a", 12, *map(str, range(4)))) == ["a"]


def test_a_problem_without_answers_is_left_out_and_counted() -> None:
    tallies = tallied(answers("a", 8, *map(str, range(8))))
    left, funnel = by_difficulty(["b", "a", "c"], tallies, rules())
    assert left == ["a"]
    assert funnel[0] == Step("difficulty.gradedBy", 1, 2, "no answer to it was graded")


def test_the_funnel_counts_each_problem_at_the_first_rule_that_takes_it_out() -> None:
    given = [*answers("always", 4), *answers("never", 0, "x", "x"), *answers("wrong", 1, *["x"] * 3),
             *answers("good", 1, "x", "y")]
    tallies = tallied(given)
    left, funnel = by_difficulty(["always", "good", "never", "unknown", "wrong"], tallies, rules())
    assert left == ["good"]
    assert [(step.name, step.kept, step.dropped) for step in funnel] == [
        ("difficulty.gradedBy", 4, 1), ("difficulty.minPassRate", 3, 1), ("difficulty.maxPassRate", 2, 1),
        ("difficulty.majorityDisagrees", 1, 1)]


def test_the_order_of_problems_stays_and_that_of_answers_does_not_matter() -> None:
    given = [*answers("b", 8, *map(str, range(8))), *answers("a", 8, *map(str, range(8)))]
    assert tallied(given) == tallied(given[::-1])
    assert by_difficulty(["b", "a"], tallied(given), rules())[0] == ["b", "a"]


def test_answers_to_problems_of_other_sets_change_nothing() -> None:
    given = answers("a", 8, *map(str, range(8)))
    assert by_difficulty(["a"], tallied([*given, *answers("z", 16)]), rules()) == by_difficulty(["a"], tallied(given), rules())


def test_two_stages_are_two_calls_of_which_the_second_sees_the_whole_set_again() -> None:
    weak = tallied([*answers("easy", 4), *answers("fair", 2, "x", "y"), *answers("hard", 0, "x", "y")])
    strong = tallied([*answers("easy", 4), *answers("fair", 4), *answers("hard", 2, "x", "y")])
    assert by_difficulty(["easy", "fair", "hard"], weak, rules())[0] == ["fair"]
    assert by_difficulty(["easy", "fair", "hard"], strong, rules())[0] == ["hard"]
