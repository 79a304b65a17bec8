"""Requests that run one after the other in lanes, and when each of their tokens came."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from magistral_workloads.contracts import GenerateRequest
from magistral_workloads.generator.vllm import AbortedError, Vllm

SHORTEST, LONGEST = 300, 1500
"""Tokens of a completion; the paper's longest are five times its shortest."""
PROMPT_TOKENS = 32


@dataclass
class Streams:
    """`came`: (clock, lane, tokens) of each piece. `thrown`: tokens of completions that vLLM gave up."""

    vllm: Vllm
    vocabulary: int
    came: list[tuple[float, int, int]] = field(default_factory=list)
    in_flight: dict[int, int] = field(default_factory=dict)
    thrown: int = 0
    aborted: int = 0

    @contextlib.asynccontextmanager
    async def running(self, lanes: int) -> AsyncIterator[None]:
        """`lanes` requests at a time, the same ones in the same order whoever asks. None is left at the end."""
        numbers = itertools.count()
        # A lane that fails ends the whole measurement with its error.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._lane(lane, numbers)) for lane in range(lanes)]
            yield
            for task in tasks:
                task.cancel()

    async def _lane(self, lane: int, numbers: itertools.count[int]) -> None:
        while True:
            number = next(numbers)
            self.in_flight[number] = 0
            try:
                await self._complete(lane, number)
            except AbortedError:
                self.thrown += self.in_flight[number]
                self.aborted += 1
            finally:
                del self.in_flight[number]

    async def _complete(self, lane: int, number: int) -> None:
        drawn = random.Random(number)
        request = GenerateRequest(
            request_id=f"{id(self)}-{number}", prompt_tokens=[drawn.randrange(self.vocabulary) for _ in range(PROMPT_TOKENS)],
            max_tokens=drawn.randint(SHORTEST, LONGEST), temperature=1.0, seed=number, cache_salt=str(number),
            stream_tokens=1)
        async with contextlib.aclosing(self.vllm.generate(request)) as pieces:
            async for piece in pieces:
                self.came.append((time.monotonic(), lane, len(piece.tokens)))
                self.in_flight[number] += len(piece.tokens)

    def longest_gap(self, begin: float, end: float, lane: int | None = None) -> float:
        """Seconds: the longest time between `begin` and `end` in which no request, or none of `lane`, got a token."""
        times = [begin, *(when for when, of, _ in self.came if begin <= when <= end and lane in (None, of)), end]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def tokens(self, begin: float, end: float) -> int:
        """How many came between `begin` and `end`."""
        return sum(count for when, _, count in self.came if begin <= when <= end)
