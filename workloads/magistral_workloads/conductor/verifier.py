"""Verdicts, and outputs of programs, from the run's verifiers.

A connection a request: so their Service spreads requests over all of them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import aiohttp
from pydantic import ValidationError

from magistral_api.base import ApiModel
from magistral_workloads.contracts import PIECE_BYTES, ProgramOutput, ProgramRequest, VerifyRequest, VerifyResponse

VERIFY_SECONDS: Final = 600.0
"""20 tests or inputs of 4 s, and the queue before them."""
PATIENCE_SECONDS: Final = 900.0
"""How long verifiers may be away altogether."""
VERDICT_ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0

T = TypeVar("T")
Reader = Callable[[aiohttp.ClientResponse], Awaitable[T]]

log = logging.getLogger("verifier")


class VerifierError(Exception):
    """No verifier has answered for a long time."""


class UngradableError(Exception):
    """The problem itself cannot be graded: only whoever wrote it can help."""


class NoOutputsError(Exception):
    """Verifiers answer, but could not run a program."""


class Verifier:
    """Client of `POST /v1/verify` and `POST /v1/run`. `infrastructure_errors`: answers of that kind so far."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, patience_seconds: float = PATIENCE_SECONDS,
                 clock: Callable[[], float]) -> None:
        self._session, self._url, self._patience, self._clock = session, url, patience_seconds, clock
        self.infrastructure_errors = 0

    async def verify(self, request: VerifyRequest) -> VerifyResponse:
        """A verdict. `infrastructure_error` only after other verifiers have been asked as well.

        Raises UngradableError and VerifierError.
        """
        verdict = await self._ask("/v1/verify", request, _verdict)
        for _ in range(VERDICT_ATTEMPTS - 1):
            if verdict.outcome != "infrastructure_error":
                break
            self.infrastructure_errors += 1
            log.warning("problem %s: no verdict: %s", request.problem.id, verdict.detail)
            verdict = await self._ask("/v1/verify", request, _verdict)
        return verdict

    async def run(self, request: ProgramRequest) -> list[ProgramOutput]:
        """What the program makes of each input, in their order; no infrastructure error is among them.

        Raises NoOutputsError when several verifiers could not run it, UngradableError and VerifierError.
        """
        for _ in range(VERDICT_ATTEMPTS):
            outputs = await self._ask("/v1/run", request, _outputs)
            if outputs[-1].outcome != "infrastructure_error":
                return outputs
            self.infrastructure_errors += 1
        raise NoOutputsError(f"a program could not be run by {VERDICT_ATTEMPTS} verifiers, last: {outputs[-1].detail}. "
                             "Look at the verifiers' log")

    async def _ask(self, path: str, request: ApiModel, read: Reader[T]) -> T:
        """One answer; a verifier that is away or busy is asked again, until patience ends."""
        deadline, pause = self._clock() + self._patience, FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._post(path, request, read)
            except (aiohttp.ClientError, TimeoutError, OSError, ValidationError) as error:
                if self._clock() + pause > deadline:
                    raise VerifierError(f"{self._url}{path}: no answer within {self._patience:.0f} s, last: "
                                        f"{type(error).__name__} {error}") from None
                log.debug("asked again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _post(self, path: str, request: ApiModel, read: Reader[T]) -> T:
        async with self._session.post(
                f"{self._url}{path}", data=request.model_dump_json(by_alias=True),
                timeout=aiohttp.ClientTimeout(total=VERIFY_SECONDS, sock_connect=5)) as answer:
            if answer.status in (400, 413, 422):
                raise UngradableError((await answer.read()).decode(errors="replace")[:1000])
            answer.raise_for_status()
            return await read(answer)


async def _verdict(answer: aiohttp.ClientResponse) -> VerifyResponse:
    return VerifyResponse.model_validate_json(await answer.read())


async def _outputs(answer: aiohttp.ClientResponse) -> list[ProgramOutput]:
    return [ProgramOutput.model_validate_json(line) async for line in answer.content]


@asynccontextmanager
async def verifier(token_headers: dict[str, str], url: str) -> AsyncIterator[Verifier]:
    """A client with a session of its own."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(headers=token_headers, connector=connector, read_bufsize=PIECE_BYTES) as session:
        yield Verifier(session, url, clock=asyncio.get_running_loop().time)
