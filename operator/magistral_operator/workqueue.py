"""A coalescing keyed queue: many wake-ups of one key are one look; failures back off by key; N workers."""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
log = logging.getLogger("magistral")

BACKOFF_S = (0.5, 60.0)
"""First and longest wait after a failure."""
COALESCE_S = 0.05
"""A change rarely comes alone; what arrives within this time is one look."""


class Schedule(Generic[K]):
    """Which key is due when. Pure: the time is always passed in, in seconds of any clock."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        """Of keys that nobody works on. What is there of another key, or with a time that is not its due one, is void."""
        self._order = itertools.count()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    @property
    def working(self) -> int:
        """How many keys are worked on."""
        return len(self._working)

    def add(self, key: K, due: float) -> None:
        """Look at the key at this time, or earlier if that is already planned."""
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            if key not in self._working:
                self._push(key)

    def take(self, now: float) -> K | None:
        """The next due key that nobody works on; it counts as worked on until `done`."""
        if self.wait(now) != 0.0:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        self._working.add(key)
        return key

    def wait(self, now: float) -> float | None:
        """Seconds until `take` may find something; None when nothing is planned."""
        while self._heap:
            due, _, key = self._heap[0]
            if key not in self._working and self._due.get(key) == due:
                return max(due - now, 0.0)
            heapq.heappop(self._heap)
        return None

    def done(self, key: K) -> None:
        """Work on the key has ended well."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: K, now: float) -> float:
        """Work on the key has ended badly: it is planned again. Returns the wait, which doubles with each failure."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait = min(BACKOFF_S[0] * 2.0 ** min(failures, 30), BACKOFF_S[1])
        self._release(key)
        self.add(key, now + wait)
        return wait

    def _release(self, key: K) -> None:
        self._working.discard(key)
        if key in self._due:
            self._push(key)

    def _push(self, key: K) -> None:
        heapq.heappush(self._heap, (self._due[key], next(self._order), key))


class WorkQueue(Generic[K]):
    """Workers over a Schedule. `work` handles a key and may return after how many seconds to look again."""

    def __init__(self, work: Callable[[K], Awaitable[float | None]], *, gate: asyncio.Event | None = None,
                 depth: Callable[[int], None] = lambda _: None) -> None:
        self._work, self._gate, self._depth = work, gate, depth
        self._schedule: Schedule[K] = Schedule()
        self._changed = asyncio.Event()
        self._closed, self._ended = False, asyncio.Event()

    async def close(self, limit: float) -> bool:
        """Begin nothing more; returns whether all that was in hand has ended, after so many seconds at the most."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self._schedule.working:
                    self._ended.clear()
                    await self._ended.wait()
        return not self._schedule.working

    def add(self, key: K, after: float = COALESCE_S) -> None:
        """Wake a key after so many seconds. Call from the event loop's thread."""
        self._schedule.add(key, asyncio.get_running_loop().time() + after)
        self._changed.set()
        self._depth(len(self._schedule))

    async def run(self, workers: int) -> None:
        """Work until cancelled; with a gate only while it is open."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while not self._closed:
            if self._gate is not None:
                await self._gate.wait()
            key = await self._next()
            if key is None:
                continue
            try:
                await self._handle(key)
            finally:
                self._ended.set()

    async def _next(self) -> K | None:
        now = asyncio.get_running_loop().time()
        key = None if self._closed else self._schedule.take(now)
        if key is None:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._schedule.wait(now))
        self._depth(len(self._schedule))
        return key

    async def _handle(self, key: K) -> None:
        loop = asyncio.get_running_loop()
        try:
            again = await self._work(key)
        except Exception as error:
            wait = self._schedule.failed(key, loop.time())
            log.warning("%s: %s; again in %.1f s", key, error, wait)
        else:
            self._schedule.done(key)
            if again is not None:
                self.add(key, again)
        self._changed.set()
