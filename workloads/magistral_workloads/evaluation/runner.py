"""Models on suites: the generators are given each model in turn, every answer goes to the verifiers.

Every answer is kept whole, in parts that are written as answers come (evaluation.answers): a restarted Job goes on where it
was, and an Evaluate run is a generation that curation reads (decision 18).
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from magistral_api.config import SCRATCH_PATH, TOKEN_PATH, ModelAt, StageConfig
from magistral_api.names import graded_prefix
from magistral_api.problems import Problem
from magistral_api.status import SuiteResult
from magistral_api.suites import Suite
from magistral_workloads.conductor.fleet import Fleet, fleet, headless
from magistral_workloads.conductor.order import sequence_seed
from magistral_workloads.conductor.sampler import cache_salt
from magistral_workloads.conductor.tokens import Tokens
from magistral_workloads.conductor.verifier import Verifier, verifier
from magistral_workloads.contracts import GenerateRequest, RewardConfig, VerifyRequest, WeightsRequest
from magistral_workloads.datasets.reader import Problems
from magistral_workloads.evaluation import statistics
from magistral_workloads.evaluation.answers import About, AnswerWriter, GradedAnswer
from magistral_workloads.progress import Reporter, UserFault
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore

IN_FLIGHT: Final = 64
"""Answers asked for at the same time, each generator's share being what vLLM batches."""
FIRST_VERSION: Final = 1_000_000_000
"""Above any step of RL: a model under evaluation is never taken for a policy version that a generator holds."""
ATTEMPTS: Final = 5

log = logging.getLogger("evaluation")


Place = tuple[str, int]
"""Of an answer in its suite: problem id and run."""


@dataclass(frozen=True)
class Graded:
    """One model on one suite, without the texts. `answers`: in the order of the suite, then of the runs."""

    model: str
    suite: str
    answers: dict[Place, statistics.Answer]

    def by_problem(self) -> list[list[statistics.Answer]]:
        """Grouped, in the order of the suite."""
        groups: dict[str, list[statistics.Answer]] = {}
        for (problem, _), answer in self.answers.items():
            groups.setdefault(problem, []).append(answer)
        return list(groups.values())

    def result(self) -> SuiteResult:
        """The row for status and report."""
        answers = self.by_problem()
        low, high = statistics.interval(answers)
        k = max(len(problem) for problem in answers)
        return SuiteResult(
            name=f"{self.model}/{self.suite}", model=self.model, suite=self.suite, pass_at_1=statistics.pass_at_1(answers),
            low=low, high=high, maj_at_k=statistics.maj_at_k(answers) if k > 1 else None, k=k, problems=len(answers))


@dataclass(frozen=True)
class Runner:
    """Everything that an evaluation needs. Use `runner(…)`."""

    config: StageConfig
    reporter: Reporter
    store: ObjectStore
    fleet: Fleet
    verifier: Verifier
    tokens: Tokens

    async def evaluate(self, models: Mapping[str, ModelAt], suites: Sequence[Suite]) -> list[Graded]:
        """Every model on every suite, models in order: each is given to the generators once."""
        problems = {suite.name: distinct(suite, await asyncio.to_thread(read_suite, self.store, suite)) for suite in suites}
        total = len(models) * sum(len(problems[suite.name]) * suite.runs for suite in suites)
        self.reporter.update(step=0, total_steps=total)
        done: list[Graded] = []
        for number, (name, model) in enumerate(models.items()):
            for suite in suites:
                before = sum(len(graded.answers) for graded in done)
                done.append(await self._run(name, model, version_of(model, number), suite, problems[suite.name], before))
        return done

    async def _give(self, model: WeightsRequest) -> None:
        try:
            held = self.fleet.policy
        except RuntimeError:
            await self.fleet.start(model)
            return
        if held != model:
            await self.fleet.give(model)

    async def _run(self, name: str, model: ModelAt, version: int, suite: Suite, problems: Sequence[Problem],
                   before: int) -> Graded:
        """Ask what was not answered yet. `before`: answers that are there of other models and suites."""
        writer = AnswerWriter(self.store, f"{graded_prefix(self.config.run_uid, self.config.stage)}/{name}/{suite.name}")
        found = await asyncio.to_thread(
            lambda: {_place(answer): _grade(answer) for answer in writer.resume(About.of(model, suite, problems))})
        places = [(number, problem, run) for number, problem in enumerate(problems) for run in range(suite.runs)]
        missing = [place for place in places if (place[1].id, place[2]) not in found]
        waiting = iter(missing)

        async def ask() -> None:
            for number, problem, run in waiting:
                answer = await self._answer(name, suite, number, problem, run)
                await asyncio.to_thread(writer.add, answer)
                found[_place(answer)] = _grade(answer)
                self.reporter.update(step=before + len(found), message=f"{name} on {suite.name}")

        if missing:
            await self._give(WeightsRequest(version=version, uri=model.uri, digest=model.digest))
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(min(IN_FLIGHT, len(missing))):
                        tasks.create_task(ask())
            finally:
                await asyncio.to_thread(writer.flush)
        self.reporter.update(step=before + len(found))
        return Graded(name, suite.name, {(problem.id, run): found[problem.id, run] for _, problem, run in places})

    async def _answer(self, name: str, suite: Suite, number: int, problem: Problem, run: int) -> GradedAnswer:
        """One answer with a verdict; without one it is asked for again. Raises RuntimeError when that never helps."""
        for attempt in range(ATTEMPTS):
            made = await self.fleet.generate(GenerateRequest(
                request_id=f"{suite.name}.{number}.{run}.{attempt}", prompt_tokens=self.tokens.prompt(problem),
                max_tokens=suite.max_tokens, temperature=suite.temperature, top_p=suite.top_p,
                seed=sequence_seed(self.config.spec.seed, number, run, attempt), cache_salt=cache_salt(self.fleet.policy),
                stop_token_ids=self.tokens.stop))
            text = self.tokens.text(made.tokens)
            verdict = await self.verifier.verify(VerifyRequest(
                problem=problem, completion=text, completion_tokens=len(made.tokens), draw=number,
                reward=RewardConfig(max_unpenalized_tokens=suite.max_tokens, cache_tokens=1, language_consistency=False,
                                    require_format=False)))
            if verdict.outcome != "infrastructure_error":
                return GradedAnswer(
                    model=name, suite=suite.name, problem_id=problem.id, kind=problem.kind, run=run,
                    passed=verdict.outcome == "pass", answer=verdict.answer, tokens=len(made.tokens),
                    truncated=made.finish_reason == "length", prompt=problem.prompt, completion=text)
        raise RuntimeError(f"{suite.name} {problem.id}: no verdict for {ATTEMPTS} answers; last: {verdict.detail}")


def distinct(suite: Suite, problems: list[Problem]) -> list[Problem]:
    """The problems. Raises UserFault (SuiteInvalid) when two have one id, as their answers could not be told apart."""
    twice = [name for name, times in Counter(problem.id for problem in problems).items() if times > 1]
    if twice:
        raise UserFault("SuiteInvalid", f"suite {suite.name}: found id {twice[0]!r} twice in {suite.uri}; expected each id "
                        "once. Rename one")
    return problems


def _place(answer: GradedAnswer) -> Place:
    return answer.problem_id, answer.run


def _grade(answer: GradedAnswer) -> statistics.Answer:
    return statistics.Answer(answer.passed, answer.answer)


def read_suite(store: ObjectStore, suite: Suite) -> list[Problem]:
    """The suite's problems, up to its limit. Raises UserFault (SuiteNotFound, SuiteInvalid, SuiteEmpty)."""
    found = Problems(store, suite.uri, suite.format, "Suite")
    problems = list(islice(found, suite.limit))
    if not problems:
        raise UserFault("SuiteEmpty", f"suite {suite.name}: found no problem in {suite.uri}, {found.describe()}; expected "
                        "at least one. Name another file, or the format that it has")
    return problems


def version_of(model: ModelAt, number: int) -> int:
    """A version number for a model under evaluation: the same model has the same one, whoever evaluates it."""
    text = f"{model.digest or model.uri}.{number}"
    return FIRST_VERSION + int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big")


@asynccontextmanager
async def runner(config: StageConfig, reporter: Reporter, scratch: Path = SCRATCH_PATH) -> AsyncIterator[Runner]:
    """A runner with its generators and verifiers, until the block is left."""
    store = ObjectStore.of(config)
    base = ModelAt(uri=config.spec.base_model.uri, digest=config.spec.base_model.digest)
    tokens = await asyncio.to_thread(Tokens.fetch, store, base, scratch / "tokenizer")
    headers, services = bearer(TOKEN_PATH.read_text().strip()), config.services
    async with AsyncExitStack() as stack:
        generators = await stack.enter_async_context(
            fleet(headers, headless(services.generators, services.generator_port)))
        grader = await stack.enter_async_context(verifier(headers, services.verifier))
        yield Runner(config, reporter, store, generators, grader, tokens)
