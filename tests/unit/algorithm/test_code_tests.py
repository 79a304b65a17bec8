"""Which tests solutions bear out, and problems in two languages."""

from collections.abc import Sequence

import pytest

from magistral_api.problems import CodeTest, Problem, Solution
from magistral_api.run import CodeTests
from magistral_workloads.algorithm.code_tests import borne_out, clean, in_languages, short_of


def problem(expected: Sequence[str] = ("1", "2", "3"), solutions: int = 3, **fields: object) -> Problem:
    return Problem(id="p", kind="code", prompt="Print it. ", tests=[
        CodeTest(stdin=f"in {place}", stdout=text) for place, text in enumerate(expected)],
        solutions=[Solution(language="python", source=f"{place}") for place in range(solutions)]).model_copy(update=fields)


def rules(**fields: float) -> CodeTests:
    return CodeTests.model_validate({"minAgreement": 0.6, "minSolutions": 2, "minTests": 1} | fields)


JUDGED: dict[str, tuple[str, list[str | None], str | None]] = {
    "a test that all solutions pass stays": ("1", ["1", "1", "1"], "1"),
    "a test that enough solutions pass stays": ("1", ["1", "1", "2"], "1"),
    "a test that no solution passes gets what most of them print": ("1", ["2", "2", "3"], "2"),
    "a test that one solution passes stays, whatever the others agree on": ("1", ["2", "2", "2", "1"], "1"),
    "a test on which too few agree goes": ("1", ["1", "2", "3"], None),
    "a test that some pass goes when too few agree": ("1", ["1", "1", "2", "3"], None),
    "a test on which every solution fails goes": ("1", [None, None, None], None),
    "a failure is no agreement": ("1", ["1", None, None], None),
    "failures never agree with each other": ("1", [None, None, None, "1", "1"], None),
    "space and spelling of numbers are no disagreement": ("1", ["1.0", "1 \n", "1e0"], "1"),
    "of what most print the first spelling is taken": ("1", ["2.0", "2", "3"], "2.0"),
    "the share is exact": ("1", ["1"] * 3 + ["2"] * 2, "1"),
}


@pytest.mark.parametrize("sentence", list(JUDGED))
def test_judgement(sentence: str) -> None:
    expected, outputs, becomes = JUDGED[sentence]
    assert borne_out(expected, outputs, 0.6) == becomes


def test_of_two_outputs_that_are_as_frequent_the_first_solution_s_is_taken() -> None:
    assert borne_out("1", ["2", "3", "3", "2"], 0.5) == "2"


def test_a_problem_keeps_its_good_tests_gets_corrected_ones_and_loses_the_rest() -> None:
    found = clean(problem(), [["1", "5", "x"], ["1", "5", "y"], ["1", "5", "z"]], rules())
    assert found.problem is not None
    assert [(test.stdin, test.stdout) for test in found.problem.tests] == [("in 0", "1"), ("in 1", "5")]
    assert (found.kept, found.corrected, found.dropped) == (1, 1, 1)


def test_a_solution_that_never_prints_anything_does_not_count() -> None:
    broken: list[str | None] = [None] * 3
    found = clean(problem(), [["1", "2", "3"], broken, broken, ["1", "2", "3"]], rules(minAgreement=1))
    assert (found.kept, found.dropped) == (3, 0)
    assert clean(problem(), [["1", "2", "3"], broken, broken], rules()).short_of == "minSolutions"


def test_a_problem_that_loses_too_many_tests_goes_and_its_tests_are_counted() -> None:
    found = clean(problem(), [["1", "a", "b"], ["1", "c", "d"]], rules(minTests=2))
    assert (found.problem, found.short_of, found.kept, found.dropped) == (None, "minTests", 1, 2)


def test_a_problem_with_too_few_solutions_or_tests_goes_before_anything_is_run() -> None:
    assert short_of(problem(solutions=1), rules()) == "minSolutions"
    assert short_of(problem(expected=()), rules()) == "minTests"
    assert short_of(problem(), rules()) is None


def test_a_problem_becomes_one_for_each_language_that_it_asks_for() -> None:
    python, cpp = in_languages(problem(), ["python", "cpp"])
    assert (python.id, python.language, python.prompt) == ("p/python", "python", "Print it.\n\nWrite the program in Python.")
    assert (cpp.id, cpp.language, cpp.prompt) == ("p/cpp", "cpp", "Print it.\n\nWrite the program in C++.")
    assert python.tests == cpp.tests == problem().tests


def test_a_translation_asks_for_the_language_in_its_own_words() -> None:
    (cpp,) = in_languages(problem(translations={"de": "Gib es aus.", "ja": "出力せよ。"}), ["cpp"])
    assert cpp.translations == {"de": "Gib es aus.\n\nSchreibe das Programm in C++.",
                                "ja": "出力せよ。\n\nWrite the program in C++."}


@pytest.mark.parametrize("only", [
    problem(language="cpp"), problem(check="def check(candidate): ...", entry_point="f", tests=[]),
    Problem(id="m", kind="maths", prompt="1+1?", answer="2")])
def test_a_problem_that_allows_one_language_or_none_stays_as_it_is(only: Problem) -> None:
    assert in_languages(only, ["python", "cpp"]) == [only]
