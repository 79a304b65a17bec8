"""One generator as its callers see it: the three routes of the agent, what it holds, what it is doing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import aiohttp
from pydantic import ValidationError

from magistral_api.base import ApiModel
from magistral_workloads.conductor.completion import Completion
from magistral_workloads.contracts import (
    GenerateChunk,
    GenerateRequest,
    GeneratorStatus,
    WeightsRequest,
    WeightsResponse,
)

STATUS_SECONDS: Final = 10.0
UPDATE_SECONDS: Final = 900.0
"""Fetching and verifying a large model from the store is the longest part."""
REQUEST_SECONDS: Final = 120.0
SECONDS_PER_TOKEN: Final = 0.5
"""A request may take REQUEST_SECONDS and this for each token asked for. A lost generator is noticed long before."""

M = TypeVar("M", bound=ApiModel)


class Failed(Exception):
    """No answer, or one that only another generator can better."""


class Refused(Exception):
    """The request itself is at fault: every generator would say the same."""


class Generator:
    """`held`: the weights that it was given and has confirmed. `aside`: takes no requests until it is well again."""

    def __init__(self, session: aiohttp.ClientSession, url: str, rounds: int) -> None:
        self.url = url
        self.held: WeightsRequest | None = None
        self.aside = True
        self.wake = asyncio.Event()
        self._session = session
        self._requests: set[asyncio.Task[None]] = set()
        self._round, self._skipped = rounds, 0

    @property
    def usable(self) -> bool:
        """Whether it may be sent requests. While an update is on its way it goes on with the version before."""
        return self.held is not None and not self.aside

    @property
    def running(self) -> int:
        return len(self._requests)

    def missed(self, rounds: int) -> int:
        """Of `rounds` updates given so far, those since it joined that it did not get."""
        return self._skipped + rounds - self._round

    async def check(self) -> None:
        """Ask what it holds; another version than it was given means that it has been started anew. Raises Failed."""
        found = await self._call("GET", "/v1/status", None, GeneratorStatus, STATUS_SECONDS)
        if self.held is not None and found.version != self.held.version:
            self.held = None

    async def update(self, policy: WeightsRequest, rounds: int) -> WeightsResponse:
        """Give it a version; `rounds` updates have been given to the fleet by then. Raises Failed."""
        joining = self.held is None
        done = await self._call("POST", "/v1/weights", policy, WeightsResponse, UPDATE_SECONDS)
        self.held = policy
        self._skipped += 0 if joining else max(0, rounds - self._round - 1)
        self._round = rounds
        return done

    async def generate(self, request: GenerateRequest, made: Completion) -> None:
        """Sample what is missing of a completion. Raises Failed, also when its requests are taken away, and Refused."""
        task = asyncio.create_task(self._sample(made.rest(request), made))
        self._requests.add(task)
        try:
            await asyncio.wait({task})
            if task.cancelled():
                raise Failed("it does not answer any more")
            task.result()
        finally:
            task.cancel()
            self._requests.discard(task)

    def take_requests_away(self) -> None:
        """End the requests that wait for it: their callers get Failed at once."""
        for task in self._requests:
            task.cancel()

    async def _sample(self, request: GenerateRequest, made: Completion) -> None:
        limit = REQUEST_SECONDS + SECONDS_PER_TOKEN * request.max_tokens
        async with self._answer("POST", "/v1/generate", request, limit) as found:
            async for line in found.content:
                made.add(_read(GenerateChunk, line))
            if not made.finish_reason:
                raise Failed("/v1/generate: the answer ended before the completion did")

    async def _call(self, method: str, path: str, body: ApiModel | None, answer: type[M], seconds: float) -> M:
        async with self._answer(method, path, body, seconds) as found:
            return _read(answer, await found.read())

    @asynccontextmanager
    async def _answer(self, method: str, path: str, body: ApiModel | None, seconds: float
                      ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises Failed and Refused, also for what goes wrong while the answer is read."""
        data = None if body is None else body.model_dump_json(by_alias=True, exclude_none=True)
        try:
            async with self._session.request(
                    method, f"{self.url}{path}", data=data, headers={"Content-Type": "application/json"},
                    timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=5)) as found:
                if found.status == 400:
                    raise Refused(await found.text(errors="replace"))
                if found.status != 200:
                    raise Failed(f"{path}: HTTP {found.status}: {(await found.text(errors='replace'))[:500]}")
                yield found
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Failed(f"{path}: {type(error).__name__} {error}") from None


def _read(model: type[M], text: bytes) -> M:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise Failed(f"found an answer that is no {model.__name__}: {error.errors()[0]['msg']}") from None
