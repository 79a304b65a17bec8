"""A run of the real conductor loop with simulated generators, trainers and verifiers, in simulated time.

Real: admission, fleet, groups, batches, shelf. Simulated: how long sampling, grading, training and updates take. Prints
one line of JSON: `python -m dev.bench.simulation.conductor --generators 1000`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar, cast

import aiohttp
import numpy as np

from dev.bench.simulation import virtual_time
from magistral_api.base import ApiModel
from magistral_api.problems import Problem, RewardParts, RolloutRecord
from magistral_api.run import RL
from magistral_workloads.conductor.batches import Batch, Forming
from magistral_workloads.conductor.completion import Completion
from magistral_workloads.conductor.fleet import Fleet
from magistral_workloads.conductor.generator import Generator
from magistral_workloads.conductor.ledger import Ledger, StepSummary, summarise
from magistral_workloads.conductor.order import PromptOrder
from magistral_workloads.conductor.rollouts import InFlight, Rollouts, most_in_flight, most_waiting
from magistral_workloads.conductor.sampler import Sampler
from magistral_workloads.conductor.shelf import Shelf
from magistral_workloads.conductor.tokens import Tokens
from magistral_workloads.conductor.verifier import Verifier
from magistral_workloads.contracts import (
    GenerateChunk,
    GenerateRequest,
    GeneratorStatus,
    VerifyRequest,
    VerifyResponse,
    WeightsRequest,
    WeightsResponse,
)
from magistral_workloads.transport.rollouts.batch import mean_version

M = TypeVar("M", bound=ApiModel)
PIECE_TOKENS = 512
DISCARD = 4
"""Versions after which other systems throw a completion away."""
SPREAD = 5
"""The longest completions are up to five times the shortest (section 4 of the paper)."""


@dataclass(frozen=True)
class Plan:
    """`single`: tokens a second of a request that has a generator for itself; `half`: requests at which each is half as fast.

    `trainer_speed`: trainers' tokens a second ÷ generators'. `verify_s`, `update_s`: a verdict, a fetched and loaded version.
    """

    generators: int
    steps: int
    rl: RL
    seed: int = 0
    single: float = 60.0
    half: float = 128.0
    trainer_speed: float = 1.0
    verify_s: float = 2.0
    update_s: float = 10.0

    @property
    def longest(self) -> int:
        return self.rl.max_unpenalized_tokens

    @property
    def generated_per_s(self) -> float:
        """Tokens a second of all generators when as much is in flight as may be."""
        requests = most_in_flight(self.rl)
        return requests * self.single / (1 + requests / self.generators / self.half)


@dataclass
class Outcome:
    """Shares are of the time from the third step on, when the pipeline is full. `_s` simulated seconds."""

    generators: int
    steps: int = 0
    step_s: float = 0
    trainer_idle: float = 0
    generator_idle: float = 0
    staleness_mean: float = 0
    staleness_max: float = 0
    length_ratio: float = 0
    """Mean length trained on ÷ mean length sampled."""
    length_ratio_discarding: float = 0
    """The same, were completions thrown away that begin DISCARD versions or more before the step that trains on them."""
    discarded: float = 0
    """Share of the completions that this would throw away."""
    batches_waiting_max: int = 0
    cpu_s_per_step: float = 0
    memory_mb: float = 0


@dataclass
class Mean:
    """Of what was added."""

    total: float = 0
    count: int = 0

    def add(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else 0.0


class SimulatedGenerator(Generator):
    """Requests share its speed. Its answers have the length that the request's seed draws."""

    def __init__(self, plan: Plan, sampled: Mean, url: str, rounds: int) -> None:
        super().__init__(cast(aiohttp.ClientSession, None), url, rounds)
        self._plan, self._sampled, self._version = plan, sampled, 0

    async def _sample(self, request: GenerateRequest, made: Completion) -> None:
        draw = np.random.default_rng(request.seed)
        length = int(self._plan.longest * SPREAD ** (draw.random() - 1))
        self._sampled.add(length)
        spans: list[tuple[int, int]] = []
        while length:
            tokens = min(PIECE_TOKENS, length)
            await asyncio.sleep(tokens * (1 + self.running / self._plan.half) / self._plan.single)
            length -= tokens
            spans.append((self._version, tokens))
            made.add(GenerateChunk.model_construct(
                tokens=draw.integers(1 << 17, size=tokens).tolist(), logprobs=draw.random(tokens).tolist(),
                versions=spans[-1:] if length else spans, finish_reason=None if length else "stop"))

    async def _call(self, method: str, path: str, body: ApiModel | None, answer: type[M], seconds: float) -> M:
        if isinstance(body, WeightsRequest):
            await asyncio.sleep(self._plan.update_s)
            self._version = body.version
            return cast(M, WeightsResponse(version=body.version, fetch_seconds=0, pause_seconds=0, running=self.running,
                                           aborted=0))
        return cast(M, GeneratorStatus(pod=self.url, version=self._version, running=self.running, updates=0, aborted=0))


@dataclass
class _Verifier:
    seconds: float

    async def verify(self, request: VerifyRequest) -> VerifyResponse:
        await asyncio.sleep(self.seconds)
        passed = random.Random(f"{request.draw} {request.completion_tokens}").random() < 0.5
        return VerifyResponse(outcome="pass" if passed else "fail",
                              reward=RewardParts(format=0.1, correctness=0.9 if passed else 0.0))


class _Tokens:
    stop: tuple[int, ...] = ()

    def prompt(self, problem: Problem) -> list[int]:
        return [1] * 100

    def text(self, tokens: Sequence[int]) -> str:
        return ""


class _Ledger:
    """Keeps nothing: what it costs to write is the store's, not the loop's."""

    def write(self, batch: Batch) -> StepSummary:
        return summarise(batch)

    def read(self, step: int) -> list[RolloutRecord]:
        raise AssertionError(f"batch {step} was read again: nothing restarts here")


@dataclass
class Simulation:
    """One run. `outcome` is complete when `run` has returned."""

    plan: Plan
    outcome: Outcome
    _marks: list[tuple[float, float, float]] = field(default_factory=list)
    """At the end of each step: time, seconds that trainers waited, generating requests × seconds."""
    _sampled: Mean = field(default_factory=Mean)
    _trained: Mean = field(default_factory=Mean)
    _fresh: Mean = field(default_factory=Mean)
    _ages: Mean = field(default_factory=Mean)
    _generating: float = 0.0

    async def run(self) -> Outcome:
        plan, rl = self.plan, self.plan.rl
        problems = [Problem(id=f"p{number}", kind="maths", prompt="?", answer="1") for number in range(4096)]
        shelf = Shelf(cast(Ledger, _Ledger()), [], 0)
        in_flight = InFlight()

        async def resolve() -> set[str]:
            return {f"http://generator-{number}" for number in range(plan.generators)}

        async with asyncio.TaskGroup() as tasks:
            fleet = Fleet(lambda url, rounds: SimulatedGenerator(plan, self._sampled, url, rounds), resolve, tasks)
            fleet.begin()
            await fleet.start(WeightsRequest(version=0, uri="s3://b/0"))
            sampler = Sampler(fleet, cast(Verifier, _Verifier(plan.verify_s)), cast(Tokens, _Tokens()), plan.seed,
                              in_flight.done)
            rollouts = Rollouts(rl=rl, problems=problems, order=PromptOrder(len(problems), plan.seed), sampler=sampler,
                                in_flight=in_flight, shelf=shelf, forming=Forming(rl, rl.trainers, plan.seed, 1))
            rolling = tasks.create_task(rollouts.run())
            watching = tasks.create_task(self._watch(fleet))
            await self._train(shelf, fleet)
            await rolling
            watching.cancel()
            fleet.end()
        self._sum_up()
        return self.outcome

    async def _train(self, shelf: Shelf, fleet: Fleet) -> None:
        """As the trainers' loop: wait for a batch, step, publish; generators update while the next step begins."""
        clock, speed = asyncio.get_running_loop().time, self.plan.trainer_speed * self.plan.generated_per_s
        waited, updates = 0.0, set()
        for step in range(1, self.plan.steps + 1):
            asked, records = clock(), None
            while records is None:
                records = await shelf.get(step, 3600.0)
            waited += clock() - asked
            self.outcome.batches_waiting_max = max(self.outcome.batches_waiting_max, shelf.waiting)
            self._count(step, records)
            await asyncio.sleep(sum(len(record.completion_tokens) for record in records) / speed)
            await shelf.trained_to(step)
            updates.add(asyncio.create_task(fleet.give(WeightsRequest(version=step, uri=f"s3://b/{step}"))))
            self._marks.append((clock(), waited, self._generating))

    async def _watch(self, fleet: Fleet) -> None:
        """Integrate the number of requests that are being sampled."""
        while True:
            await asyncio.sleep(1.0)
            self._generating += sum(member.running for member in fleet.members)

    def _count(self, step: int, records: list[RolloutRecord]) -> None:
        for record in records:
            length, oldest = len(record.completion_tokens), step - 1 - record.versions[0][0]
            self.outcome.staleness_max = max(self.outcome.staleness_max, oldest)
            self._ages.add(step - 1 - mean_version(record))
            self._trained.add(length)
            if oldest < DISCARD:
                self._fresh.add(length)

    def _sum_up(self) -> None:
        found, rl = self.outcome, self.plan.rl
        # Before the pipeline is full, and once the last groups have begun, some are idle for want of work.
        last = len(self._marks) - math.ceil(rl.async_ratio) - most_waiting(rl) - 1
        (began, waited, generated), (ended, all_waited, all_generated) = self._marks[2], self._marks[last]
        span, steps = ended - began, last - 2
        found.steps, found.step_s = len(self._marks), span / steps
        found.trainer_idle = (all_waited - waited) / span
        found.generator_idle = 1 - (all_generated - generated) / span / most_in_flight(rl)
        found.staleness_mean = self._ages.value
        found.length_ratio = self._trained.value / self._sampled.value
        found.length_ratio_discarding = self._fresh.value / self._sampled.value
        found.discarded = 1 - self._fresh.count / self._trained.count


def simulate(plan: Plan) -> Outcome:
    """Run it; `cpu_s_per_step` and `memory_mb` are this process's real ones."""
    began, outcome = time.process_time(), Outcome(plan.generators)
    virtual_time.run(Simulation(plan, outcome).run())
    outcome.cpu_s_per_step = (time.process_time() - began) / plan.steps
    outcome.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.simulation.conductor", description=__doc__)
    parser.add_argument("--generators", type=int, default=100)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2048, help="sequences a batch (section 5.3)")
    parser.add_argument("--tokens", type=int, default=32768, help="longest completion (section 5.3)")
    parser.add_argument("--trainer-speed", type=float, default=1.0, help="trainers' tokens a second ÷ generators'")
    choice = parser.parse_args()
    rl = RL.model_validate({"prompts": [{"uri": "s3://bucket/p.jsonl"}], "steps": choice.steps, "batchSize": choice.batch,
                            "groupSize": 16, "maxUnpenalizedTokens": choice.tokens, "cacheTokens": 4096,
                            "microbatchTokens": 40960, "generators": min(choice.generators, 4096)})
    print(json.dumps(asdict(simulate(Plan(choice.generators, choice.steps, rl, trainer_speed=choice.trainer_speed)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
