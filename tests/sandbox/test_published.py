"""Functions of published sets in the real box: their calls cross between the two boxes as the converters wrote them."""

import json
from typing import Any

import pytest

from magistral_api.problems import DataFormat, Problem
from tests.sandbox.conftest import Judged
from tests.unit.datasets.published import FUNCTION_ROWS, ROWS, convert

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHOD = "class Solution:\n    def check(self, numbers: List[int], k: int) -> Optional[List[int]]:\n        {body}\n"
ANSWERS = {
    "a right method": (METHOD.format(body="return [n + k for n in numbers]"), "pass"),
    "a right function": ("def check(numbers, k):\n    return tuple(n + k for n in numbers)\n", "pass"),
    "names that LeetCode imports": (METHOD.format(body="return [int(floor(n + k)) for n in deque(numbers)]"), "pass"),
    "a wrong method": (METHOD.format(body="return numbers"), "fail"),
    "an empty method": (METHOD.format(body="pass"), "fail"),
    "another function": ("def other(numbers, k):\n    return [n + k for n in numbers]\n", "fail"),
    "a name of ours": ("magistral_entry = lambda numbers, k: [4, 5]\n", "fail"),
    "an error": (METHOD.format(body="raise AssertionError"), "fail"),
}


@pytest.mark.parametrize("data_format", FUNCTION_ROWS)
@pytest.mark.parametrize(("source", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_a_function_is_judged_by_its_results(
        judged: Judged, data_format: DataFormat, source: str, expected: str) -> None:
    problem = convert(data_format, FUNCTION_ROWS[data_format])
    assert isinstance(problem, Problem)
    found, detail = await judged.verdict("python", source, problem)
    assert found == expected, detail


async def test_twenty_large_calls_are_within_the_limits_of_one_execution(judged: Judged) -> None:
    numbers = list(range(9_000))
    cases: dict[str, Any] = {"fn_name": "f", "inputs": [[[call, *numbers]] for call in range(20)],
                             "outputs": [[[call, *numbers]] for call in range(20)]}
    problem = convert("openthoughts", ROWS["openthoughts"] | {"domain": "code", "test_cases": json.dumps(cases)})
    assert isinstance(problem, Problem)
    assert problem.check is not None
    assert len(problem.check) > 1_500_000
    assert await judged.verdict("python", "def f(numbers):\n    return list(numbers)\n", problem) == ("pass", "")
