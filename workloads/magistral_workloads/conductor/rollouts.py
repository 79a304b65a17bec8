"""Keeps asyncRatio × batchSize completions in flight and turns complete groups into batches, one for each step."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, chain, count

from magistral_api.problems import Problem
from magistral_api.run import RL
from magistral_workloads.conductor.batches import Forming
from magistral_workloads.conductor.ledger import unused
from magistral_workloads.conductor.order import PromptOrder, asked
from magistral_workloads.conductor.sampler import Sampler
from magistral_workloads.conductor.shelf import Shelf


def most_in_flight(rl: RL) -> int:
    """Completions that are generated or graded at a time, by the settings of a step."""
    return int(rl.async_ratio * rl.batch_size)


def most_waiting(rl: RL) -> int:
    """Full batches that may wait for the trainers."""
    return max(1, rl.max_staleness)


class InFlight:
    """Completions that are being generated or graded: a limited number, and never less than one group's worth."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.running = 0
        self.tokens = 0

    async def admit(self, completions: int, limit: Callable[[], int]) -> None:
        """Return when there is room for a group. `limit` may change meanwhile."""
        while self.running and self.running + completions > limit():
            self._changed.clear()
            await self._changed.wait()
        self.running += completions

    def done(self, tokens: int) -> None:
        """One completion has its verdict."""
        self.tokens += tokens
        self.give_up(1)

    def give_up(self, completions: int) -> None:
        """Room for others."""
        self.running -= completions
        self._changed.set()


@dataclass(kw_only=True)
class Rollouts:
    """Runs groups in order of their number, batches them as they complete. Generators never wait for trainers, save
    that no group begins while `maxStaleness` full batches wait.

    `maxStaleness` 0 is synchronous: no group begins but for the step that is trained next.

    A group begins with the limits of the step whose batch is being filled, and keeps them. Where a stage of the curriculum
    begins, batches have its size at once, and completions of the stage before for as long as those are in flight.

    At the end of a run no more groups begin than the last batches take: those that would be left over are the slow ones,
    and the last batches would lean to short completions.
    """

    rl: RL
    problems: list[Problem]
    order: PromptOrder
    sampler: Sampler
    in_flight: InFlight
    shelf: Shelf
    forming: Forming
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _adding: asyncio.Lock = field(default_factory=asyncio.Lock)
    _complete: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Return when the ledger holds a batch for every step. Errors of any group end it."""
        async with asyncio.TaskGroup() as tasks:
            admitting = tasks.create_task(self._admit(tasks))
            if self.shelf.written >= self.rl.steps:
                self._complete.set()
            await self._complete.wait()
            admitting.cancel()

    async def _admit(self, tasks: asyncio.TaskGroup) -> None:
        for number in self._numbers():
            await self._room_for_a_group()
            group = tasks.create_task(self._group(number, self._now))
            self._running.add(group)
            group.add_done_callback(self._has_ended)

    def _has_ended(self, group: asyncio.Task[None]) -> None:
        self._running.discard(group)
        self._ended.set()

    @property
    def _now(self) -> RL:
        return self.rl.at(self.forming.step)

    def _wanted(self) -> bool:
        """Whether one more group would be trained on, should all that run teach something."""
        following = self.shelf.written + 1
        last = self.rl.steps if self.rl.max_staleness else min(self.rl.steps, following)
        groups = accumulate(self.rl.at(step).batch_size // self.rl.group_size for step in range(following, last + 1))
        return any(wanted - self.forming.groups > len(self._running) for wanted in groups)

    async def _room_for_a_group(self) -> None:
        limit = most_waiting(self.rl)
        while True:
            while not self._wanted():
                self._ended.clear()
                await self._ended.wait()
            await self.shelf.room(limit)
            await self.in_flight.admit(self.rl.group_size, lambda: most_in_flight(self._now))
            # A batch that is being written neither forms nor waits: let it in first, then look again.
            async with self._adding:
                if self.shelf.waiting < limit and self._wanted():
                    return
            self.in_flight.give_up(self.rl.group_size)

    def _numbers(self) -> Iterator[int]:
        gaps, beyond = unused(group for summary in self.shelf.summaries for group in summary.groups)
        return chain(gaps, count(beyond))

    async def _group(self, number: int, rl: RL) -> None:
        problem = self.problems[self.order.problem(number)]
        records = await self.sampler.group(number, asked(problem, rl.translated_fraction, self.order.seed, number), rl)
        # One at a time: batches are written in the order of their steps.
        async with self._adding:
            batch = self.forming.add(records)
            if batch is not None:
                await self.shelf.put(batch)
            if self.shelf.written >= self.rl.steps:
                self._complete.set()
