"""The run's generators: found through their headless Service, kept at the current version, given requests.

One task a generator cares for it: status, weights, and whether it may be sent requests. A generator that fails anything
is set aside until it answers and holds the current version; when it does not come back its requests go on elsewhere,
from the tokens that it had sampled.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp

from magistral_workloads.conductor.completion import Completion
from magistral_workloads.conductor.generator import Failed, Generator
from magistral_workloads.contracts import PIECE_BYTES, GenerateRequest, WeightsRequest

RESOLVE_SECONDS: Final = 1.0
STATUS_SECONDS: Final = 2.0
LOST_AFTER: Final = 3
"""Failures in a row after which a generator's requests are taken from it."""
ATTEMPTS: Final = 20
"""Generators that one request is tried on."""

Maker = Callable[[str, int], Generator]
"""A generator from its base URL and the number of updates given so far."""
Resolver = Callable[[], Awaitable[set[str]]]
"""Base URLs of all ready generators. Raises OSError when nobody can tell."""

log = logging.getLogger("fleet")


class FleetError(Exception):
    """A request failed on every generator that it was tried on."""


@dataclass
class Counts:
    """Since this process started. `rounds`: updates given. `while_running`: times that requests were running.

    `moved`: requests that another generator went on with, `moved_tokens` of which had been sampled by then.
    """

    rounds: int = 0
    while_running: int = 0
    aborted: int = 0
    moved: int = 0
    moved_tokens: int = 0


def headless(host: str, port: int) -> Resolver:
    """Addresses behind the headless Service."""
    async def resolve() -> set[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        hosts = {str(address[0]) for *_, address in found}
        return {f"http://[{at}]:{port}" if ":" in at else f"http://{at}:{port}" for at in hosts}

    return resolve


class Fleet:
    """All generators of a run, from the caller's side. Use `fleet(…)`, which also runs its tasks."""

    def __init__(self, make: Maker, resolve: Resolver, tasks: asyncio.TaskGroup) -> None:
        self._make, self._resolve, self._tasks = make, resolve, tasks
        self._members: dict[str, Generator] = {}
        self._present: set[str] = set()
        self._changed = asyncio.Condition()
        self._policy: WeightsRequest | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.trouble: str | None = None
        self.counts = Counts()

    def begin(self) -> None:
        """Start to look for generators."""
        self._running.add(self._tasks.create_task(self._watch()))

    def end(self) -> None:
        """Stop all tasks of the fleet."""
        for task in self._running:
            task.cancel()

    @property
    def members(self) -> list[Generator]:
        """All that are known, also those that take no requests now."""
        return list(self._members.values())

    @property
    def policy(self) -> WeightsRequest:
        """The current version. Raises RuntimeError before the first `give`."""
        if self._policy is None:
            raise RuntimeError("no policy was given yet")
        return self._policy

    @property
    def ready(self) -> int:
        """Generators that take requests now."""
        return len(self._usable())

    @property
    def seen_by_every_generator(self) -> int:
        """Updates that every member got which was there when they were given."""
        rounds = self.counts.rounds
        return min((rounds - member.missed(rounds) for member in self._members.values() if member.held), default=0)

    async def start(self, policy: WeightsRequest) -> None:
        """What generators hold before the first update. Returns when at least one does."""
        await self._set(policy)
        async with self._changed:
            await self._changed.wait_for(lambda: self.ready > 0)

    async def give(self, policy: WeightsRequest) -> None:
        """Update all at the same time. Returns when each holds it or is set aside, to be tried again."""
        self.counts.rounds += 1
        await self._set(policy)
        async with self._changed:
            await self._changed.wait_for(lambda: policy != self._policy or all(
                member.held == policy or member.aside for member in self._members.values()))

    async def generate(self, request: GenerateRequest) -> Completion:
        """A completion from the generator with the fewest requests. Waits while there is none.

        Raises Refused (no generator will ever take it) and FleetError.
        """
        made = Completion()
        for _ in range(ATTEMPTS):
            async with self._changed:
                await self._changed.wait_for(lambda: self.ready > 0)
                generator = min(self._usable(), key=lambda member: member.running)
            try:
                await generator.generate(request, made)
                return made
            except Failed as error:
                self.counts.moved += 1
                self.counts.moved_tokens += len(made.tokens)
                await self._set_aside(generator, error)
                generator.wake.set()
        raise FleetError(f"request {request.request_id} failed on {ATTEMPTS} generators; the last one is in the log")

    async def _watch(self) -> None:
        while True:
            try:
                self._present = await self._resolve()
            except OSError as error:
                # A resolver that fails says nothing about generators: those known go on.
                log.debug("generators cannot be resolved: %s", error)
            for url in self._present - self._members.keys():
                self._members[url] = self._make(url, self.counts.rounds)
                task = self._tasks.create_task(self._care(self._members[url]))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(RESOLVE_SECONDS)

    def _usable(self) -> list[Generator]:
        return [member for url, member in self._members.items() if member.usable and url in self._present]

    async def _set(self, policy: WeightsRequest) -> None:
        self._policy = policy
        async with self._changed:
            self._changed.notify_all()
        for member in self._members.values():
            member.wake.set()

    async def _set_aside(self, generator: Generator, error: Exception) -> None:
        if not generator.aside:
            log.warning("%s is set aside: %s", generator.url, error)
        generator.aside = True
        self.trouble = f"{generator.url}: {error}"
        async with self._changed:
            self._changed.notify_all()

    async def _care(self, generator: Generator) -> None:
        failures = 0
        while failures < LOST_AFTER or generator.url in self._present:
            generator.wake.clear()
            try:
                await self._bring_up(generator)
                failures = 0
            except Failed as error:
                failures += 1
                await self._set_aside(generator, error)
                if failures == LOST_AFTER:
                    generator.take_requests_away()
            async with self._changed:
                self._changed.notify_all()
            # Woken at once by a new policy or a failed request, but never busier than that.
            if failures or generator.held == self._policy:
                await _woken(generator.wake, STATUS_SECONDS if not failures else RESOLVE_SECONDS)
        log.warning("%s is gone", generator.url)
        del self._members[generator.url]

    async def _bring_up(self, generator: Generator) -> None:
        """Status, then the current version when it holds another. Raises Failed."""
        await generator.check()
        policy, rounds = self._policy, self.counts.rounds
        if policy is None:
            return
        if generator.held != policy:
            done = await generator.update(policy, rounds)
            self.counts.while_running += done.running > 0
            self.counts.aborted += done.aborted
        generator.aside = False


@asynccontextmanager
async def fleet(token_headers: dict[str, str], resolve: Resolver) -> AsyncIterator[Fleet]:
    """A fleet whose tasks run until the block is left. An error in one of them ends the block."""
    connector = aiohttp.TCPConnector(limit=0)
    async with (aiohttp.ClientSession(headers=token_headers, connector=connector, read_bufsize=PIECE_BYTES) as session,
                asyncio.TaskGroup() as tasks):
        found = Fleet(partial(Generator, session), resolve, tasks)
        found.begin()
        try:
            yield found
        finally:
            found.end()


async def _woken(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
