"""Code answers (section 3.2): the first block of the answer part must pass all of 20 tests drawn at random.

The candidate gets standard input and its output is compared here, in another process. For a HumanEval
problem the candidate is a server of calls in one box and `check` runs in another (`sandbox.dialogue`).
"""

import random
from collections.abc import AsyncGenerator
from typing import Literal

from magistral_api.problems import CodeTest, Language, Problem
from magistral_workloads.contracts import ProgramOutput, ProgramRequest
from magistral_workloads.rewards.format import Block
from magistral_workloads.rewards.output import same
from magistral_workloads.sandbox.box import Box, CompileError
from magistral_workloads.sandbox.limits import BoxError, Execution

TESTS_DRAWN = 20
_LANGUAGES: dict[str, Language] = {
    "python": "python", "python3": "python", "py": "python", "cpp": "cpp", "c++": "cpp", "cc": "cpp", "cxx": "cpp"}


async def grade(block: Block, problem: Problem, draw: int, box: Box) -> tuple[Literal["pass", "fail"], str]:
    """The verdict and a short reason. Raises BoxError, which is no verdict."""
    language = _LANGUAGES.get(block.language)
    if language is None or (problem.language or language) != language:
        return "fail", f"the block is {block.language[:20]!r}; expected {problem.language or 'python or cpp'}"
    if problem.check is not None:
        return await _check(block.source, problem, box)
    if not problem.tests:
        raise ValueError(f"problem {problem.id}: has neither tests nor check; add one of them to the data set")
    try:
        async with box.program(language, block.source) as program:
            for index, test in enumerate(drawn(problem, draw)):
                made = _output(await program.run(test.stdin.encode()))
                if made.outcome == "failure":
                    return "fail", f"test {index}: {made.detail}"
                if not same(test.stdout, made.output):
                    return "fail", f"test {index}: another output"
    except CompileError as error:
        return "fail", str(error)
    return "pass", ""


async def outputs(request: ProgramRequest, box: Box) -> AsyncGenerator[ProgramOutput, None]:
    """What a program makes of each input, under the limits of grading. Ends early with an infrastructure error."""
    try:
        async with box.program(request.language, request.source) as program:
            for text in request.inputs:
                yield _output(await program.run(text.encode()))
    except CompileError as error:
        for _ in request.inputs:
            yield ProgramOutput(outcome="failure", detail=str(error))
    except BoxError as error:
        yield ProgramOutput(outcome="infrastructure_error", detail=str(error))


def _output(execution: Execution) -> ProgramOutput:
    if not execution.ok:
        return ProgramOutput(outcome="failure", detail=execution.describe())
    try:
        return ProgramOutput(outcome="output", output=execution.output.decode())
    except UnicodeDecodeError:
        return ProgramOutput(outcome="failure", detail="the output is no UTF-8")


async def _check(source: str, problem: Problem, box: Box) -> tuple[Literal["pass", "fail"], str]:
    if problem.check is None or problem.entry_point is None:
        raise ValueError(f"problem {problem.id}: check needs entryPoint; add it to the data set")
    prefix = problem.prefix or ""
    checker = f"{_closed(prefix)}\n{problem.check}"
    execution = await box.dialogue(candidate(source, problem.entry_point, prefix), checker, problem.entry_point)
    return ("pass", "") if execution.ok else ("fail", f"check: {execution.describe()}")


def candidate(source: str, entry_point: str, prefix: str) -> str:
    """The whole program of a HumanEval answer: a function of its own after the prefix, or the prefix's
    continued.
    """
    if any(line.startswith(f"def {entry_point}(") for line in source.splitlines()):
        return f"{_closed(prefix)}\n{source}"
    return prefix + source


def _closed(prefix: str) -> str:
    """The prefix as a program: its last function gets a body, so that helpers and imports above can be
    used.
    """
    return f"{prefix.rstrip()}\n    pass\n" if prefix else ""


def drawn(problem: Problem, draw: int) -> list[CodeTest]:
    """The tests of this draw: the same for every completion of a group."""
    chosen = random.Random(f"{problem.id}:{draw}")
    return chosen.sample(problem.tests, min(TESTS_DRAWN, len(problem.tests)))
