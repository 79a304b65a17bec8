"""The solutions of code problems on their tests, run in the verifiers' sandbox (section 4.2 of the paper)."""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from magistral_api.base import ApiModel
from magistral_api.names import tested_key
from magistral_api.problems import Problem, Solution
from magistral_api.run import CodeTests
from magistral_workloads.algorithm.code_tests import Cleaned, Output, clean, has_tests, short_of
from magistral_workloads.conductor.verifier import UngradableError, Verifier
from magistral_workloads.contracts import RUNS_AT_ONCE, ProgramRequest
from magistral_workloads.datasets.reader import parsed
from magistral_workloads.storage import ObjectStore

REQUESTS_AT_ONCE: Final = 256


@dataclass(frozen=True)
class Judge:
    """Judges tests by running solutions in the verifiers' sandbox."""

    store: ObjectStore
    run_uid: str
    grader: Verifier
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(REQUESTS_AT_ONCE))

    async def judged(self, problems: list[Problem], rules: CodeTests) -> list[Cleaned]:
        """Each problem with its tests judged. What an earlier attempt made of the same problems is taken from the store."""
        key = tested_key(self.run_uid, _digest(problems, rules))
        if await asyncio.to_thread(self.store.head, key) is not None:
            return await asyncio.to_thread(lambda: list(parsed(self.store, key, Cleaned, "Tests")))
        async with asyncio.TaskGroup() as tasks:
            judging = [tasks.create_task(self._judge(problem, rules)) for problem in problems]
        found = [task.result() for task in judging]
        await asyncio.to_thread(self.store.put, key, b"".join(map(line_of, found)))
        return found

    async def _judge(self, problem: Problem, rules: CodeTests) -> Cleaned:
        if not has_tests(problem):
            return untouched(problem)
        if short := short_of(problem, rules):
            return Cleaned(short_of=short)
        # Solutions that are right print the same: kept once.
        known: dict[str, str] = {}
        async with asyncio.TaskGroup() as tasks:
            rows = [tasks.create_task(self._outputs(problem, solution, known)) for solution in problem.solutions]
        return clean(problem, [row.result() for row in rows], rules)

    async def _outputs(self, problem: Problem, solution: Solution, known: dict[str, str]) -> list[Output]:
        outputs: list[Output] = []
        for first in range(0, len(problem.tests), RUNS_AT_ONCE):
            request = ProgramRequest(language=solution.language, source=solution.source,
                                 inputs=[test.stdin for test in problem.tests[first:first + RUNS_AT_ONCE]])
            async with self.places:
                try:
                    given = await self.grader.run(request)
                except UngradableError as error:
                    raise UngradableError(f"problem {problem.id}: {error}") from None
            outputs += [known.setdefault(one.output, one.output) if one.outcome == "output" else None for one in given]
        return outputs


def untouched(problem: Problem) -> Cleaned:
    """As it came."""
    return Cleaned(problem=problem)


def line_of(row: ApiModel) -> bytes:
    """One line of JSONL."""
    return row.model_dump_json(by_alias=True).encode() + b"\n"


def _digest(problems: Iterable[Problem], rules: CodeTests) -> str:
    return hashlib.sha256(b"".join(map(line_of, [rules, *problems]))).hexdigest()
