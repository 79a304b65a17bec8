"""Each hostile program gets its verdict, leaves nothing, and the next honest program passes (sandbox rules 1 to 5)."""

import asyncio
from pathlib import Path

import pytest

from magistral_api.problems import CodeTest, Problem
from magistral_workloads.sandbox.algebra import Algebra
from magistral_workloads.sandbox.limits import COMPILE, Command, Job
from magistral_workloads.sandbox.reaper import descendants
from tests.sandbox import hostile
from tests.sandbox.conftest import HONEST, Judged, inhabitants

pytestmark = pytest.mark.asyncio(loop_scope="module")

PYTHON = {name: source for group in (hostile.RESOURCES, hostile.CLOCK, hostile.VERDICT, hostile.FILES, hostile.NETWORK,
                                     hostile.KERNEL) for name, source in group.items()}
ONE_SUM = Problem(id="sum", kind="code", prompt="Print the sum.", tests=[CodeTest(stdin="1 2\n", stdout="3\n")])
ADD = Problem(
    id="add", kind="code", prompt="Add.", entry_point="add", prefix="def add(a, b):\n    \"\"\"Add.\"\"\"\n",
    check="def check(candidate):\n    for a in range(5):\n        expected = a + 3\n"
          "        assert candidate(a, 3) == expected\n")


@pytest.mark.parametrize("source", PYTHON.values(), ids=PYTHON.keys())
async def test_a_hostile_program_fails_and_leaves_nothing(judged: Judged, source: str) -> None:
    outcome, _ = await judged.verdict("python", source)
    assert outcome == "fail"


async def test_a_file_with_the_expected_outputs_cannot_be_read(judged: Judged, secret: Path) -> None:
    outcome, _ = await judged.verdict("python", f"input()\nprint(open({str(secret)!r}).read())", ONE_SUM)
    assert outcome == "fail"


@pytest.mark.parametrize("source", hostile.CPP.values(), ids=hostile.CPP.keys())
async def test_a_hostile_cpp_program_fails_and_leaves_nothing(judged: Judged, source: str) -> None:
    outcome, _ = await judged.verdict("cpp", source)
    assert outcome == "fail"


@pytest.mark.parametrize("source", hostile.CHECKED.values(), ids=hostile.CHECKED.keys())
async def test_a_hostile_function_does_not_convince_its_checker(judged: Judged, source: str) -> None:
    outcome, _ = await judged.verdict("python", source, ADD)
    assert outcome == "fail"


async def test_a_daemon_that_forked_twice_is_ended_where_processes_may_be_created(judged: Judged) -> None:
    async with judged.box.program("python", hostile.DAEMON) as program:
        compiling = Command(program.command.argv, program.command.directory, "compile")
        execution = await judged.box.run(Job((compiling,), limits=COMPILE))
        assert (execution.ok, execution.output) == (True, b"started\n")
        assert inhabitants(judged.scratch) == []
    assert await judged.verdict("python", HONEST) == ("pass", "")


async def test_an_honest_function_convinces_its_checker(judged: Judged) -> None:
    assert await judged.verdict("python", "def add(a, b): print('noise'); return a + b", ADD) == ("pass", "")


async def test_no_hostile_answer_is_five_and_none_leaves_a_process() -> None:
    async with Algebra(4) as algebra:
        servers = set(descendants())
        same = await asyncio.gather(*(algebra.same("5", answer) for answer in hostile.MATHS.values()))
        assert [name for name, is_five in zip(hostile.MATHS, same, strict=True) if is_five] == []
        assert set(descendants()) == servers, "the same servers, without children"
        assert all(await asyncio.gather(*(algebra.same("5", r"\frac{10}{2}") for _ in range(4))))
