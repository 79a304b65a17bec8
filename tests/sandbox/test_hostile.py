"""Each hostile program gets its verdict, leaves nothing, and the next honest program passes (sandbox rules 1 to 5)."""

import pytest

from magistral_api.problems import Problem
from magistral_workloads.sandbox.algebra import Algebra
from tests.sandbox import hostile
from tests.sandbox.conftest import Judged

PYTHON = {name: source for group in (hostile.RESOURCES, hostile.CLOCK, hostile.VERDICT, hostile.FILES, hostile.NETWORK,
                                     hostile.KERNEL) for name, source in group.items()}
ADD = Problem(
    id="add", kind="code", prompt="Add.", entry_point="add", prefix="def add(a, b):\n    \"\"\"Add.\"\"\"\n",
    check="def check(candidate):\n    for a in range(5):\n        expected = a + 3\n        assert candidate(a, 3) == expected\n")


@pytest.mark.parametrize("source", PYTHON.values(), ids=PYTHON.keys())
async def test_a_hostile_program_fails_and_leaves_nothing(judged: Judged, source: str) -> None:
    outcome, _ = await judged.verdict("python", source)
    assert outcome == "fail"


@pytest.mark.parametrize("source", hostile.CPP.values(), ids=hostile.CPP.keys())
async def test_a_hostile_cpp_program_fails_and_leaves_nothing(judged: Judged, source: str) -> None:
    outcome, _ = await judged.verdict("cpp", source)
    assert outcome == "fail"


@pytest.mark.parametrize("source", hostile.CHECKED.values(), ids=hostile.CHECKED.keys())
async def test_a_hostile_function_does_not_convince_its_checker(judged: Judged, source: str) -> None:
    outcome, _ = await judged.verdict("python", source, ADD)
    assert outcome == "fail"


async def test_an_honest_function_convinces_its_checker(judged: Judged) -> None:
    assert await judged.verdict("python", "def add(a, b): print('noise'); return a + b", ADD) == ("pass", "")


@pytest.mark.parametrize("answer", hostile.MATHS.values(), ids=hostile.MATHS.keys())
async def test_a_hostile_answer_is_not_five_and_the_next_comparison_works(answer: str) -> None:
    async with Algebra(1) as algebra:
        assert not await algebra.same("5", answer)
        assert await algebra.same("5", r"\frac{10}{2}")
