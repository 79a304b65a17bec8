"""Models on suites: the generators are given each model in turn, every answer goes to the verifiers.

What was graded is written to the store suite by suite, so that a restarted Job goes on where it was.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from magistral_api.base import ApiModel
from magistral_api.config import SCRATCH_PATH, TOKEN_PATH, ModelAt, StageConfig
from magistral_api.names import run_prefix
from magistral_api.problems import Problem
from magistral_api.status import SuiteResult
from magistral_api.suites import Suite
from magistral_workloads.conductor.fleet import Fleet, fleet, headless
from magistral_workloads.conductor.order import sequence_seed
from magistral_workloads.conductor.sampler import cache_salt
from magistral_workloads.conductor.tokens import Tokens
from magistral_workloads.conductor.verifier import Verifier, verifier
from magistral_workloads.contracts import GenerateRequest, RewardConfig, VerifyRequest, WeightsRequest
from magistral_workloads.evaluation import statistics
from magistral_workloads.progress import Reporter, UserFault
from magistral_workloads.recipe.curate import parsed
from magistral_workloads.routes import bearer
from magistral_workloads.storage import ObjectStore

IN_FLIGHT: Final = 64
"""Answers asked for at the same time, each generator's share being what vLLM batches."""
FIRST_VERSION: Final = 1_000_000_000
"""Above any step of RL: a model under evaluation is never taken for a policy version that a generator holds."""
ATTEMPTS: Final = 5

log = logging.getLogger("evaluation")


class GradedAnswer(ApiModel):
    """One answer, as it is kept."""

    problem_id: str
    run: int
    passed: bool
    answer: str | None
    tokens: int


class Graded(ApiModel):
    """One model on one suite, whole."""

    model: str
    suite: str
    digest: str | None
    answers: list[GradedAnswer]

    def by_problem(self) -> list[list[statistics.Answer]]:
        """Grouped, in the order of the suite."""
        groups: dict[str, list[statistics.Answer]] = {}
        for answer in self.answers:
            groups.setdefault(answer.problem_id, []).append(statistics.Answer(answer.passed, answer.answer))
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
        problems = {suite.name: await asyncio.to_thread(read_suite, self.store, suite) for suite in suites}
        total = len(models) * sum(len(problems[suite.name]) * suite.runs for suite in suites)
        self.reporter.update(step=0, total_steps=total)
        done: list[Graded] = []
        for number, (name, model) in enumerate(models.items()):
            for suite in suites:
                found = await asyncio.to_thread(self._kept, name, model, suite, len(problems[suite.name]))
                if found is None:
                    await self._give(WeightsRequest(
                        version=version_of(model, number), uri=model.uri, digest=model.digest))
                    found = await self._run(name, model, suite, problems[suite.name], sum(len(g.answers) for g in done))
                    kept = found.model_dump_json(by_alias=True).encode()
                    await asyncio.to_thread(self.store.put, self._key(name, suite), kept)
                done.append(found)
                self.reporter.update(step=sum(len(graded.answers) for graded in done))
        return done

    async def _give(self, model: WeightsRequest) -> None:
        try:
            held = self.fleet.policy
        except RuntimeError:
            await self.fleet.start(model)
            return
        if held != model:
            await self.fleet.give(model)

    async def _run(self, name: str, model: ModelAt, suite: Suite, problems: Sequence[Problem], before: int) -> Graded:
        places, graded = asyncio.Semaphore(IN_FLIGHT), 0

        async def answer(number: int, problem: Problem, run: int) -> GradedAnswer:
            nonlocal graded
            async with places:
                found = await self._answer(suite, number, problem, run)
            graded += 1
            self.reporter.update(step=before + graded, message=f"{name} on {suite.name}")
            return found

        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(answer(number, problem, run))
                       for number, problem in enumerate(problems) for run in range(suite.runs)]
        return Graded(model=name, suite=suite.name, digest=model.digest, answers=[task.result() for task in waiting])

    async def _answer(self, suite: Suite, number: int, problem: Problem, run: int) -> GradedAnswer:
        """One answer with a verdict; without one it is asked for again. Raises RuntimeError when that never helps."""
        for attempt in range(ATTEMPTS):
            made = await self.fleet.generate(GenerateRequest(
                request_id=f"{suite.name}.{number}.{run}.{attempt}", prompt_tokens=self.tokens.prompt(problem),
                max_tokens=suite.max_tokens, temperature=suite.temperature, top_p=suite.top_p,
                seed=sequence_seed(self.config.spec.seed, number, run, attempt), cache_salt=cache_salt(self.fleet.policy),
                stop_token_ids=self.tokens.stop))
            verdict = await self.verifier.verify(VerifyRequest(
                problem=problem, completion=self.tokens.text(made.tokens), completion_tokens=len(made.tokens), draw=number,
                reward=RewardConfig(max_unpenalized_tokens=suite.max_tokens, cache_tokens=1, language_consistency=False,
                                    require_format=False)))
            if verdict.outcome != "infrastructure_error":
                return GradedAnswer(problem_id=problem.id, run=run, passed=verdict.outcome == "pass", answer=verdict.answer,
                                    tokens=len(made.tokens))
        raise RuntimeError(f"{suite.name} {problem.id}: no verdict for {ATTEMPTS} answers; last: {verdict.detail}")

    def _key(self, name: str, suite: Suite) -> str:
        return f"{run_prefix(self.config.run_uid)}/{self.config.stage}/graded/{name}/{suite.name}.json"

    def _kept(self, name: str, model: ModelAt, suite: Suite, problems: int) -> Graded | None:
        """What an earlier attempt finished, when it is of the same model and size."""
        if self.store.head(self._key(name, suite)) is None:
            return None
        found = Graded.model_validate_json(self.store.get(self._key(name, suite)))
        return found if found.digest == model.digest and len(found.answers) == problems * suite.runs else None


def read_suite(store: ObjectStore, suite: Suite) -> list[Problem]:
    """The suite's problems, up to its limit. Raises UserFault (SuiteNotFound, SuiteInvalid, SuiteEmpty)."""
    at, key = store.locate(suite.uri)
    problems: list[Problem] = list(parsed(at, key, Problem, "Suite"))[:suite.limit]
    if not problems:
        raise UserFault("SuiteEmpty", f"suite {suite.name}: found no problem in {suite.uri}; expected at least one line")
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
