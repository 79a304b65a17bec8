"""Sets that are graded by running code: LiveCodeBench, HumanEval, code of OpenThoughts and of OpenR1."""

import json
from typing import Any

import pytest

from magistral_api.problems import CodeTest, DataFormat, Problem
from magistral_workloads.datasets import checks, livecodebench
from magistral_workloads.datasets.checks import Call, checked, fitting
from magistral_workloads.rewards.code import TESTS_DRAWN
from tests.unit.datasets.published import FUNCTION_ROWS, ROWS, STDIN_TESTS, convert, made, packed, reason

BOTH = [CodeTest(stdin="1 2\n", stdout="3\n"), CodeTest(stdin="4 5\n", stdout="9\n")]
FUNCTIONS = list(FUNCTION_ROWS.items())


def openthoughts(**cases: Any) -> dict[str, Any]:
    return {"domain": "code", "ground_truth_solution": None, "test_cases": json.dumps(cases)}


def verdict(problem: Problem, source: str) -> bool:
    """Whether the check passes, in this process: the box itself is tests/sandbox's."""
    module: dict[str, Any] = {}
    assert problem.check and problem.entry_point and problem.prefix
    exec(problem.prefix + source, module)
    checker: dict[str, Any] = {}
    exec(problem.check, checker)
    try:
        checker["check"](module[problem.entry_point])
    except AssertionError:
        return False
    return True


def test_public_and_private_tests_of_livecodebench_are_read() -> None:
    problem = made("livecodebench")
    assert problem.tests == BOTH
    assert (problem.language, problem.id) == ("python", "livecodebench/abc001_a")
    assert problem.prompt.startswith("Add two numbers.")


def test_private_tests_that_are_plain_json_are_read_too() -> None:
    assert made("livecodebench", private_test_cases=json.dumps(STDIN_TESTS[1:])).tests == BOTH


@pytest.mark.parametrize("changed", [
    {"public_test_cases": "[]", "private_test_cases": "[]"},
    {"public_test_cases": json.dumps([{"input": "no json", "output": "1", "testtype": "functional"}]),
     "private_test_cases": "[]", "metadata": json.dumps({"func_name": "f"})},
    {"public_test_cases": json.dumps([{"input": "1", "output": "1", "testtype": "functional"}]), "private_test_cases": "[]"},
], ids=["no test", "arguments that are no JSON", "no name of a function"])
def test_a_livecodebench_row_that_cannot_be_run_is_left_out(changed: dict[str, str]) -> None:
    assert reason("livecodebench", **changed) == "it has no test that we can run"


def test_private_tests_beyond_what_is_unpacked_leave_the_row_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magistral_workloads.datasets.pickled.MAX_BYTES", 1000)
    tests = packed(json.dumps([STDIN_TESTS[0] | {"input": "1" * 1000}]))
    assert reason("livecodebench", private_test_cases=tests) == livecodebench.TOO_LARGE


@pytest.mark.parametrize(("name", "row"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
@pytest.mark.parametrize(("source", "right"), [
    ("class Solution:\n    def check(self, a: List[int], k):\n        return [x + k for x in a]\n", True),
    ("def check(a, k):\n    return tuple(x + k for x in a)\n", True),
    ("class Solution:\n    def check(self, a, k):\n        return a\n", False),
    ("def check(a, k):\n    return 4\n", False),
], ids=["method", "function with a tuple", "wrong method", "wrong function"])
def test_a_function_is_checked_by_its_results(name: DataFormat, row: dict[str, Any], source: str, right: bool) -> None:
    problem = convert(name, row)
    assert isinstance(problem, Problem)
    assert (problem.kind, problem.language, problem.tests) == ("code", "python", [])
    assert verdict(problem, source) is right


@pytest.mark.parametrize(("name", "row"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
def test_the_starter_code_is_part_of_what_is_asked(name: DataFormat, row: dict[str, Any]) -> None:
    problem = convert(name, row)
    assert isinstance(problem, Problem)
    assert row["starter_code"].rstrip() in problem.prompt


def test_a_result_of_openthoughts_that_stands_in_a_list_of_its_own_may_be_given_without_it() -> None:
    problem = made("openthoughts", **openthoughts(fn_name="f", inputs=[[1]], outputs=[[2]]))
    assert [verdict(problem, f"def f(n):\n    return {result}\n") for result in ("2", "[2]", "3")] == [True, True, False]
    assert "function f" in problem.prompt


def test_keys_of_a_result_are_compared_as_json_has_them() -> None:
    problem = made("openthoughts", **openthoughts(fn_name="f", inputs=[[1]], outputs=[{"1": 2}]))
    assert verdict(problem, "def f(n):\n    return {1: 2}\n")


def test_programs_of_openthoughts_may_have_their_tests_in_lines() -> None:
    problem = made("openthoughts", **openthoughts(inputs=["1 2\n", ["4", "5"], 6], outputs=["3\n", ["9"], "6"]))
    assert problem.tests == [CodeTest(stdin="1 2\n", stdout="3\n"), CodeTest(stdin="4\n5", stdout="9")]


@pytest.mark.parametrize("cases", [
    {"inputs": [], "outputs": []}, {"inputs": ["1"], "outputs": []}, {"fn_name": "not a name", "inputs": [[1]], "outputs": [1]},
    {"fn_name": "f", "inputs": [[{"1": 2}]], "outputs": [1]},
], ids=["none", "of unlike number", "of no function", "with keys that JSON changed"])
def test_a_row_of_openthoughts_without_tests_that_run_is_left_out(cases: dict[str, Any]) -> None:
    assert reason("openthoughts", **openthoughts(**cases)) == "it has no test that we can run"
    assert reason("openthoughts", domain="code") == "it has no test that we can run"


def test_the_same_statement_with_other_starter_code_is_another_problem() -> None:
    cases = openthoughts(fn_name="f", inputs=[[1]], outputs=[2])
    assert made("openthoughts", starter_code="def f(n):", **cases).id != made("openthoughts", **cases).id


def test_a_statement_of_openr1_has_its_parts_under_headings_and_leaves_missing_ones_out() -> None:
    prompt = made("openr1-code").prompt
    for part in ("# Sum", "Add two numbers.", "## Input\n\nTwo numbers.", "## Output\n\nTheir sum.",
                 "Input\n```\n1 2\n```\nOutput\n```\n3\n```", "## Note\n\nMind the sign.", "Python or C++"):
        assert part in prompt
    assert "Note" not in made("openr1-code", note=None).prompt
    assert made("openr1-code", title=None).prompt.startswith("# 1/A")
    assert made("openr1-code").tests == BOTH
    assert made("openr1-code").language is None


@pytest.mark.parametrize(("changed", "why"), [
    ({"description": None}, "statement"), ({"interaction_format": "Ask me."}, "interactive"), ({"input_mode": "file"}, "files"),
    ({"generated_checker": "print(1)"}, "checker"), ({"official_tests_complete": False}, "tests are missing"),
    ({"executable": False}, "no solution"), ({"official_tests": []}, "no official test"),
    ({"official_tests": None}, "no official test"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else None)
def test_a_problem_of_openr1_that_our_grader_cannot_verify_is_left_out(changed: dict[str, Any], why: str) -> None:
    assert why in reason("openr1-code", **changed)


def test_humaneval_keeps_its_own_check() -> None:
    problem = made("humaneval")
    assert (problem.id, problem.entry_point, problem.check, problem.prefix) == (
        "HumanEval/900", "one", ROWS["humaneval"]["test"], ROWS["humaneval"]["prompt"])


def test_tests_beyond_the_size_of_a_problem_are_drawn_by_the_seed_and_keep_their_order(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_TESTS_SIZE", 100)
    tests = [CodeTest(stdin=f"{number:02}" * 10, stdout="") for number in range(20)]
    tests.insert(3, CodeTest(stdin="x" * 101, stdout=""))
    kept = fitting(tests, "one")
    assert len(kept) == 5
    assert [test for test in tests if test in kept] == kept
    assert fitting(tests, "one") == kept
    assert fitting(tests, "two") != kept
    assert fitting(tests[:3], "one") == tests[:3]


def test_a_check_has_no_more_calls_than_a_program_has_tests() -> None:
    found = checked("f", [Call([number], [number]) for number in range(100)], "one")
    assert found is not None
    asked: list[int] = []
    module: dict[str, Any] = {}
    exec(found.check, module)
    module["check"](lambda number: asked.append(number) or number)
    assert len(set(asked)) == len(asked) == TESTS_DRAWN


def test_a_call_that_would_not_pass_between_the_boxes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_CALLS_SIZE", 100)
    found = checked("f", [Call([["x"] * 50], [1]), Call([7], [1])], "one")
    assert found is not None
    assert "[[7], [1]]" in found.check
    assert "x" not in found.check.split("loads(")[1].split("\n")[0]
    assert checked("f", [Call([["x"] * 50], [1])], "one") is None


def test_a_name_that_is_no_name_never_gets_into_a_program() -> None:
    assert [checked(name, [Call([1], [1])], "one") for name in ("", "f()", "class", "f\nimport os")] == [None] * 4
